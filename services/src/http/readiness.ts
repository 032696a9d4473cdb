import { toSpoolError } from '@spool/schemas';
import { scrub } from './secrets.js';

/** One thing that must work before requests are sent here. */
export interface ReadinessCheck {
  readonly name: string;
  /** What is missing, or undefined if all is well; a throw counts as missing. It has two seconds. */
  readonly check: (signal: AbortSignal) => Promise<string | undefined> | string | undefined;
}

export interface ReadinessResult {
  readonly name: string;
  readonly ready: boolean;
  readonly reason?: string;
}

/** Runs all checks side by side; callers that come meanwhile share the run. */
export function createReadiness(checks: readonly ReadinessCheck[], timeoutMs = 2_000): () => Promise<readonly ReadinessResult[]> {
  let running: Promise<readonly ReadinessResult[]> | undefined;
  return () => (running ??= Promise.all(checks.map((each) => run(each, timeoutMs))).finally(() => (running = undefined)));
}

async function run({ name, check }: ReadinessCheck, timeoutMs: number): Promise<ReadinessResult> {
  const aborter = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timedOut = new Promise<string>((resolve) => {
    timer = setTimeout(() => {
      aborter.abort();
      resolve(`no answer within ${timeoutMs} ms`);
    }, timeoutMs);
  });
  try {
    const reason = await Promise.race([(async () => check(aborter.signal))(), timedOut]);
    return reason === undefined ? { name, ready: true } : { name, ready: false, reason: scrub(reason) };
  } catch (error) {
    return { name, ready: false, reason: scrub(toSpoolError(error).message) };
  } finally {
    clearTimeout(timer);
  }
}
