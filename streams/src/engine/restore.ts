import { SpoolError } from '@spool/schemas';
import type { ConsumedRecord, Kafka, Offset, TopicPartition } from '../kafka/port.js';

export interface RestoreProgress extends TopicPartition {
  readonly position: Offset;
  readonly end: Offset;
}

export interface ReadToEndOptions {
  readonly kafka: Kafka;
  readonly partition: TopicPartition;
  readonly from: Offset | 'earliest';
  /** Called for each slice, in order; `next` is the position after it. */
  readonly apply: (records: readonly ConsumedRecord[], next: Offset) => Promise<void>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: RestoreProgress) => void;
}

/**
 * Reads a partition from `from` to the last stable offset as it was at the first answer, and returns where it stopped. The end is an offset
 * and not a record, since a partition may end in transaction markers.
 * @throws SpoolError STORE_CORRUPT when `from` lies beyond the end: the caller's store belongs to another log.
 */
export async function readToEnd(options: ReadToEndOptions): Promise<Offset> {
  const { partition } = options;
  const outOfRange = new Set<Offset>();
  const reader = await options.kafka.reader({
    onOutOfRange: (at) => outOfRange.add(at.offset),
  });
  try {
    reader.assign(partition, options.from);
    let end: Offset | undefined;
    for (;;) {
      options.signal?.throwIfAborted();
      for (const slice of await reader.fetch()) {
        end ??= slice.lastStableOffset;
        if (
          options.from !== 'earliest' &&
          (options.from > slice.lastStableOffset || (outOfRange.size > 0 && slice.nextOffset < options.from))
        ) {
          throw new SpoolError(
            'STORE_CORRUPT',
            `position ${options.from} of ${partition.topic}-${partition.partition} is beyond its end ${slice.lastStableOffset}`,
          );
        }
        if (slice.records.length > 0) await options.apply(slice.records, slice.nextOffset);
        options.onProgress?.({ ...partition, position: slice.nextOffset, end });
        if (slice.nextOffset >= end) return slice.nextOffset;
      }
    }
  } finally {
    await reader.close();
  }
}
