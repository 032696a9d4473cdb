import { toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, Kafka, Offset, Producer, TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { deadLetter, isTransient, toTransient } from './parking.js';
import type { TaskWork } from './work.js';

export interface OffsetWorkOptions {
  readonly consumer: string;
  readonly kafka: Kafka;
  readonly partitions: readonly TopicPartition[];
  /** Takes what is parked; without it a record that fails for good is dropped, which suits requests that somebody waits for. */
  readonly deadLetters?: Producer;
  readonly now: () => number;
  /** Records of a group are handled side by side, in order per key. At least once. */
  readonly handle: (record: ConsumedRecord) => void | Promise<void>;
}

/** Work that keeps no store: its place is the group's committed offset, which the engine commits about once a second. */
export async function offsetWork(options: OffsetWorkOptions): Promise<TaskWork> {
  const topics = [...new Set(options.partitions.map((partition) => partition.topic))];
  const committed = await options.kafka.admin.committedOffsets(options.consumer, topics);
  const positions = new Map<string, Offset>(committed.map((at) => [partitionKey(at), at.offset]));

  const handleOne = async (record: ConsumedRecord): Promise<void> => {
    try {
      const pending = options.handle(record);
      if (pending !== undefined) await pending;
    } catch (thrown) {
      if (isTransient(thrown)) throw thrown;
      await options.deadLetters?.send(deadLetter(options.consumer, record, toSpoolError(thrown), options.now()));
    }
  };
  return {
    positions,
    epoch: -1n,
    replay: undefined,
    async process(group) {
      const lanes = new Map<string, Promise<void>>();
      for (const record of group.records) {
        const lane = record.key?.toString('latin1') ?? `#${record.offset}`;
        const before = lanes.get(lane);
        lanes.set(lane, before === undefined ? handleOne(record) : before.then(() => handleOne(record)));
      }
      const failed = (await Promise.allSettled(lanes.values())).find((result) => result.status === 'rejected');
      if (failed !== undefined) throw toTransient(failed.reason);
    },
    close: () => Promise.resolve(),
  };
}
