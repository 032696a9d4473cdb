/** How long an answer is waited for where nobody says otherwise, in milliseconds. */
export const defaultWaitMs = 10_000;

/** `Prefer: wait=2` (RFC 7240) asks for an answer within so many seconds. @returns milliseconds */
export function preferredWait(prefer: string | undefined): number | undefined {
  const wait = /(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])/.exec(prefer ?? '')?.[1];
  return wait === undefined ? undefined : Number(wait) * 1000;
}
