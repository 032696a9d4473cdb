import type { Executor } from './executor.js';

/** What became of the calls and streams of one type. */
export interface Meter {
  readonly begun: number;
  /** Elements of streams. */
  readonly events: number;
  readonly completed: number;
  /** That were refused, failed, or were given up. */
  readonly failed: number;
  /** From the call to its end, over those that have ended, in milliseconds. */
  readonly tookMs: number;
}

const nothing: Meter = { begun: 0, events: 0, completed: 0, failed: 0, tookMs: 0 };

type Calls = Pick<Executor, 'call' | 'stream'>;

/** Counts by type. */
export function metered(executor: Calls): Calls & { meters(): ReadonlyMap<string, Meter> } {
  const meters = new Map<string, Meter>();
  const add = (type: string, more: Partial<Meter>): void => {
    const sum = { ...(meters.get(type) ?? nothing) };
    for (const [name, by] of Object.entries(more) as [keyof Meter, number][]) sum[name] += by;
    meters.set(type, sum);
  };
  const ended = (type: string, began: number, how: 'completed' | 'failed'): void =>
    add(type, { [how]: 1, tookMs: performance.now() - began });
  return {
    async call(call, signal) {
      const began = performance.now();
      add(call.type, { begun: 1 });
      try {
        const reply = await executor.call(call, signal);
        ended(call.type, began, reply.problem === null ? 'completed' : 'failed');
        return reply;
      } catch (error) {
        ended(call.type, began, 'failed');
        throw error;
      }
    },
    async *stream(call, options) {
      const began = performance.now();
      let how: 'completed' | 'failed' = 'failed';
      add(call.type, { begun: 1 });
      try {
        for await (const element of executor.stream(call, options)) {
          add(call.type, { events: 1 });
          yield element;
        }
        how = 'completed';
        return undefined;
      } finally {
        ended(call.type, began, how);
      }
    },
    meters: () => meters,
  };
}
