import type { TopicPartition } from '../kafka/port.js';

/** Partition i of each source belongs to task i. */
export function byTask(partitions: readonly TopicPartition[]): ReadonlyMap<string, readonly TopicPartition[]> {
  const tasks = new Map<string, TopicPartition[]>();
  for (const partition of partitions) {
    const id = String(partition.partition);
    tasks.set(id, [...(tasks.get(id) ?? []), partition]);
  }
  return tasks;
}
