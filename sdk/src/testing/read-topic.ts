import type { ConsumedRecord, Kafka } from '@spool/streams';

/** Every committed record that stands in a topic now, in order within each partition. */
export async function readTopic(kafka: Kafka, topic: string): Promise<readonly ConsumedRecord[]> {
  const left = new Map(
    (await kafka.admin.offsets(topic)).filter(({ latest }) => latest > 0n).map(({ partition, latest }) => [partition, latest]),
  );
  await using reader = await kafka.reader();
  for (const partition of left.keys()) reader.assign({ topic, partition }, 'earliest');
  const records: ConsumedRecord[] = [];
  while (left.size > 0) {
    for (const slice of await reader.fetch()) {
      records.push(...slice.records);
      if (slice.nextOffset >= (left.get(slice.partition) ?? 0n)) left.delete(slice.partition);
    }
  }
  return records;
}
