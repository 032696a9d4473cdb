import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedLoop, type Measured } from '../load.js';
import { median, type Row, type Table } from '../report.js';
import { startFloor, type Contender } from './floor.js';
import { startSpool } from './spool.js';

export interface CommandsOptions {
  readonly brokers: readonly string[];
  readonly callers: readonly number[];
  readonly seconds: number;
  /** The contenders take turns so often; medians are quoted. */
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

type Name = 'floor' | 'spool';

/** Command round trip and throughput, Spool against the bare floor, in turns on one broker; who waits for its turn is closed, since clients cost when idle too. */
export async function benchCommands(options: CommandsOptions): Promise<readonly Table[]> {
  const { brokers, progress } = options;
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const id = `b${Date.now().toString(36)}`;
  const start: Readonly<Record<Name, (round: number) => Promise<Contender>>> = {
    floor: (round) => startFloor(brokers, `${id}-${round}`),
    spool: (round) => startSpool(brokers, `${id}-${round}`, join(dataDir, String(round))),
  };
  const results = new Map<string, Measured[]>();
  try {
    for (let round = 0; round < options.rounds; round++) {
      // Who goes first changes, so that neither has the warmer broker.
      const order: Name[] = round % 2 === 0 ? ['floor', 'spool'] : ['spool', 'floor'];
      for (const name of order) {
        const contender = await start[name](round);
        try {
          for (const callers of options.callers) {
            const measured = await closedLoop(contender.call, callers, options.seconds);
            const key = `${name}/${callers}`;
            results.set(key, [...(results.get(key) ?? []), measured]);
            progress(
              `round ${round + 1}: ${name} ${callers} callers ${Math.round(measured.perSecond)}/s p50 ${measured.p50.toFixed(1)} ms`,
            );
          }
        } finally {
          await contender.close();
        }
      }
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
  const of = (name: Name, callers: number, metric: 'p50' | 'p99' | 'perSecond'): number =>
    median((results.get(`${name}/${callers}`) ?? []).map((measured) => measured[metric]));
  const rows = (metric: 'p50' | 'p99' | 'perSecond', unit: string): Row[] =>
    options.callers.flatMap((callers) =>
      (['floor', 'spool'] as const).map((name) => {
        const value = of(name, callers, metric);
        const ratio = name === 'floor' ? null : value / of('floor', callers, metric);
        return { label: `${name}, ${callers} callers`, metric, value, unit, ratio };
      }),
    );
  return [
    { name: 'Command round trip', rows: [...rows('p50', 'ms'), ...rows('p99', 'ms')] },
    { name: 'Command throughput', rows: rows('perSecond', '1/s') },
  ];
}
