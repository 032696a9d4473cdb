import { SpoolError } from '@spool/schemas';
import { restoredInputs } from '../engine/restore.js';
import { rowValue, type StoreSpec } from '../engine/stores.js';
import { standbyCopy } from '../engine/standby.js';
import { transactionalWork } from '../engine/transactional-work.js';
import type { ProcessorDefinition, ProcessorStatus, TaskRequest } from '../engine/work.js';
import { createSharedWriter } from '../engine/writer.js';
import { checkpointCodec } from '../instance/checkpoints.js';
import type { Instance } from '../instance/instance.js';
import type { Offset, TopicSpec } from '../kafka/port.js';
import type { RunningProcessor } from '../engine/processor.js';
import type { Store } from '../store/store.js';
import { writeBehind } from '../store/write-behind.js';
import { compile, type Compiled } from './compile.js';
import type { Dropped, Graph, Part } from './graph.js';
import { partsOf, type Topology } from './topology.js';
import type { KeySerde } from './serde.js';

export interface RunTopologyOptions {
  /** `at-least-once` needs no transactions, and may count a record twice after a failure. @default 'exactly-once' */
  readonly delivery?: 'exactly-once' | 'at-least-once';
  /** One transaction for all tasks of the instance, or one for each task: slower, and the broker alone decides who owns it. @default 'instance' */
  readonly transactions?: 'instance' | 'partition';
  /** How many other instances keep a warm copy of each task's stores. @default 0 */
  readonly standbys?: number;
  /** How long an instance may be silent before its tasks go to others; brokers take 6 s at the least unless told otherwise. @default 6000 */
  readonly sessionTimeoutMs?: number;
  /** Where a source without a position starts. @default 'earliest' */
  readonly startAt?: 'earliest' | 'latest';
  /** @default 10000 */
  readonly maxGroupRecords?: number;
}

/** The rows of one store on this instance, as of the last commit. */
export interface LocalStore<K, V> {
  get(key: K): V | undefined;
  /** In the order of their text within each task. `from` inclusive, `to` exclusive. */
  range(bounds?: { readonly from?: K; readonly to?: K; readonly limit?: number }): Iterable<readonly [K, V]>;
  readonly size: number;
  /** The next offset of each input partition: what a result reflects, and which partitions are here. */
  readonly positions: ReadonlyMap<string, Offset>;
}

/** The stores of one part of a topology, as far as its tasks run here. */
export interface StoreShare {
  readonly consumer: string;
  /** Topics; partition i of each belongs to task i. */
  readonly sources: readonly string[];
  readonly partitions: number;
  readonly specs: readonly StoreSpec[];
  /** The store of one task; undefined when it runs elsewhere. */
  task(partition: number): Store | undefined;
}

export interface RunningTopology extends AsyncDisposable {
  status(): readonly ProcessorStatus[];
  /** Resolves when every source has been read to where its end was at the call. */
  caughtUp(signal?: AbortSignal): Promise<void>;
  /** @throws SpoolError INVALID_REQUEST where the topology declares no such store */
  store<K, V>(name: string, key: KeySerde<K>): LocalStore<K, V>;
  /** The tasks that run here, for whoever answers for them. */
  readonly shares: readonly StoreShare[];
  readonly dropped: Dropped;
  close(): Promise<void>;
}

const retentionMs = 7 * 24 * 60 * 60 * 1000;

