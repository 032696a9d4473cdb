import CircuitBreaker from 'opossum';
import { SpoolError, toSpoolError, type Reply } from '@spool/schemas';
import type { Call } from './call.js';
import type { Executor } from './executor.js';

export interface BreakerOptions {
  /** Calls of a type, in ten seconds, before their failures say anything. @default 20 */
  readonly volume?: number;
  /** So many of them failed for the moment, in percent: then calls of this type are not tried. @default 50 */
  readonly failures?: number;
  /** How long they are not tried; then one is, and decides. Milliseconds. @default 5000 */
  readonly openMs?: number;
  /** Answers what is not tried, or has failed for the moment: with an answer of before, or over Kafka. @default it is refused with UNAVAILABLE */
  readonly fallBack?: (call: Call, why: SpoolError) => Reply | Promise<Reply>;
}

/** What says nothing of who is called: it would be the same elsewhere, and later. */
const ofTheCall = (error: SpoolError): boolean => error.entry.retryable !== 'backoff' && error.facts.lost !== true;

/** Calls of a type that keep failing for the moment are not tried for a while: whoever answers them has time to recover, and callers need not wait. */
export function withBreaker(executor: Executor, { volume = 20, failures = 50, openMs = 5000, fallBack }: BreakerOptions): Executor {
  const breakers = new Map<string, CircuitBreaker<[Call, AbortSignal | undefined], Reply>>();
  const breakerOf = (type: string): CircuitBreaker<[Call, AbortSignal | undefined], Reply> => {
    let breaker = breakers.get(type);
    if (breaker === undefined) {
      breaker = new CircuitBreaker((call: Call, signal: AbortSignal | undefined) => executor.call(call, signal), {
        // Each call has a deadline of its own.
        ...{
          timeout: false,
          volumeThreshold: volume,
          errorThresholdPercentage: failures,
          resetTimeout: openMs,
          autoRenewAbortController: false,
        },
        errorFilter: (thrown: unknown) => ofTheCall(toSpoolError(thrown)),
      });
      breakers.set(type, breaker);
    }
    return breaker;
  };
  const close = async (): Promise<void> => {
    for (const breaker of breakers.values()) breaker.shutdown();
    breakers.clear();
    await executor.close();
  };
  return {
    get inFlight() {
      return executor.inFlight;
    },
    async call(call, signal) {
      const breaker = breakerOf(call.type);
      try {
        return await breaker.fire(call, signal);
      } catch (thrown) {
        const notTried = (thrown as { readonly code?: string }).code === 'EOPENBREAKER';
        const error = notTried
          ? new SpoolError('UNAVAILABLE', `${call.type} has kept failing, and is not tried for now`, {
              retryAfterMs: openMs,
              facts: { unreached: true },
            })
          : toSpoolError(thrown);
        if (fallBack === undefined || ofTheCall(error)) throw error;
        return fallBack(call, error);
      }
    },
    stream: (call, options) => executor.stream(call, options),
    close,
    [Symbol.asyncDispose]: close,
  };
}
