import { setTimeout as sleep } from 'node:timers/promises';

interface Clock {
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<unknown>;
}
const realClock: Clock = { now: () => performance.now(), sleep: (ms, signal) => sleep(ms, undefined, { signal }) };

/**
 * Gives turns in the order of the calls, `perSecond` of them a second at the most. What was missed in a stall is not made up for in a
 * burst. 0 sets no limit.
 */
export function pacer(perSecond: number, clock: Clock = realClock): (signal: AbortSignal) => Promise<void> {
  let nextTurn = 0;
  return async (signal) => {
    if (perSecond === 0) return;
    const now = clock.now();
    const turn = Math.max(now, nextTurn);
    nextTurn = turn + 1000 / perSecond;
    if (turn > now) await clock.sleep(turn - now, signal);
  };
}
