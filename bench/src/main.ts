import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { startKafka } from '@spool/embedded';
import { benchBalance } from './balance/bench.js';
import { benchCommands } from './commands/bench.js';
import { contenders as commandContenders } from './commands/contenders/contender.js';
import { benchEngine } from './engine/bench.js';
import { benchEventStore } from './event-store/bench.js';
import { contenders } from './engine/start.js';
import { benchGateway, gatewayParts } from './gateway/bench.js';
import { benchReplay } from './replay/bench.js';
import { contenders as replayContenders } from './replay/contenders/contender.js';
import { benchSink } from './sink/bench.js';
import { report, toText, type Table } from './report.js';
import { benchTelemetry } from './telemetry/bench.js';
import { benchViews } from './views/bench.js';

const suites: Readonly<
  Record<string, (brokers: readonly string[], quick: boolean, progress: (line: string) => void) => Promise<readonly Table[]>>
> = {
  balance: (_, quick, progress) =>
    Promise.resolve(benchBalance({ ...(quick ? { bundles: 7, hours: 6 } : { bundles: 50, hours: 24 }), progress })),
  commands: (brokers, quick, progress) =>
    benchCommands({
      brokers,
      ...(quick
        ? { callers: [1, 64], rates: [500], seconds: 1, warmUpSeconds: 0.5, rounds: 1 }
        : { callers: [1, 64, 1024, 4096], rates: [200, 1000, 4000], seconds: 3, warmUpSeconds: 1, rounds: 3 }),
      profile: values.profile === true,
      ...(values.only === undefined ? {} : { only: commandContenders.filter((name) => values.only?.split(',').includes(name)) }),
      progress,
    }),
  'event-store': (brokers, quick, progress) =>
    benchEventStore({
      brokers,
      ...(quick ? { sizes: [1e4, 1e5], reads: 200, rounds: 1 } : { sizes: [1e4, 1e5, 1e6, 1e7], reads: 2000, rounds: 3 }),
      lengths: [10, 1000, 10_000],
      progress,
    }),
  gateway: (brokers, quick, progress) =>
    benchGateway({
      brokers,
      ...(quick
        ? { clients: 1000, events: 20, callers: [1, 64], seconds: 1, rounds: 1 }
        : { clients: 10_000, events: 100, callers: [1, 64, 512], seconds: 4, rounds: 3 }),
      profile: values.profile === true,
      ...(values.only === undefined ? {} : { only: gatewayParts.filter((name) => values.only?.split(',').includes(name)) }),
      progress,
    }),
  replay: (brokers, quick, progress) =>
    benchReplay({
      brokers,
      ...(quick
        ? { records: 60_000, partitions: [4], growth: [], rounds: 1 }
        : { records: 1e6, partitions: [1, 4], growth: [3e6, 12e6], rounds: 3 }),
      ...(values.only === undefined ? {} : { only: replayContenders.filter((name) => values.only?.split(',').includes(name)) }),
      progress,
    }),
  engine: (brokers, quick, progress) =>
    benchEngine({
      brokers,
      ...(quick ? { records: 30_000, keys: 1000, seconds: 2, rounds: 1 } : { records: 500_000, keys: 10_000, seconds: 8, rounds: 3 }),
      rate: 500,
      profile: values.profile === true,
      ...(values.only === undefined ? {} : { only: contenders.filter((name) => values.only?.split(',').includes(name)) }),
      progress,
    }),
  sink: (brokers, quick, progress) =>
    benchSink({
      brokers,
      ...(quick ? { records: 200_000, seconds: 3, rounds: 1 } : { records: 1_000_000, seconds: 10, rounds: 3 }),
      profile: values.profile === true,
      progress,
    }),
  telemetry: (brokers, quick, progress) =>
    benchTelemetry({
      brokers,
      ...(quick ? { seconds: 1, warmUpSeconds: 0.5, pairs: 1 } : { seconds: 1.5, warmUpSeconds: 0.5, pairs: 11 }),
      callers: [1, 64, 1024],
      rates: [1000],
      profile: values.profile === true,
      progress,
    }),
  views: (_, quick, progress) => benchViews({ spans: Number(values.rows ?? (quick ? 1e6 : 1e7)), runs: quick ? 5 : 20, progress }),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    profile: { type: 'boolean' },
    only: { type: 'string' },
    rows: { type: 'string' },
    help: { type: 'boolean' },
  },
});
const wanted = positionals.length === 0 ? Object.keys(suites) : positionals;
const unknown = wanted.filter((name) => suites[name] === undefined);
if (values.help === true || unknown.length > 0) {
  console.error(
    `npm run bench -- [${Object.keys(suites).join(' | ')}] [--quick] [--json] [--profile] [--only contender,...] [--rows spans]${unknown.length > 0 ? `\nno such bench: ${unknown.join(', ')}` : ''}`,
  );
  process.exit(unknown.length > 0 ? 2 : 0);
}
// As the platform starts its own processes; the floor has it too.
setFlagsFromString('--max-semi-space-size=64');
const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-kafka-'));
const kafka = await startKafka({ dataDir, brokers: 1, log: () => undefined });
try {
  const tables: Table[] = [];
  for (const name of wanted) tables.push(...(await suites[name]!(kafka.bootstrap, values.quick === true, (line) => console.error(line))));
  console.log(values.json === true ? JSON.stringify(report(tables)) : tables.map(toText).join('\n\n'));
} finally {
  await kafka.close();
  await rm(dataDir, { recursive: true, force: true });
}
