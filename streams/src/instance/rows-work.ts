import { transactionalWork, type TransactionalWorkOptions } from '../engine/transactional-work.js';
import type { TaskRequest, TaskWork } from '../engine/work.js';
import type { TopicPartition } from '../kafka/port.js';
import { checkpointCodec } from './checkpoints.js';
import type { Instance } from './instance.js';

export interface RowsWorkOptions<R> extends Pick<TransactionalWorkOptions, 'handle' | 'onTimer'> {
  readonly instance: Instance;
  readonly task: TaskRequest;
  readonly consumer: string;
  /** The compacted topic that the rows are for; the task's checkpoint lies beside them. */
  readonly topic: string;
  /** Keys of rows begin with it. */
  readonly prefix: string;
  /** The table that holds them, and under which key. */
  readonly table: string;
  readonly idOf: (key: string) => string;
  readonly decode: (value: Buffer) => R | Promise<R>;
}

/** Exactly-once work whose table is a public topic: what the handler emits under the prefix is what the table is restored from. */
export async function rowsWork<R>({
  instance,
  task,
  consumer,
  topic,
  prefix,
  table: name,
  idOf,
  decode,
  ...handlers
}: RowsWorkOptions<R>): Promise<TaskWork> {
  const changelog: TopicPartition = { topic, partition: Number(task.id) };
  return transactionalWork({
    kafka: instance.kafka,
    consumer,
    deadLetterTopic: instance.topics.deadLetters(consumer).name,
    task: task.id,
    generation: task.assignment?.generation ?? 0,
    now: instance.now,
    store: instance.openStore(consumer, task.id),
    changelog,
    signal: task.signal,
    ...(await checkpointCodec(instance, topic)),
    restore: [
      {
        partition: changelog,
        fromCovered: false,
        async apply(record, table) {
          const key = record.key?.toString() ?? '';
          if (!key.startsWith(prefix)) return;
          const rows = table<R>(name);
          if (record.value === null) rows.delete(idOf(key));
          else rows.put(idOf(key), await decode(record.value));
        },
      },
    ],
    ...handlers,
  });
}
