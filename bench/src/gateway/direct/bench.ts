import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { namespaceOf } from '../../commands/contenders/spool.js';
import type { Measured } from '../../load.js';
import { median, type Row, type Table } from '../../report.js';
import type { HttpBenchOptions } from '../http/bench.js';
import { next, start } from '../processes.js';
import type { CallerConfig, DirectOrder } from './orders.js';

/** Commands and queries from one bundle to another: straight over a WebSocket against the same over Kafka, in turns. */
export async function benchDirect(options: HttpBenchOptions): Promise<Table> {
  const { brokers, platform, seconds, progress } = options;
  const taken = new Map<string, Measured[]>();
  const keyOf = ({ way, asked, callers }: Omit<DirectOrder, 'seconds'>): string =>
    `${way === 'direct' ? 'direct' : 'over Kafka'}, ${asked}, ${callers} callers`;
  const dataDir = join(options.dataDir, 'direct');
  await mkdir(dataDir, { recursive: true });
  const { schemasUrl, clusterKey } = platform;
  const config: CallerConfig = { brokers, namespace: namespaceOf(options.id), schemasUrl, clusterKey, dataDir };
  const caller = start('direct/main.js', config);
  const steps = options.callers.flatMap((callers) =>
    (['command', 'query'] as const).flatMap((asked) => (['direct', 'kafka'] as const).map((way) => ({ way, asked, callers }))),
  );
  try {
    await next(caller);
    for (let round = 0; round < options.rounds; round++) {
      for (const step of steps) {
        const answer = next<Measured>(caller);
        caller.send({ ...step, seconds } satisfies DirectOrder);
        const measured = await answer;
        if (measured.perSecond === 0) throw new Error(`${keyOf(step)}: nothing is answered`);
        taken.set(keyOf(step), [...(taken.get(keyOf(step)) ?? []), measured]);
        const { perSecond, p50, p99, failed } = measured;
        progress(`${keyOf(step)}: ${Math.round(perSecond)}/s p50 ${p50.toFixed(2)} p99 ${p99.toFixed(1)} ms, ${failed} failed`);
      }
    }
  } finally {
    caller.kill('SIGKILL');
  }
  const value = (step: Omit<DirectOrder, 'seconds'>, of: 'p50' | 'p99' | 'perSecond'): number =>
    median((taken.get(keyOf(step)) ?? []).map((each) => each[of]));
  const rows = steps.flatMap((step): Row[] =>
    (['p50', 'p99', 'perSecond'] as const).map((of) => ({
      ...{ label: keyOf(step), metric: of === 'perSecond' ? 'answered' : of, unit: of === 'perSecond' ? '1/s' : 'ms' },
      value: value(step, of),
      ratio: step.way === 'kafka' ? null : value(step, of) / value({ ...step, way: 'kafka' }, of),
    })),
  );
  return { name: 'Calls from bundle to bundle, straight over a WebSocket (floor: the same over Kafka)', rows };
}
