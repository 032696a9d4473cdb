import { SpoolError } from '@spool/schemas';
import { partitionKey, type Kafka, type Offset, type TopicPartition } from '@spool/streams';

export interface CutOptions {
  readonly kafka: Kafka;
  /** Of compacted topics: each transaction of the platform writes to one of them. */
  readonly journals: readonly TopicPartition[];
  readonly others: readonly TopicPartition[];
  /** How long to look for a moment without a transaction, in milliseconds. */
  readonly withinMs: number;
  readonly signal?: AbortSignal;
}

/** A fetch without news takes as long. */
const fetchMs = 10;

/**
 * Where to cut all partitions so that each transaction is in the back-up as a whole or not at all. A transaction's markers reach its partitions one
 * after the other, so two ends that are read one after the other may lie on both sides of one. This gives the ends of a moment without any: nothing
 * is open, and the journals end where they ended before the others were asked.
 * @throws SpoolError UNAVAILABLE when there was no such moment
 */
export async function consistentCut({ kafka, journals, others, withinMs, signal }: CutOptions): Promise<ReadonlyMap<string, Offset>> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    signal?.throwIfAborted();
    const before = await ends(kafka, journals, deadline, signal);
    const rest = await ends(kafka, others, deadline, signal);
    const after = await ends(kafka, journals, deadline, signal);
    const moved = [...after.places].filter(([key, at]) => before.places.get(key) !== at).map(([key]) => key);
    const busy = [...new Set([...before.open, ...rest.open, ...after.open, ...moved])];
    if (busy.length === 0) return new Map([...rest.places, ...after.places]);
    if (performance.now() > deadline) {
      throw new SpoolError(
        'UNAVAILABLE',
        `in ${withinMs / 1000} s there was no moment without a transaction: ${busy.slice(0, 20).join(', ')} moved; pause the consumers that write there`,
      );
    }
  }
}

interface Ends {
  readonly places: ReadonlyMap<string, Offset>;
  /** Partitions with records of which it is not decided yet whether they hold. */
  readonly open: readonly string[];
}

async function ends(kafka: Kafka, partitions: readonly TopicPartition[], deadline: number, signal: AbortSignal | undefined): Promise<Ends> {
  const places = new Map<string, Offset>();
  const open: string[] = [];
  const reader = await kafka.reader({ maxWaitMs: fetchMs });
  try {
    for (const partition of partitions) reader.assign(partition, 'latest');
    while (places.size < partitions.length) {
      signal?.throwIfAborted();
      for (const slice of await reader.fetch()) {
        const key = partitionKey(slice);
        if (places.has(key)) continue;
        places.set(key, slice.lastStableOffset);
        if (slice.lastStableOffset < slice.highWatermark) open.push(key);
        reader.unassign(slice);
      }
      if (performance.now() > deadline + 30_000) throw new SpoolError('KAFKA_UNAVAILABLE', 'the ends of the topics were not answered');
    }
  } finally {
    await reader.close();
  }
  return { places, open };
}