/** Runs a topology as one of its instances; others that run it in the same cluster share its tasks. */
export async function runTopology(
  instance: Instance,
  { graph, name }: Topology,
  options: RunTopologyOptions = {},
): Promise<RunningTopology> {
  const { kafka, topics } = instance;
  const prefix = `${topics.namespace}${name}`;
  const ownTopic = (topic: string): string => `${prefix}.${topic}`;
  const parts = partsOf(graph);
  const dropped: Dropped = { late: 0, nulls: 0 };
  // 1. the topics of the topology's own, which have the partitions of what they are read with
  const counts = await partitionCounts(instance, graph, parts);
  const own = graph.sources.filter(({ repartitions }) => repartitions !== undefined);
  const repartitions = own.map(({ topic, node }): TopicSpec => ({
    name: ownTopic(topic),
    partitions: counts.get(node.part.root)!,
    cleanup: 'delete',
    retentionMs,
  }));
  await kafka.admin.ensureTopics(repartitions);
  // 2. a processor for each part
  const running: {
    processor: RunningProcessor;
    consumer: string;
    sources: readonly string[];
    partitions: number;
    stores: ReadonlyMap<string, Store>;
    compiled: Compiled;
  }[] = [];
  const close = async (): Promise<void> => {
    for (const { processor } of running.splice(0).reverse()) await processor.close();
  };
  try {
    for (const [index, part] of parts.entries()) {
      const consumer = `${prefix}.${index}`;
      const changelog = topics.changelog(`${prefix}.${index}`, counts.get(part)!);
      await kafka.admin.ensureTopics([changelog, { ...topics.deadLetters(consumer), partitions: counts.get(part)! }]);
      const sources = graph.sources
        .filter(({ node }) => node.part.root === part)
        .map((source) => (source.repartitions === undefined ? source.topic : ownTopic(source.topic)));
      const compiled = (): Promise<Compiled> =>
        compile(graph, part, { codec: instance.codec, ownTopic, changelog: changelog.name, dropped });
      const stores = new Map<string, Store>();
      const definition = await partProcessor(instance, { consumer, changelog: changelog.name, sources, compiled, stores }, options);
      running.push({
        processor: await instance.run(definition),
        consumer,
        sources,
        partitions: counts.get(part)!,
        stores,
        compiled: await compiled(),
      });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    status: () => running.map(({ processor }) => processor.status()),
    async caughtUp(signal) {
      for (const { processor } of running) await processor.caughtUp(signal);
    },
    store<K, V>(of: string, key: KeySerde<K>) {
      for (const { compiled, stores } of running) {
        const spec = compiled.stores.find((store) => store.name === of);
        if (spec !== undefined) return localStore<K, V>(stores, spec, key);
      }
      throw new SpoolError('INVALID_REQUEST', `topology ${name} has no store ${of}`);
    },
    shares: running.map(({ consumer, sources, partitions, stores, compiled }) => ({
      consumer,
      sources,
      partitions,
      specs: compiled.stores,
      task: (partition) => stores.get(String(partition)),
    })),
    dropped,
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface PartOptions {
  readonly consumer: string;
  readonly changelog: string;
  readonly sources: readonly string[];
  readonly compiled: () => Promise<Compiled>;
  /** Those of the tasks that run here. */
  readonly stores: Map<string, Store>;
}

async function partProcessor(
  instance: Instance,
  { consumer, changelog, sources, compiled, stores }: PartOptions,
  { delivery, transactions, standbys = 0, sessionTimeoutMs, startAt = 'earliest', maxGroupRecords = 10_000 }: RunTopologyOptions,
): Promise<ProcessorDefinition> {
  const { kafka, now, log } = instance;
  const checkpoints = await checkpointCodec(instance, changelog);
  const shared =
    delivery === 'at-least-once' || transactions === 'partition'
      ? undefined
      : createSharedWriter({ kafka, prefix: `${consumer}.${instance.id}` });
  const writer = shared === undefined ? {} : { writer: shared };
  const producer = delivery === 'at-least-once' ? { producer: instance.producer } : {};
  const onError = (error: unknown): void => log('error', 'a store cannot follow or be written', { consumer, error: String(error) });
  const task = async (id: string) => ({
    kafka,
    consumer,
    task: id,
    now,
    store: writeBehind(instance.openStore(consumer, id), { onError }),
    changelog: { topic: changelog, partition: Number(id) },
    ...checkpoints,
    ...(await compiled()),
  });
  return {
    consumer,
    sources,
    assignment: 'group',
    startAt,
    standbys,
    maxGroupRecords,
    maxBufferedRecords: 5 * maxGroupRecords,
    ...(sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs }),
    async open(request: TaskRequest) {
      const options = await task(request.id);
      const generation = request.assignment?.generation ?? 0;
      const work = await transactionalWork({ ...options, ...writer, ...producer, generation, signal: request.signal });
      stores.set(request.id, options.store);
      return {
        ...work,
        // Spreading would read them once.
        get nextTimer() {
          return work.nextTimer;
        },
        async close() {
          stores.delete(request.id);
          await work.close();
        },
      };
    },
    openStandby: async ({ id }) => standbyCopy({ ...(await task(id)), onError }),
    ...(shared === undefined ? {} : { close: () => shared.close() }),
  };
}

/** Of each part: that of its sources, or for topics of the topology's own, that of where they come from. */
async function partitionCounts(instance: Instance, graph: Graph, parts: readonly Part[]): Promise<ReadonlyMap<Part, number>> {
  const given = graph.sources.filter(({ repartitions }) => repartitions === undefined);
  const described = await instance.kafka.admin.describeTopics(given.map(({ topic }) => topic));
  const partitions = new Map(described.map((topic) => [topic.name, topic.partitions]));
  const counts = new Map<Part, number>();
  const countOf = (part: Part, asked: ReadonlySet<Part>): number => {
    const known = counts.get(part);
    if (known !== undefined) return known;
    const own = given.filter(({ node }) => node.part.root === part);
    const found = own.map(({ topic }) => partitions.get(topic)!);
    if (part.joins && new Set(found).size > 1) {
      const each = own.map(({ topic }) => `${topic} has ${partitions.get(topic)!}`).join(', ');
      throw new SpoolError('INVALID_CONFIG', `what is joined must have the same number of partitions: ${each}. Repartition one of them`);
    }
    if (found.length === 0) {
      for (const { node, repartitions } of graph.sources) {
        const from = repartitions?.root;
        if (node.part.root === part && from !== undefined && !asked.has(from)) found.push(countOf(from, new Set(asked).add(part)));
      }
    }
    const count = Math.max(1, ...found);
    counts.set(part, count);
    return count;
  };
  for (const part of parts) countOf(part, new Set([part]));
  return counts;
}

function localStore<K, V>(stores: ReadonlyMap<string, Store>, spec: StoreSpec, key: KeySerde<K>): LocalStore<K, V> {
  const { name } = spec;
  return {
    get(of) {
      const text = key.toText(of);
      for (const store of stores.values()) {
        const row = store.get(name, text);
        if (row !== undefined) return rowValue<V>(spec, row);
      }
      return undefined;
    },
    *range({ from, to, limit = Number.POSITIVE_INFINITY } = {}) {
      let left = limit;
      for (const store of stores.values()) {
        const bounds = { ...(from === undefined ? {} : { from: key.toText(from) }), ...(to === undefined ? {} : { to: key.toText(to) }) };
        for (const [text, row] of store.range(name, bounds)) {
          if (left-- <= 0) return;
          yield [key.fromText(text), rowValue<V>(spec, row)];
        }
      }
    },
    get size() {
      return [...stores.values()].reduce((sum, store) => sum + store.count(name), 0);
    },
    get positions() {
      return new Map([...stores.values()].flatMap((store) => [...restoredInputs(store)]));
    },
  };
}
