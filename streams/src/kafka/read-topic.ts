import type { ConsumedRecord, Kafka, Offset } from './port.js';

/**
 * Every record that stands in a topic now, in order within each partition. What is written but not known to be committed is waited for: who
 * committed it may have been told so by another partition, before the marker stands in this one.
 */
export async function readTopic(kafka: Kafka, topic: string): Promise<readonly ConsumedRecord[]> {
  const left = new Map<number, Offset | undefined>((await kafka.admin.offsets(topic)).map(({ partition }) => [partition, undefined]));
  await using reader = await kafka.reader();
  for (const partition of left.keys()) reader.assign({ topic, partition }, 'earliest');
  const records: ConsumedRecord[] = [];
  while (left.size > 0) {
    for (const { partition, highWatermark, nextOffset, records: more } of await reader.fetch()) {
      records.push(...more);
      if (!left.has(partition)) continue;
      const end = left.get(partition) ?? highWatermark;
      if (nextOffset >= end) left.delete(partition);
      else left.set(partition, end);
    }
  }
  return records;
}
