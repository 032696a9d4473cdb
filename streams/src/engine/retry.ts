import { setTimeout as sleep } from 'node:timers/promises';

/** Exponential back-off from 50 ms to 30 s with 20 % jitter. */
export function backOffMs(attempt: number, random: () => number = Math.random): number {
  const base = Math.min(30_000, 50 * 2 ** Math.min(attempt, 20));
  return base * (0.8 + 0.4 * random());
}

/** Sleeps; resolves early, and with false, when the signal fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal, ref: true });
    return true;
  } catch {
    return false;
  }
}
