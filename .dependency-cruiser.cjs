/** The one-way imports: schemas <- streams <- sdk <- services, and the few places that may touch an outside client. */
const only = (name, to, from, comment) => ({ name, severity: 'error', comment, from: { pathNot: from }, to: { path: to } });
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'schemas-import-nothing',
      severity: 'error',
      from: { path: '^schemas/' },
      to: { path: '^(streams|sdk|services|infra|examples|bench)/' },
    },
    {
      name: 'streams-import-schemas',
      severity: 'error',
      from: { path: '^streams/', pathNot: '\\.test\\.' },
      to: { path: '^(sdk|services|infra|examples|bench)/' },
    },
    {
      name: 'sdk-imports-streams',
      severity: 'error',
      from: { path: '^sdk/', pathNot: '\\.test\\.' },
      to: { path: '^(services|infra|examples|bench)/' },
    },
    {
      name: 'services-import-sdk',
      severity: 'error',
      from: { path: '^services/', pathNot: '\\.test\\.' },
      to: { path: '^(infra|examples|bench)/' },
    },
    only('kafkajs-in-the-port', 'node_modules/kafkajs', '^(streams/src/kafka/|bench/)', 'kafkajs stays behind the port'),
    only(
      'clickhouse-in-telemetry',
      'node_modules/@clickhouse',
      '^(services/src/telemetry/|infra/embedded/|bench/)|\\.test\\.',
      'ClickHouse is reached through services/telemetry',
    ),
    only(
      'embedded-for-scripts-and-tests',
      '^infra/embedded/',
      '^(infra/embedded|scripts|bench)/|\\.test\\.|jest',
      'infra/embedded is imported by scripts and tests alone',
    ),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|target)/' },
  },
};
