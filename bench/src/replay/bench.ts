import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@spool/embedded';
import { startRegistryServer } from '@spool/schemas/testing';
import { connectKafka } from '@spool/streams';
import { median, type Row, type Table } from '../report.js';
import { contenders, type ContenderConfig, type ContenderName, type SpoolContender } from './contenders/contender.js';
import { openLog } from './log.js';
import { replaySpool, type Rewound } from './spool.js';
import { runContender } from './start.js';

export interface ReplayOptions {
  readonly brokers: readonly string[];
  readonly records: number;
  readonly partitions: readonly number[];
  /** Longer logs, in rising order, for Spool alone and the most partitions. */
  readonly growth: readonly number[];
  readonly rounds: number;
  /** @default all */
  readonly only?: readonly ContenderName[];
  readonly progress: (line: string) => void;
}

/** A statement for each event: so many tell its speed, and a million would take many minutes. */
const mostIntoPostgres = 100_000;
const isSpool = (name: ContenderName): name is SpoolContender => name.startsWith('spool');

interface Taken {
  readonly perSecond: number;
  readonly rewound?: Rewound;
}

/** Departures of three million flights, handled again by all contenders from the same topic, in turns. */
export async function benchReplay(options: ReplayOptions): Promise<readonly Table[]> {
  const { brokers, records, rounds, growth, only = contenders, progress } = options;
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-replay-'));
  const rows: Row[] = [];
  const grown: Row[] = [];
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'bench' });
  // Beside the other data: its server runs as somebody else, who could not pass.
  const postgresDir = await mkdtemp(join(tmpdir(), 'spool-bench-postgres-'));
  const postgres = only.some((name) => name === 'emmett' || name === 'spool-postgres')
    ? await startPostgres({ dataDir: postgresDir, log: () => undefined })
    : undefined;
  try {
    for (const partitions of options.partitions) {
      const namespace = `r${Date.now().toString(36)}.`;
      const logs = { schemaRegistryUrl: schemas.url, partitions, dataDir };
      const log = await openLog({ kafka, ...logs, namespace });
      await log.extend(records);
      const shortNamespace = `${namespace.slice(0, -1)}s.`;
      const short = only.includes('spool-postgres') ? await openLog({ kafka, ...logs, namespace: shortNamespace }) : undefined;
      await short?.extend(Math.min(records, mostIntoPostgres));
      progress(`${records} events in ${partitions} partitions`);
      const taken = new Map<ContenderName, Taken[]>();
      const take = async (name: ContenderName, round: number): Promise<Taken> => {
        const id = `${name}-${partitions}-${log.records}-${round}`;
        const folder = join(dataDir, id);
        await mkdir(folder);
        const source = name === 'spool-postgres' ? { log: short!, namespace: shortNamespace } : { log, namespace };
        const config: ContenderConfig = {
          ...{ brokers, schemaRegistryUrl: schemas.url, id, partitions, namespace: source.namespace },
          ...{ topic: source.log.topic, records: source.log.records, dataDir: folder, postgresUrl: postgres?.url ?? '' },
        };
        const rewound = isSpool(name) ? await replaySpool(name, config, kafka, source.log) : undefined;
        const { records: handled, seconds } = rewound ?? (await runContender(name, config));
        await rm(folder, { recursive: true, force: true });
        const perSecond = handled / seconds;
        const more =
          rewound === undefined
            ? ''
            : `, the first again after ${Math.round(rewound.firstMs)} ms, ${Math.round(rewound.early)} MiB at a tenth, ${Math.round(rewound.most)} MiB at most`;
        progress(`${partitions} partitions, round ${round + 1}: ${name} ${Math.round(perSecond)}/s of ${handled} events${more}`);
        return { perSecond, ...(rewound === undefined ? {} : { rewound }) };
      };
      for (let round = 0; round < rounds; round++) {
        // Who goes first changes, so that nobody has the warmer broker.
        for (const name of [...only.slice(round % only.length), ...only.slice(0, round % only.length)]) {
          taken.set(name, [...(taken.get(name) ?? []), await take(name, round)]);
        }
      }
      const perSecond = (name: ContenderName): number => median((taken.get(name) ?? []).map((each) => each.perSecond));
      for (const name of only) {
        const value = perSecond(name);
        const ratio = name === 'kafkajs' || !only.includes('kafkajs') ? null : value / perSecond('kafkajs');
        rows.push({ label: `${name}, ${of(partitions)}`, metric: 'replayed', value, unit: '1/s', ratio });
      }
      for (const name of only.filter(isSpool)) rows.push(...rewinds(`${name}, ${of(partitions)}`, taken.get(name) ?? []));
      if (partitions !== options.partitions.at(-1) || !only.includes('spool')) continue;
      for (const length of growth) {
        await log.extend(length);
        const { perSecond: now, rewound } = await take('spool', rounds);
        const label = `${length.toLocaleString('en')} events`;
        grown.push({ label, metric: 'whole again after', value: length / now, unit: 's', ratio: null });
        grown.push({ label, metric: 'resident at a tenth', value: rewound!.early, unit: 'MiB', ratio: null });
        grown.push({ label, metric: 'resident, the most', value: rewound!.most, unit: 'MiB', ratio: null });
      }
    }
  } finally {
    await postgres?.close();
    for (const folder of [postgresDir, dataDir]) await rm(folder, { recursive: true, force: true });
  }
  const tables: readonly Table[] = [
    { name: `Handling ${records.toLocaleString('en')} events again`, rows },
    { name: 'Longer logs', rows: grown },
  ];
  return tables.filter((table) => table.rows.length > 0);
}

const of = (partitions: number): string => (partitions === 1 ? '1 partition' : `${partitions} partitions`);

function rewinds(label: string, taken: readonly Taken[]): readonly Row[] {
  const middle = (take: (rewound: Rewound) => number): number =>
    median(taken.flatMap(({ rewound }) => (rewound === undefined ? [] : [take(rewound)])));
  return taken.length === 0
    ? []
    : [
        { label, metric: 'the first event again after', value: middle(({ firstMs }) => firstMs), unit: 'ms', ratio: null },
        { label, metric: 'resident at a tenth', value: middle(({ early }) => early), unit: 'MiB', ratio: null },
        { label, metric: 'resident, the most', value: middle(({ most }) => most), unit: 'MiB', ratio: null },
      ];
}
