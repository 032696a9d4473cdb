import type { ConsumedRecord } from '../kafka/port.js';

/** Each partition keeps its own order; of their next records the earliest goes first. */
export function inOrderOfTime(records: readonly ConsumedRecord[]): readonly ConsumedRecord[] {
  const queues = new Map<string, ConsumedRecord[]>();
  for (const record of records) {
    const queue = queues.get(record.topic);
    if (queue === undefined) queues.set(record.topic, [record]);
    else queue.push(record);
  }
  if (queues.size < 2) return records;
  const heads = [...queues.values()].map((queue) => ({ queue, next: 0 }));
  const ordered: ConsumedRecord[] = [];
  while (ordered.length < records.length) {
    let first: (typeof heads)[number] | undefined;
    for (const head of heads) {
      const record = head.queue[head.next];
      if (record !== undefined && (first === undefined || record.timestamp < first.queue[first.next]!.timestamp)) first = head;
    }
    ordered.push(first!.queue[first!.next++]!);
  }
  return ordered;
}
