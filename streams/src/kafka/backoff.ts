/** Milliseconds before attempt `n` (0 is the first retry): 5, 10, 20 … 500, and up to a quarter more so that processes do not march in step. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  return Math.min(5 * 2 ** Math.min(attempt, 10), 500) * (1 + random() / 4);
}
