import type { Measured } from '../../load.js';
import { median, type Row, type Table } from '../../report.js';
import { next, start } from '../processes.js';
import type { HttpBenchOptions } from './bench.js';
import type { Closed } from './orders.js';

/** One load by autocannon and by our own callers, in turns: whether the figures are the callers' or the gateway's. */
export async function benchOutside(
  options: Pick<HttpBenchOptions, 'platform' | 'callers' | 'seconds' | 'rounds' | 'progress'>,
): Promise<Table> {
  const { platform, seconds, progress } = options;
  const tools = { autocannon: start('http/main.js', 'cannon'), own: start('http/main.js', 'callers') } as const;
  const taken = new Map<string, Measured[]>();
  const keyOf = (tool: string, callers: number): string => `${tool}, ${callers} callers`;
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const callers of options.callers) {
        for (const tool of ['autocannon', 'own'] as const) {
          const order: Closed = { kind: 'closed', port: platform.port, asked: 'command', callers, seconds };
          const answer = next<Measured>(tools[tool]);
          tools[tool].send(order);
          const measured = await answer;
          const key = keyOf(tool, callers);
          taken.set(key, [...(taken.get(key) ?? []), measured]);
          progress(
            `${key}: ${Math.round(measured.perSecond)}/s p50 ${measured.p50.toFixed(1)} p99 ${measured.p99.toFixed(1)} ms, ${measured.failed} failed`,
          );
        }
      }
    }
  } finally {
    for (const child of Object.values(tools)) child.kill('SIGKILL');
  }
  const value = (tool: string, callers: number, of: 'p50' | 'p99' | 'perSecond'): number =>
    median((taken.get(keyOf(tool, callers)) ?? []).map((each) => each[of]));
  const rows = options.callers.flatMap((callers): Row[] =>
    (['p50', 'p99', 'perSecond'] as const).flatMap((of) =>
      (['own', 'autocannon'] as const).map((tool) => ({
        ...{ label: keyOf(tool, callers), metric: of === 'perSecond' ? 'answered' : of, unit: of === 'perSecond' ? '1/s' : 'ms' },
        value: value(tool, callers, of),
        ratio: tool === 'own' ? value(tool, callers, of) / value('autocannon', callers, of) : null,
      })),
    ),
  );
  return { name: 'Commands over HTTP by our own callers (floor: by autocannon, which counts whole milliseconds)', rows };
}
