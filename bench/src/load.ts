import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from './report.js';

/** One call; resolves when its answer is there. */
export type Call = () => Promise<unknown>;

export interface Measured {
  readonly callers: number;
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

/** A closed loop: so many callers, each with one call in flight. What is in flight at the end of the warm-up is not counted. */
export async function closedLoop(call: Call, callers: number, seconds: number, warmUpSeconds = 1): Promise<Measured> {
  let latencies: number[] | undefined;
  let failed = 0;
  let on = true;
  const loops = Array.from({ length: callers }, async () => {
    while (on) {
      const began = performance.now();
      const counted = latencies;
      try {
        await call();
        counted?.push(performance.now() - began);
      } catch {
        failed += 1;
        await sleep(10);
      }
    }
  });
  await sleep(warmUpSeconds * 1000);
  failed = 0;
  const taken: number[] = (latencies = []);
  const began = performance.now();
  await sleep(seconds * 1000);
  const elapsed = (performance.now() - began) / 1000;
  const count = taken.length;
  on = false;
  await Promise.all(loops);
  const sorted = taken.slice(0, count).sort((a, b) => a - b);
  return { callers, perSecond: count / elapsed, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), failed };
}
