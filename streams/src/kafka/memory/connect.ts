import type { Kafka, Offset, TopicPartition } from '../port.js';
import { MemoryBroker, type BrokenCommit, type MemoryOptions } from './broker.js';
import { MemoryClient } from './client.js';

/** A cluster in this process for unit tests, with what a test may do to it. */
export interface MemoryCluster {
  /** A client of this cluster; each has its own producers, readers and members. */
  connect(): Kafka;
  /** Removes the records before an offset, as retention does. */
  truncate(partition: TopicPartition, before: Offset): void;
  /** Compacts a topic now; holes stay where records were. */
  compact(topic: string): void;
  /** Makes the next commit of a transactional id fail with TRANSACTION_INDETERMINATE, and says how it truly ends. */
  breakCommit(transactionalId: string, ending: BrokenCommit): void;
  /** Ends a member's session, as if its heartbeats had stayed away: the others share out its partitions before it learns of it. */
  endSession(groupId: string, memberId: string): void;
}

export function createMemoryCluster(options: MemoryOptions = {}): MemoryCluster {
  const broker = new MemoryBroker(options);
  return {
    connect: () => new MemoryClient(broker),
    truncate: (partition, before) => broker.truncate(partition, before),
    compact: (topic) => broker.compact(topic),
    breakCommit: (transactionalId, ending) => broker.breakCommit(transactionalId, ending),
    endSession: (groupId, memberId) => broker.group(groupId).remove(memberId),
  };
}

/** One client of a cluster of its own. */
export const createMemoryKafka = (options: MemoryOptions = {}): Kafka => createMemoryCluster(options).connect();
