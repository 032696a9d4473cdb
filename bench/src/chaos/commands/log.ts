import { readMeta } from '@spool/schemas';
import { readToEnd, type Kafka } from '@spool/streams';
import type { LoggedEvent } from './history.js';

/** Every committed event of a topic, in the order of its partitions. */
export async function readLog(kafka: Kafka, topic: string): Promise<readonly LoggedEvent[]> {
  const log: LoggedEvent[] = [];
  for (const { partition } of await kafka.admin.offsets(topic)) {
    await readToEnd({
      kafka,
      partition: { topic, partition },
      from: 'earliest',
      apply(records) {
        for (const { key, offset, headers, timestamp } of records) {
          const { id = '', commandId = '', aggregateVersion: version = 0, time: at = timestamp } = readMeta(headers);
          log.push({ partition, offset, aggregateId: key?.toString() ?? '', version, id, commandId, at });
        }
        return Promise.resolve();
      },
    });
  }
  return log;
}
