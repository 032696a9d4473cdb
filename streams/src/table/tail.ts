import { backOffMs, pause } from '../engine/retry.js';
import type { ConsumedRecord, Kafka, Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';

export interface TailOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  /** @default 'earliest' */
  readonly from?: 'earliest' | 'latest';
  /** One at a time, in order per partition. What it throws goes to `onError`, and the record is passed over. */
  readonly onRecord: (record: ConsumedRecord) => void | Promise<void>;
  readonly onError: (error: unknown) => void;
}
export interface Tail extends AsyncDisposable {
  /** How far each partition has been read. */
  readonly positions: ReadonlyMap<string, Offset>;
  close(): Promise<void>;
}

/** Reads a whole topic without a group, for state that every process holds; resolves when it has read what stood there at the call. */
export async function tailTopic(options: TailOptions): Promise<Tail> {
  const positions = new Map<string, Offset>();
  const stop = new AbortController();
  const ends = await options.kafka.admin.offsets(options.topic);
  const reader = await options.kafka.reader();
  const left = new Map<string, Offset>();
  for (const at of ends) {
    const start = options.from === 'latest' ? at.latest : at.earliest;
    if (at.latest > start) left.set(partitionKey(at), at.latest);
    positions.set(partitionKey(at), start);
    reader.assign(at, start);
  }
  const step = async (): Promise<void> => {
    for (const slice of await reader.fetch()) {
      for (const record of slice.records) {
        try {
          await options.onRecord(record);
        } catch (error) {
          options.onError(error);
        }
      }
      const key = partitionKey(slice);
      positions.set(key, slice.nextOffset);
      if (slice.nextOffset >= (left.get(key) ?? slice.nextOffset)) left.delete(key);
    }
  };
  try {
    while (left.size > 0) await step();
  } catch (error) {
    await reader.close();
    throw error;
  }
  const tail = (async () => {
    for (let failures = 0; !stop.signal.aborted;) {
      try {
        await step();
        failures = 0;
      } catch (error) {
        options.onError(error);
        await pause(backOffMs(failures++), stop.signal);
      }
    }
  })();
  const close = async (): Promise<void> => {
    stop.abort();
    await reader.close();
    await tail;
  };
  return { positions, close, [Symbol.asyncDispose]: close };
}
