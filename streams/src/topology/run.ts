import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import type { RunningProcessor } from '../engine/processor.js';
import { standbyCopy } from '../engine/standby.js';
import { transactionalWork } from '../engine/transactional-work.js';
import type { ProcessorDefinition, ProcessorStatus, TaskWork } from '../engine/work.js';
import { createSharedWriter } from '../engine/writer.js';
import { checkpointCodec } from '../instance/checkpoints.js';
import type { Instance } from '../instance/instance.js';
import type { Kafka, Offset } from '../kafka/port.js';
import { partitionKey, type Store } from '../store/store.js';
import { writeBehind } from '../store/write-behind.js';
import type { Part } from './parts.js';
import { actualTopic, planPartitions, tasksOf } from './plan.js';
import { storeQuery, type StoreQuery } from './query.js';
import { openPart, type Dropped, type OpenPart } from './open-part.js';
import { openSerde } from './serde.js';
import type { Topology } from './topology.js';
import type { KeyOf, ValueOf } from './verbs.js';

export interface RunTopologyOptions {
  /** `at-least-once`: a crash may repeat a group of records, results and state alike. @default 'exactly-once' */
  readonly delivery?: 'exactly-once' | 'at-least-once';
  /** `instance`: one transaction for all tasks of a part here. `partition`: one for each task, which costs more under load. @default 'instance' */
  readonly transactions?: 'instance' | 'partition';
  /** How many other instances keep a warm copy of each task's state. @default 0 */
  readonly standbys?: number;
  /** Where a topic that was never read starts. @default 'earliest' */
  readonly startAt?: 'earliest' | 'latest';
  /** Stores on this machine that were written by another version are rebuilt from the changelog. @default '1' */
  readonly codeVersion?: string;
  /** How long an instance may be silent before its tasks go to others, in milliseconds. @default 6000 */
  readonly sessionTimeoutMs?: number;
  /** Records in one transaction, at the most. @default 2000 */
  readonly maxGroupRecords?: number;
}

/** The tasks of one part that are open on this instance, for whoever answers for them. */
export interface PartTasks {
  readonly consumer: string;
  /** Topics; partition i of each belongs to task i. */
  readonly sources: readonly string[];
  readonly tasks: number;
  readonly stores: ReadonlyMap<number, Store>;
}

export interface RunningTopology<Q> extends AsyncDisposable {
  /** Of each part, in the order of declaration. */
  status(): readonly ProcessorStatus[];
  /** Records that were passed over on this instance since it started. */
  readonly dropped: Readonly<Dropped>;
  /** Resolves when what stood in the topics at the call has gone through all parts; this instance has to own all their partitions. */
  caughtUp(signal?: AbortSignal): Promise<void>;
  /** In the order of declaration. */
  readonly parts: readonly PartTasks[];
  /** @param name as the declaration returned it */
  store<N extends keyof Q & string>(name: N): Promise<StoreQuery<KeyOf<Q[N]>, ValueOf<Q[N]>>>;
  close(): Promise<void>;
}

/**
 * Runs this instance's share of a topology. It makes the topics of the topology's own; those from outside have to be there.
 * @throws SpoolError UNKNOWN_TOPIC; INVALID_CONFIG for topics that meet by key and are not partitioned alike; PARTITIONS_CHANGED
 */
