import { toToken } from '@spool/sdk';
import { offset, partitionKey, splitPartitionKey, type Offset } from '@spool/streams';
import { delivery, seen, type Listener, type Seen, type TailsInstance } from './tail.js';

/** A position is told after so many records that were passed over, or so many milliseconds. */
const tellAfterRecords = 1000;
const tellAfterMs = 5000;

interface Alone {
  readonly instance: TailsInstance;
  readonly wants: (record: Seen) => boolean;
  /** Where it is, moved along. */
  readonly own: Map<string, Offset>;
  readonly listener: Listener;
  readonly signal: AbortSignal;
  /** Whether it need not go on alone. */
  readonly until: () => boolean;
}

/** Reads the past for one tail, as fast as its listener takes it. @returns false when the listener takes no more */
export async function followAlone({ instance, wants, own, listener, signal, until }: Alone): Promise<boolean> {
  const { kafka, now } = instance;
  await using reader = await kafka.reader();
  const ended = (): boolean => signal.aborted;
  const stop = (): void => void reader.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for (const [key, at] of own) reader.assign(splitPartitionKey(key), at);
    let told = now();
    let passed = 0;
    while (!ended() && !until()) {
      for (const slice of await reader.fetch()) {
        const key = partitionKey(slice);
        for (const record of slice.records) {
          own.set(key, offset(record.offset + 1n));
          const each = seen(record, instance);
          passed += 1;
          if (!wants(each)) continue;
          if (!listener.deliver(delivery(toToken(own), await each.read()))) return false;
          await listener.ready();
          if (ended()) return true;
          passed = 0;
          told = now();
        }
        own.set(key, slice.nextOffset);
      }
      // Whoever resumes need not pass over the same again.
      if (passed >= tellAfterRecords || (passed > 0 && now() - told >= tellAfterMs)) {
        if (!listener.deliver(delivery(toToken(own)))) return false;
        passed = 0;
        told = now();
      }
    }
    return true;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
