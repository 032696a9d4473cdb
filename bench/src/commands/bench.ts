import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@spool/embedded';
import { startRegistryServer } from '@spool/schemas/testing';
import { hottest } from '../engine/profile.js';
import { median, type Row, type Table } from '../report.js';
import type { Step, Taken } from '../steps.js';
import { contenders, type ContenderConfig, type ContenderName } from './contenders/contender.js';
import { Counter, namespaceOf } from './contenders/spool.js';
import { executedLate, type OverloadTaken } from './overload.js';
import { startContender } from './start.js';

export interface CommandsOptions {
  readonly brokers: readonly string[];
  /** Of the closed loops. */
  readonly callers: readonly number[];
  /** Commands a second of the open loops, rising; who does not keep up with one is spared those above it. */
  readonly rates: readonly number[];
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** The contenders take turns so often; medians are quoted. */
  readonly rounds: number;
  /** @default all */
  readonly only?: readonly ContenderName[];
  /** Also says where Spool's time goes. */
  readonly profile: boolean;
  readonly progress: (line: string) => void;
}

/** By `contender/step`, one for each round. */
type Results = Map<string, (Taken & { readonly peakRssMb: number })[]>;

/**
 * Command round trip, throughput and memory, in turns on one broker. Who waits for its turn is not running, since clients cost when idle too; the callers
 * share the process of their contender.
 */
export async function benchCommands(options: CommandsOptions): Promise<readonly Table[]> {
  const { progress } = options;
  const names = contenders.filter((name) => options.only === undefined || options.only.includes(name));
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const id = `b${Date.now().toString(36)}`;
  const results: Results = new Map();
  const overloads: (OverloadTaken & { events: number; executedLate: number })[] = [];
  const postgres = names.includes('emmett')
    ? await startPostgres({ dataDir: await mkdtemp(join(tmpdir(), 'spool-bench-postgres-')), log: () => undefined })
    : undefined;
  await using schemas = await startRegistryServer();
  const profileDir = options.profile ? join(dataDir, 'profile') : undefined;
  const configOf = async (name: string): Promise<ContenderConfig> => {
    const own = { brokers: options.brokers, id: `${id}-${name}`, dataDir: join(dataDir, name), postgresUrl: postgres?.url ?? '' };
    await mkdir(own.dataDir);
    return own;
  };
  try {
    for (let round = 0; round < options.rounds; round++) {
      // Who goes first changes, so that nobody has the warmer broker.
      for (const name of [...names.slice(round % names.length), ...names.slice(0, round % names.length)]) {
        await using contender = await startContender(name, await configOf(`${name}-${round}`), name === 'spool' ? profileDir : undefined);
        for (const step of stepsOf(options)) {
          const { taken, peakRssMb } = await contender.take(step);
          const key = keyOf(name, step);
          results.set(key, [...(results.get(key) ?? []), { ...taken, peakRssMb }]);
          progress(
            `round ${round + 1}: ${key} ${Math.round(taken.perSecond)}/s p50 ${taken.p50.toFixed(1)} p99 ${taken.p99.toFixed(1)} ms, ${taken.failed} failed, ${peakRssMb.toFixed(0)} MiB`,
          );
          if (step.kind === 'open' && !keptUp(taken, step.rate)) break;
        }
      }
      if (names.includes('spool')) {
        const config = { ...(await configOf(`overload-${round}`)), maxInFlight: 2048, schemasUrl: schemas.url };
        let taken: OverloadTaken;
        {
          // The calls are made elsewhere: at three times what can be answered, making them is what a process would be busy with.
          await using _serving = await startContender('spool', config);
          await using callers = await startContender('callers', config);
          ({ taken } = await callers.take({ kind: 'overload', seconds: Math.max(2, options.seconds), timeoutMs: 1000 }));
        }
        const { late, of } = await executedLate(options.brokers, namespaceOf(config.id), Counter.name);
        overloads.push({ ...taken, events: of, executedLate: late });
        progress(`round ${round + 1}: overload ${JSON.stringify(overloads.at(-1))}`);
      }
    }
    if (profileDir !== undefined) progress(await hottest(profileDir));
  } finally {
    await postgres?.close();
    await rm(dataDir, { recursive: true, force: true });
  }
  return [...tables(options, names, results), ...(overloads.length === 0 ? [] : [overloadTable(overloads)])];
}

