/** The settings that a part is given, of which the stand-in notes those that are set. */
const settingNames = [
  ...['SPOOL_INSTANCE', 'SPOOL_DATA_DIR', 'SPOOL_CLICKHOUSE_PATH', 'SPOOL_CLICKHOUSE_WRITER_USER', 'SPOOL_CLICKHOUSE_WRITER_PASSWORD'],
  ...['SPOOL_CLICKHOUSE_PORT', 'SPOOL_HTTP_PORT', 'SPOOL_SCHEMA_REGISTRY_PORT'],
  ...['KAFKA_BROKERS', 'KAFKA_TLS', 'CLICKHOUSE_URL', 'SCHEMA_REGISTRY_URL'],
];

/** A stand-in for a part: it says that it is ready, and writes down its settings, its start and its end, in the file DIARY. */
export const standIn = (name: string): string => `
  const { appendFileSync } = require('node:fs');
  const note = (text) => appendFileSync(process.env.DIARY, text + '\\n');
  process.on('SIGTERM', () => { note('stop ${name}'); process.exit(0); });
  const names = ${JSON.stringify(settingNames)};
  note('start ${name} ' + JSON.stringify(Object.fromEntries(names.map((name) => [name, process.env[name]]))));
  setInterval(() => {}, 1000);
  process.send('ready');`;
