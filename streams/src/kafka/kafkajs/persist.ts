import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { backoffMs } from '../backoff.js';
import { isTransient, kafkaError } from './broker-errors.js';

export interface Persistence {
  /** What is attempted, for the message. */
  readonly doing: string;
  /** How long to go on, in milliseconds. */
  readonly forMs: number;
  /** Milliseconds before retry `n`. @default 5, 10, 20 … 500 */
  readonly pauseMs?: (n: number, thrown: unknown) => number;
  readonly signal?: AbortSignal;
}

/**
 * Attempts until it works.
 * @throws SpoolError: what the last attempt threw, KAFKA_UNAVAILABLE when the time is over.
 */
export async function persist<T>(
  { doing, forMs, pauseMs = (n) => backoffMs(n), signal }: Persistence,
  attempt: () => Promise<T>,
): Promise<T> {
  const end = performance.now() + forMs;
  for (let n = 0; ; n++) {
    let pause: number;
    try {
      return await attempt();
    } catch (thrown) {
      if (thrown instanceof SpoolError || !isTransient(thrown)) throw kafkaError(thrown, doing);
      if (signal?.aborted) throw new SpoolError('KAFKA_UNAVAILABLE', `${doing}: closed`, { cause: thrown });
      if (performance.now() >= end)
        throw new SpoolError('KAFKA_UNAVAILABLE', `${doing}: gave up after ${forMs} ms: ${reason(thrown)}`, { cause: thrown });
      pause = pauseMs(n, thrown);
    }
    // a timer of no length takes a whole millisecond
    if (pause === 0) await nextTurn();
    else await sleep(pause, undefined, signal ? { signal } : {}).catch(() => undefined);
  }
}

const reason = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