const stepsOf = ({ callers, rates, seconds, warmUpSeconds }: CommandsOptions): readonly Step[] => [
  ...callers.map((each) => ({ kind: 'closed', callers: each, seconds, warmUpSeconds }) as const),
  ...rates.map((rate) => ({ kind: 'open', rate, seconds }) as const),
];
const titleOf = (step: Step): string => (step.kind === 'closed' ? `${step.callers} callers` : `${step.rate}/s`);
const keyOf = (name: ContenderName, step: Step): string => `${name}, ${titleOf(step)}`;
const keptUp = ({ failed, p99 }: Taken, rate: number): boolean => failed < 0.01 * rate && p99 < 1000;

type Metric = 'p50' | 'p99' | 'perSecond' | 'peakRssMb';

function tables(options: CommandsOptions, names: readonly ContenderName[], results: Results): readonly Table[] {
  const of = (name: ContenderName, step: Step, metric: Metric): number =>
    median((results.get(keyOf(name, step)) ?? []).map((taken) => taken[metric]));
  const rows = (kind: Step['kind'], metric: Metric, label: string, unit: string): Row[] =>
    stepsOf(options)
      .filter((step) => step.kind === kind)
      .flatMap((step) =>
        names.map((name) => {
          const value = of(name, step, metric);
          const ratio = value / of('floor', step, metric);
          return { label: keyOf(name, step), metric: label, value, unit, ratio: name === 'floor' || Number.isNaN(ratio) ? null : ratio };
        }),
      )
      .filter(({ value }) => Number.isFinite(value));
  return [
    { name: 'Command round trip, closed loop', rows: [...rows('closed', 'p50', 'p50', 'ms'), ...rows('closed', 'p99', 'p99', 'ms')] },
    { name: 'Command throughput, closed loop', rows: rows('closed', 'perSecond', 'answered', '1/s') },
    {
      name: 'Command round trip, open loop, from the intended start; who does not keep up is left out above that rate',
      rows: [...rows('open', 'p50', 'p50', 'ms'), ...rows('open', 'p99', 'p99', 'ms'), ...rows('open', 'perSecond', 'answered', '1/s')],
    },
    { name: 'Memory, callers included, the most so far', rows: rows('closed', 'peakRssMb', 'resident', 'MiB') },
  ].filter((table) => table.rows.length > 0);
}

function overloadTable(overloads: readonly (OverloadTaken & { readonly executedLate: number; readonly events: number })[]): Table {
  const of = (take: (each: (typeof overloads)[number]) => number): number => median(overloads.map(take));
  const row = (metric: string, value: number, unit: string): Row => ({ label: 'spool', metric, value, unit, ratio: null });
  return {
    name: 'Overload: three times the peak, open loop, each command with a second to live',
    rows: [
      row(
        'peak of 1024 callers',
        of(({ peak }) => peak),
        '1/s',
      ),
      row(
        'offered',
        of(({ offered }) => offered),
        '1/s',
      ),
      row(
        'answered in time',
        of(({ goodput }) => goodput),
        '1/s',
      ),
      row(
        'of the peak',
        of(({ goodput, peak }) => goodput / peak),
        'x',
      ),
      row(
        'refused at once',
        of(({ refused }) => refused),
        '1/s',
      ),
      row(
        'begun and not answered in time',
        of(({ late }) => late),
        '1/s',
      ),
      row('events of expired commands', Math.max(...overloads.map((each) => each.executedLate)), 'in all'),
    ],
  };
}
