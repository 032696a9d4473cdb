import { setTimeout as sleep } from 'node:timers/promises';
import { closedLoop, type Call } from './load.js';
import { quantile } from './report.js';

/** A load to measure: so many callers that wait for their answers, or so many calls a second whatever the answers do. */
export type Step =
  | { readonly kind: 'closed'; readonly callers: number; readonly seconds: number; readonly warmUpSeconds: number }
  | { readonly kind: 'open'; readonly rate: number; readonly seconds: number };

export interface Taken {
  /** Answered, a second. */
  readonly perSecond: number;
  /** Milliseconds; of an open loop from the moment at which the call was to begin. */
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

export const measure = (call: Call, step: Step): Promise<Taken> =>
  step.kind === 'closed' ? closedLoop(call, step.callers, step.seconds, step.warmUpSeconds) : openLoop(call, step.rate, step.seconds);

/** Waiting calls beyond this fail: whoever does not keep up would wait for ever. */
const maxWaiting = 50_000;
const drainMs = 3000;

/** Calls at a fixed rate. What has no answer a few seconds after the last call counts as failed. */
export async function openLoop(call: Call, rate: number, seconds: number): Promise<Taken> {
  const total = Math.floor(rate * seconds);
  const warm = Math.floor(total / 5);
  const latencies: number[] = [];
  let answered = 0;
  let failed = 0;
  let waiting = 0;
  let over = false;
  const began = performance.now();
  const start = (index: number): void => {
    const intended = began + (index * 1000) / rate;
    if (waiting >= maxWaiting) {
      failed += 1;
      return;
    }
    waiting += 1;
    call().then(
      () => {
        waiting -= 1;
        if (over) return;
        answered += 1;
        if (index >= warm) latencies.push(performance.now() - intended);
      },
      () => {
        waiting -= 1;
        if (!over) failed += 1;
      },
    );
  };
  for (let index = 0; index < total;) {
    for (const due = Math.min(total, ((performance.now() - began) * rate) / 1000); index < due; index++) start(index);
    await sleep(1);
  }
  const end = performance.now() + drainMs;
  while (waiting > 0 && performance.now() < end) await sleep(5);
  const elapsed = (performance.now() - began) / 1000;
  over = true;
  const sorted = latencies.sort((a, b) => a - b);
  return {
    perSecond: answered / elapsed,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    failed: failed + waiting,
  };
}
