import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContenderConfig } from '../../commands/contenders/contender.js';
import { startContender } from '../../commands/start.js';
import type { Measured } from '../../load.js';
import { median, type Row, type Table } from '../../report.js';
import { next, start } from '../processes.js';
import type { Closed } from './orders.js';
import type { BenchedPlatform } from './platform.js';
import type { Asked } from './requests.js';

export interface HttpBenchOptions {
  readonly brokers: readonly string[];
  readonly platform: BenchedPlatform;
  /** Of the platform's namespace. */
  readonly id: string;
  readonly dataDir: string;
  readonly callers: readonly number[];
  readonly seconds: number;
  /** The contenders take turns so often; medians are quoted. */
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

/** By `contender, callers`, one for each round. */
type Taken = Map<string, Pick<Measured, 'p50' | 'p99' | 'perSecond'>[]>;

/**
 * Commands and queries over HTTP against a bare express server that answers the same bytes; and the commands once more by the SDK's gateway, which sends them
 * over Kafka itself, against the same hops in bare kafkajs.
 */
export async function benchHttp(options: HttpBenchOptions): Promise<readonly Table[]> {
  const { brokers, platform, seconds, progress, callers } = options;
  const taken: Taken = new Map();
  const note = (name: string, { p50, p99, perSecond, failed }: Pick<Measured, 'p50' | 'p99' | 'perSecond' | 'failed'>): void => {
    taken.set(name, [...(taken.get(name) ?? []), { p50, p99, perSecond }]);
    progress(`${name}: ${Math.round(perSecond)}/s p50 ${p50.toFixed(2)} p99 ${p99.toFixed(1)} ms, ${failed} failed`);
  };
  const bare = start('http/main.js', 'bare', platform.bodies);
  const http = start('http/main.js', 'callers');
  try {
    const barePort = await next<number>(bare);
    const overHttp = async (name: string, port: number, asked: Asked, many: number): Promise<void> => {
      const order: Closed = { kind: 'closed', port, asked, callers: many, seconds };
      const measured = next<Measured>(http);
      http.send(order);
      note(`${name}, ${many} callers`, await measured);
    };
    const overKafka = async (name: 'callers' | 'floor', config: ContenderConfig): Promise<void> => {
      await mkdir(config.dataDir, { recursive: true });
      await using contender = await startContender(name, config);
      for (const many of callers) {
        const step = { kind: 'closed', callers: many, seconds, warmUpSeconds: 1 } as const;
        note(`${name === 'floor' ? 'kafkajs' : 'SDK'}, ${many} callers`, (await contender.take(step)).taken);
      }
    };
    for (let round = 0; round < options.rounds; round++) {
      for (const many of callers) {
        for (const asked of ['command', 'query'] as const) {
          await overHttp(`express, ${asked}`, barePort, asked, many);
          await overHttp(`HTTP, ${asked}`, platform.port, asked, many);
        }
      }
      const own = { brokers, postgresUrl: '', schemasUrl: platform.schemasUrl };
      await overKafka('callers', { ...own, id: options.id, dataDir: join(options.dataDir, 'callers') });
      await overKafka('floor', { ...own, id: `${options.id}-floor-${round}`, dataDir: join(options.dataDir, 'floor') });
    }
  } finally {
    for (const child of [bare, http]) child.kill('SIGKILL');
  }
  const rows = (names: readonly string[], floor: string): readonly Row[] => rowsOf(taken, callers, names, floor);
  return [
    { name: 'Commands over HTTP (floor: bare express that answers the same bytes)', rows: rows(['HTTP, command'], 'express, command') },
    { name: 'Queries over HTTP (floor: bare express that answers the same bytes)', rows: rows(['HTTP, query'], 'express, query') },
    {
      name: 'The same commands over HTTP and by the SDK over Kafka (floor: the same hops in bare kafkajs)',
      rows: rows(['HTTP, command', 'SDK'], 'kafkajs'),
    },
  ];
}

const metrics = [
  ['p50', 'p50', 'ms'],
  ['p99', 'p99', 'ms'],
  ['perSecond', 'answered', '1/s'],
] as const;

function rowsOf(taken: Taken, callers: readonly number[], names: readonly string[], floor: string): readonly Row[] {
  return callers.flatMap((many) =>
    metrics.flatMap(([of, metric, unit]) => {
      const value = (name: string): number => median((taken.get(`${name}, ${many} callers`) ?? []).map((each) => each[of]));
      const bare = value(floor);
      return [...names, floor].map((name) => ({
        ...{ label: `${name}, ${many} callers`, metric, value: value(name), unit },
        ratio: name === floor ? null : value(name) / bare,
      }));
    }),
  );
}
