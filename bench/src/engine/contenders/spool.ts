import { createCodec, createMemoryRegistry } from '@spool/schemas';
import {
  checkpointCodec,
  connectKafka,
  createSharedWriter,
  openInstance,
  topicCatalogue,
  transactionalWork,
  type ConsumedRecord,
  type Instance,
  type ProcessorDefinition,
  type RestoreSource,
  type StoreSpec,
  type TaskContext,
  type TopicSpec,
} from '@spool/streams';
import { countOf, countValue, joinedValue, partitions, type EngineTopics, type Workload } from '../workload.js';
import type { StartContender } from './contender.js';

/** Spool as a part of the platform runs it: an instance with heartbeats and telemetry, stores on disk with a changelog, fenced by claims. */
export const startSpool: StartContender = async ({ workload, brokers, id, topics, dataDir }) => {
  const kafka = await connectKafka({ brokers, clientId: id });
  const instance = await openInstance({
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ namespace: `${id}.` }),
    bundle: 'bench',
    version: '1.0.0',
    instance: 'bench-0',
    dataDir,
    log: () => undefined,
    now: Date.now,
  });
  await instance.run(await engineProcessor(instance, { workload, topics, consumer: id }));
  return {
    async close() {
      await instance.close();
      await kafka.close();
    },
  };
};

export const counts = 'counts';
const rows = 'rows';
const countStore: StoreSpec<number> = { name: counts, encode: countValue, decode: countOf };

export const changelogTopic = (consumer: string, count = partitions): TopicSpec => ({
  name: `${consumer}-changelog`,
  partitions: count,
  cleanup: 'compact',
  retentionMs: -1,
  config: { 'min.compaction.lag.ms': '60000' },
});

export interface EngineProcessorOptions {
  readonly workload: Workload;
  readonly topics: EngineTopics;
  readonly consumer: string;
  /** Of the input. @default 3 */
  readonly partitions?: number;
}

export async function engineProcessor(
  instance: Instance,
  { workload, topics, consumer, partitions: count }: EngineProcessorOptions,
): Promise<ProcessorDefinition> {
  await instance.kafka.admin.ensureTopics([changelogTopic(consumer, count), instance.topics.deadLetters(consumer)]);
  const topic = changelogTopic(consumer).name;
  const checkpoints = await checkpointCodec(instance, topic);
  const writer = createSharedWriter({ kafka: instance.kafka, prefix: `${consumer}/${instance.id}` });
  const countOne = (record: ConsumedRecord, task: TaskContext): void => {
    const key = record.key!.toString();
    const table = task.table<number>(counts);
    const next = (table.get(key) ?? 0) + 1;
    table.put(key, next);
    task.emit({ topic: topics.output, partition: record.partition, key: record.key, value: countValue(next) });
  };
  const enrich = (record: ConsumedRecord, task: TaskContext): void => {
    const row = task.table<Buffer>(rows).get(record.key!.toString());
    if (row === undefined) return;
    task.emit({ topic: topics.output, partition: record.partition, key: record.key, value: joinedValue(record.value!, row) });
  };
  return {
    consumer,
    sources: [topics.input],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => {
      const partition = Number(task.id);
      const table: RestoreSource = {
        partition: { topic: topics.table, partition },
        fromCovered: false,
        apply: (record, open) => open<Buffer>(rows).put(record.key!.toString(), Buffer.from(record.value!)),
      };
      const changelog: RestoreSource = { partition: { topic, partition }, fromCovered: false, apply: () => undefined };
      return transactionalWork({
        kafka: instance.kafka,
        consumer,
        task: task.id,
        generation: task.assignment?.generation ?? 0,
        now: instance.now,
        store: instance.openStore(consumer, task.id),
        changelog: { topic, partition },
        signal: task.signal,
        writer,
        ...checkpoints,
        ...(workload === 'count' ? { stores: [countStore], handle: countOne } : { restore: [changelog, table], handle: enrich }),
      });
    },
    close: writer.close,
  };
}
