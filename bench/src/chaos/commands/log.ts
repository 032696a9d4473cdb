import { readMeta } from '@spool/schemas';
import { readTopic, type Kafka } from '@spool/streams';
import type { LoggedEvent } from './history.js';

/** Every committed event of a topic, in the order of its partitions. */
export const readLog = async (kafka: Kafka, topic: string): Promise<readonly LoggedEvent[]> =>
  (await readTopic(kafka, topic))
    .map(({ partition, key, offset, headers, timestamp }) => {
      const { id = '', commandId = '', aggregateVersion: version = 0, time: at = timestamp } = readMeta(headers);
      return { partition, offset, aggregateId: key?.toString() ?? '', version, id, commandId, at };
    })
    .sort((a, b) => a.partition - b.partition);
