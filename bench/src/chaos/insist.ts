import { setTimeout as sleep } from 'node:timers/promises';
import { toSpoolError } from '@spool/schemas';

/** What leaves it open whether anything was done: the same id is sent again. */
const open: readonly string[] = ['INDETERMINATE', 'UNAVAILABLE', 'EXPIRED', 'OVERLOADED', 'KAFKA_UNAVAILABLE'];
const againMs = 100;

/** The same message again, until it is known what became of it. */
export async function insist<T>(send: () => Promise<T>, over: AbortSignal): Promise<T> {
  for (;;) {
    over.throwIfAborted();
    try {
      return await send();
    } catch (thrown) {
      if (!open.includes(toSpoolError(thrown).code)) throw thrown;
      await sleep(againMs);
    }
  }
}
