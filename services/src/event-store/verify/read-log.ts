import { partitionKey, type ConsumedRecord, type Kafka, type Offset } from '@spool/streams';

export interface LogRange {
  readonly kafka: Kafka;
  readonly topic: string;
  /** Milliseconds since the epoch. @default from the beginning */
  readonly from?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Every committed record of a topic up to where its end is at the call, in the order of each partition. Awaits `take` for one after the other. */
export async function readLog(
  { kafka, topic, from, signal }: LogRange,
  take: (record: ConsumedRecord) => void | Promise<void>,
): Promise<void> {
  const ends = await kafka.admin.offsets(topic);
  const times = new Map<string, Offset>();
  if (from !== undefined) for (const at of await kafka.admin.offsetsAt(topic, from)) times.set(partitionKey(at), at.offset);
  await using reader = await kafka.reader({ maxWaitMs: 500 });
  const left = new Map<string, Offset>();
  for (const at of ends) {
    const start = times.get(partitionKey(at)) ?? at.earliest;
    if (start >= at.latest) continue;
    left.set(partitionKey(at), at.latest);
    reader.assign(at, start);
  }
  while (left.size > 0) {
    signal?.throwIfAborted();
    for (const slice of await reader.fetch()) {
      const end = left.get(partitionKey(slice));
      if (end === undefined) continue;
      for (const record of slice.records) {
        if (record.offset >= end) break;
        const pending = take(record);
        if (pending !== undefined) await pending;
      }
      if (slice.nextOffset < end) continue;
      left.delete(partitionKey(slice));
      reader.unassign(slice);
    }
  }
}
