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

/** Command round trip and throughput, Spool against the bare floor, in turns on one broker. */
export async function benchCommands(options: CommandsOptions): Promise<readonly Table[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const id = `b${Date.now().toString(36)}`;
  const contenders: Record<Name, Contender> = {
    floor: await startFloor(options.brokers, id),
    spool: await startSpool(options.brokers, id, dataDir),
  };
  const results = new Map<string, Measured[]>();
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const callers of options.callers) {
        // Who goes first changes, so that neither has the warmer broker.
        const order: Name[] = round % 2 === 0 ? ['floor', 'spool'] : ['spool', 'floor'];
        for (const name of order) {
          const measured = await closedLoop(contenders[name].call, callers, options.seconds);
          const key = `${name}/${callers}`;
          results.set(key, [...(results.get(key) ?? []), measured]);
          options.progress(
            `round ${round + 1}: ${name} ${callers} callers ${Math.round(measured.perSecond)}/s p50 ${measured.p50.toFixed(1)} ms`,
          );
        }
      }
    }
  } finally {
    await contenders.spool.close();
    await contenders.floor.close();
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
