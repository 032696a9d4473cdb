import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves `perSecond` times a second at the most, in the order of the calls. What was missed in a stall is not made up for in a burst.
 * 0 sets no limit.
 */
export function pacer(perSecond: number, now: () => number = () => performance.now()): (signal: AbortSignal) => Promise<void> {
  let turn = 0;
  return async (signal) => {
    if (perSecond === 0) return;
    const at = now();
    const mine = Math.max(at, turn);
    turn = mine + 1000 / perSecond;
    if (mine > at) await sleep(mine - at, undefined, { signal });
  };
}
