import { toSpoolError } from '@spool/schemas';
import type { CommandResult } from '@spool/sdk';
import { backOffMs } from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';

export type Outcome = 'applied' | 'duplicate' | 'rejected';

/**
 * Sends a command until its outcome is known. A lost answer, an overload or a broker that is away is met by sending the same command
 * again, later and later: its id makes that safe.
 * @throws SpoolError that no repetition can mend; AbortError when `signal` aborts.
 */
export async function definiteOutcome(send: () => Promise<CommandResult>, signal: AbortSignal, onRetry: () => void): Promise<Outcome> {
  for (let attempt = 0; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return (await send()).status;
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.code === 'REJECTED') return 'rejected';
      if (error.entry.retryable !== 'backoff') throw error;
      onRetry();
      await sleep(Math.max(backOffMs(attempt), error.retryAfterMs ?? 0), undefined, { signal });
    }
  }
}