export async function runTopology<Q>(
  instance: Instance,
  topology: Topology<Q>,
  options: RunTopologyOptions = {},
): Promise<RunningTopology<Q>> {
  const { kafka, topics } = instance;
  const { namespace } = topics;
  const { parts } = topology;

  // 1. the topics
  const outside = parts.flatMap(({ sources, sinks }) => [...sources, ...sinks]).filter(({ internal }) => internal === undefined);
  const described = await kafka.admin.describeTopics([...new Set(outside.map(({ topic }) => topic!))]);
  const planned = planPartitions(parts, new Map(described.map(({ name, partitions }) => [name, partitions])), namespace);
  const internal = parts.flatMap(({ sources }) => sources).filter((source) => source.internal !== undefined);
  await kafka.admin.ensureTopics([
    ...internal.map((source) => topics.repartition(source.topic!, planned.get(actualTopic(source, namespace))!)),
    ...parts.map((part) => topics.changelog(part.consumer, tasksOf(part, planned, namespace))),
    ...parts.map((part) => ({ ...topics.deadLetters(part.consumer), partitions: tasksOf(part, planned, namespace) })),
  ]);

  // 2. the parts, the last first: who writes finds its readers in their groups
  const dropped: Dropped = { skipped: 0, late: 0 };
  const open = parts.map(() => new Map<number, Store>());
  const processors: RunningProcessor[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(processors.map((processor) => processor.close()));
  };
  try {
    for (const [index, part] of parts.entries()) {
      processors.push(await instance.run(definition(instance, part, options, dropped, open[index]!)));
    }
  } catch (error) {
    await close();
    throw error;
  }

  return {
    status: () => processors.map((processor) => processor.status()),
    parts: parts.map((part, index) => ({
      consumer: namespace + part.consumer,
      sources: part.sources.map((source) => actualTopic(source, namespace)),
      tasks: tasksOf(part, planned, namespace),
      stores: open[index]!,
    })),
    dropped,
    async caughtUp(signal) {
      // A part has written all when it has read all; with as many passes as parts their order does not matter.
      for (let pass = 0; pass < parts.length; pass++) {
        for (const [index, processor] of processors.entries()) {
          await processor.caughtUp(signal);
          const own = parts[index]!.sources.filter((source) => source.internal !== undefined);
          await reached(
            processor,
            await highWatermarks(
              kafka,
              own.map((source) => actualTopic(source, namespace)),
              planned,
            ),
            signal,
          );
        }
      }
    },
    store(name) {
      const stored = topology.queried.get(name);
      const part = partOf(topology, name);
      const changelog = topics.changelog(part.consumer, 1).name;
      return storeQuery({
        name: `${topology.name}/${name}`,
        stored: stored!,
        stores: open[parts.indexOf(part)]!,
        partitions: tasksOf(part, planned, namespace),
        open: (serde) => openSerde(serde, instance.codec, changelog),
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The part whose tasks hold a store. @throws SpoolError NOT_FOUND */
export function partOf({ name, parts, queried }: Topology<unknown>, asked: string): Part {
  const store = queried.get(asked)?.store.name;
  const part = parts.find(({ nodes }) => nodes.some(({ stores }) => stores.some((one) => one.name === store)));
  if (part === undefined) throw new SpoolError('NOT_FOUND', `${name} has no store ${asked} to be asked`);
  return part;
}

function definition(
  instance: Instance,
  part: Part,
  options: RunTopologyOptions,
  dropped: Dropped,
  open: Map<number, Store>,
): ProcessorDefinition {
  const { kafka, codec, topics, now, log } = instance;
  const { namespace } = topics;
  const consumer = namespace + part.consumer;
  const { delivery = 'exactly-once', transactions = 'instance', standbys = 0, startAt = 'earliest' } = options;
  const changelog = topics.changelog(part.consumer, 1).name;
  const sources = [...new Set(part.sources.map((source) => actualTopic(source, namespace)))];
  const writer =
    delivery === 'exactly-once' && transactions === 'instance'
      ? createSharedWriter({ kafka, prefix: `${consumer}/${instance.id}` })
      : undefined;
  const onError = (error: unknown): void => log('error', 'a store cannot be kept', { consumer, error: String(error) });
  const shared = async (id: string, opened: OpenPart) => ({
    kafka,
    consumer,
    task: id,
    now,
    changelog: { topic: changelog, partition: Number(id) },
    deadLetterTopic: topics.deadLetters(part.consumer).name,
    ...(await checkpointCodec(instance, changelog)),
    stores: opened.stores,
    store: writeBehind(instance.openStore(consumer, id, options.codeVersion), { onError }),
  });
  const openNodes = (): Promise<OpenPart> => openPart(part, { codec, namespace, changelog, dropped });
  return {
    consumer,
    sources,
    assignment: 'group',
    order: 'time',
    startAt,
    standbys,
    ...(options.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: options.sessionTimeoutMs }),
    ...(options.maxGroupRecords === undefined ? {} : { maxGroupRecords: options.maxGroupRecords }),
    async open(task) {
      const nodes = await openNodes();
      const base = await shared(task.id, nodes);
      const work = await transactionalWork({
        ...base,
        generation: task.assignment?.generation ?? 0,
        signal: task.signal,
        handle: nodes.handle,
        onTimer: nodes.onTimer,
        onExpired: nodes.onExpired,
        ...(writer === undefined ? {} : { writer }),
        ...(delivery === 'at-least-once' ? { producer: instance.producer } : {}),
      });
      open.set(Number(task.id), base.store);
      const close = async (): Promise<void> => {
        if (open.get(Number(task.id)) === base.store) open.delete(Number(task.id));
        await work.close();
      };
      return Object.assign(Object.create(work) as TaskWork, { close });
    },
    openStandby: async ({ id }) => standbyCopy({ ...(await shared(id, await openNodes())), onError }),
    ...(writer === undefined ? {} : { close: () => writer.close() }),
  };
}

const pollMs = 10;

/** Up to the last record, committed or not: what a part has committed is open to its readers a moment later. */
async function highWatermarks(
  kafka: Kafka,
  topics: readonly string[],
  planned: ReadonlyMap<string, number>,
): Promise<ReadonlyMap<string, Offset>> {
  const ends = new Map<string, Offset>();
  if (topics.length === 0) return ends;
  await using reader = await kafka.reader({ isolation: 'read_uncommitted' });
  const partitions = topics.flatMap((topic) => Array.from({ length: planned.get(topic)! }, (_, partition) => ({ topic, partition })));
  for (const partition of partitions) reader.assign(partition, 'latest');
  while (ends.size < partitions.length) for (const slice of await reader.fetch()) ends.set(partitionKey(slice), slice.highWatermark);
  return ends;
}

async function reached(processor: RunningProcessor, ends: ReadonlyMap<string, Offset>, signal?: AbortSignal): Promise<void> {
  const positions = (): ReadonlyMap<string, Offset> => new Map(processor.status().partitions.map((at) => [partitionKey(at), at.position]));
  for (;;) {
    const at = positions();
    if ([...ends].every(([key, end]) => end === 0n || (at.get(key) ?? -1n) >= end)) return;
    if (processor.status().state === 'stopped') throw new SpoolError('UNAVAILABLE', `${processor.consumer} was stopped`);
    await sleep(pollMs, undefined, signal === undefined ? {} : { signal });
  }
}
