import { createCodec, createMemoryRegistry } from '@spool/schemas';
import {
  checkpointCodec,
  connectKafka,
  createSharedWriter,
  openInstance,
  standbyCopy,
  topicCatalogue,
  transactionalWork,
  writeBehind,
  type ConsumedRecord,
  type Instance,
  type ProcessorDefinition,
  type RestoreProgress,
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

export const changelogTopic = (consumer: string, count: number): TopicSpec => ({
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
  /** Instances that keep the counts warm beside the owner. @default 0 */
  readonly standbys?: number;
  /** One writer for the instance, fenced by claims, or one for each task, fenced by the broker alone. @default 'instance' */
  readonly transactions?: 'instance' | 'partition';
  readonly onRestore?: (progress: RestoreProgress) => void;
}

export async function engineProcessor(
  instance: Instance,
  {
    workload,
    topics,
    consumer,
    partitions: count = partitions,
    standbys = 0,
    transactions = 'instance',
    onRestore,
  }: EngineProcessorOptions,
): Promise<ProcessorDefinition> {
  await instance.kafka.admin.ensureTopics([
    changelogTopic(consumer, count),
    { ...instance.topics.deadLetters(consumer), partitions: count },
  ]);
  const topic = changelogTopic(consumer, count).name;
  const checkpoints = await checkpointCodec(instance, topic);
  const writer =
    transactions === 'instance' ? createSharedWriter({ kafka: instance.kafka, prefix: `${consumer}.${instance.id}` }) : undefined;
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
  const onError = (error: unknown): void => instance.log('error', 'a store cannot follow or be written', { error: String(error) });
  const taskOptions = (id: string) => {
    const changelog = { topic, partition: Number(id) };
    const table: RestoreSource = {
      partition: { topic: topics.table, partition: Number(id) },
      fromCovered: false,
      apply: (record, open) => open<Buffer>(rows).put(record.key!.toString(), Buffer.from(record.value!)),
    };
    return {
      kafka: instance.kafka,
      consumer,
      task: id,
      now: instance.now,
      store: writeBehind(instance.openStore(consumer, id), { onError }),
      changelog,
      ...checkpoints,
      ...(onRestore === undefined ? {} : { onRestore }),
      ...(workload === 'count'
        ? { stores: [countStore] }
        : { restore: [{ partition: changelog, fromCovered: false, apply: () => undefined }, table] }),
    };
  };
  return {
    consumer,
    sources: [topics.input],
    assignment: 'group',
    startAt: 'earliest',
    open: ({ id, assignment, signal }) =>
      transactionalWork({
        ...taskOptions(id),
        generation: assignment?.generation ?? 0,
        signal,
        ...(writer === undefined ? {} : { writer }),
        handle: workload === 'count' ? countOne : enrich,
      }),
    standbys,
    openStandby: ({ id }) => Promise.resolve(standbyCopy({ ...taskOptions(id), onError })),
    ...(writer === undefined ? {} : { close: writer.close }),
  };
}
