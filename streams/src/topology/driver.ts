import { createCodec, createMemoryRegistry, SpoolError, toSpoolError, type Codec } from '@spool/schemas';
import { handling, type Handling } from '../engine/handling.js';
import { partitionOf } from '../kafka/partitioner.js';
import { offset, type ConsumedRecord, type Offset, type ProducerRecord, type RecordPosition } from '../kafka/port.js';
import { createMemoryStore } from '../store/memory-store.js';
import { partitionKey, type Store } from '../store/store.js';
import { actualTopic, planPartitions, tasksOf } from './plan.js';
import { storeQuery, type StoreQuery } from './query.js';
import { openPart, type Dropped } from './open-part.js';
import { openSerde, untyped, type AnySerde, type KeyValue } from './serde.js';
import type { Topology } from './topology.js';
import type { KeyOf, ValueOf } from './verbs.js';

export interface DriverOptions {
  /** The wall clock at the start, in milliseconds. @default 0 */
  readonly startAt?: number;
  /** Of every topic from outside. @default 1 */
  readonly partitions?: number;
  /** Also for some topics only. @default as `partitions` */
  readonly topics?: Readonly<Record<string, number>>;
  /** For Avro serdes. @default one with a registry in memory */
  readonly codec?: Codec;
}

export interface InputTopic<K, V> {
  /** Handles the record, and all that follows from it. @param at @default the wall clock, no headers */
  send(key: K, value: V, at?: { readonly timestamp?: number; readonly headers?: Readonly<Record<string, string | Buffer>> }): Promise<void>;
}
export interface OutputRecord<K, V> {
  readonly key: K | null;
  readonly value: V | null;
  readonly timestamp: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly partition: number;
}
export interface OutputTopic<K, V> {
  /** What was written since the last call. */
  read(): Promise<readonly OutputRecord<K, V>[]>;
}

/** A topology without a broker: one record at a time through all its parts, by a clock that stands still until it is advanced. */
export interface TopologyDriver<Q> {
  input<K, V>(topic: string, serdes: KeyValue<K, V>): InputTopic<K, V>;
  /** Any topic that is written: sinks, and `dlq.<consumer>` for what was parked. */
  output<K, V>(topic: string, serdes: KeyValue<K, V>): OutputTopic<K, V>;
  /** Moves the wall clock on; timers and rows that are due by then go off, each at its time. */
  advance(ms: number): Promise<void>;
  readonly now: number;
  store<N extends keyof Q & string>(name: N): Promise<StoreQuery<KeyOf<Q[N]>, ValueOf<Q[N]>>>;
  /** Records that were passed over. */
  readonly dropped: Readonly<Dropped>;
}

interface DrivenTask {
  readonly partition: number;
  readonly sources: ReadonlySet<string>;
  readonly handling: Handling;
  readonly store: Store;
  readonly positions: Map<string, Offset>;
}

const maxAttempts = 10;
const maxRounds = 100_000;

/** @throws SpoolError as `runTopology` does for what is declared wrongly */
export async function topologyDriver<Q>(topology: Topology<Q>, options: DriverOptions = {}): Promise<TopologyDriver<Q>> {
  const { startAt = 0, partitions = 1, topics = {}, codec = createCodec({ registry: createMemoryRegistry() }) } = options;
  const { parts } = topology;
  let now = startAt;
  const dropped: Dropped = { skipped: 0, late: 0 };

  // 1. the tasks, as many as there would be on a broker
  const outside = parts.flatMap(({ sources }) => sources).filter(({ internal }) => internal === undefined);
  const planned = planPartitions(parts, new Map(outside.map(({ topic }) => [topic!, topics[topic!] ?? partitions])));
  const countOf = (topic: string): number => planned.get(topic) ?? topics[topic] ?? partitions;
  const tasks: DrivenTask[] = [];
  const stores = parts.map(() => new Map<number, Store>());
  for (const [index, part] of parts.entries()) {
    const sources = new Set(part.sources.map((source) => actualTopic(source, '')));
    for (let partition = 0; partition < tasksOf(part, planned); partition++) {
      const changelog = `${part.consumer}.changelog`;
      const nodes = await openPart(part, { codec, namespace: '', changelog, dropped });
      const store = createMemoryStore();
      stores[index]!.set(partition, store);
      const { consumer } = part;
      const handled = handling({ consumer, store, now: () => now, ...nodes }, { topic: changelog, partition });
      tasks.push({ partition, sources, handling: handled, store, positions: new Map() });
    }
  }

  // 2. the logs, and what was read of them
  const ends = new Map<string, bigint>();
  const outputs = new Map<string, ConsumedRecord[]>();
  const waiting: ConsumedRecord[] = [];
  let unkeyed = 0;
  const write = (record: ProducerRecord): RecordPosition => {
    const { topic, key, value, headers = {}, timestamp = now } = record;
    const bytes = key === null ? null : Buffer.from(key);
    const count = countOf(topic);
    const partition = record.partition ?? (bytes === null ? unkeyed++ % count : partitionOf(bytes, count));
    const at = `${topic}-${partition}`;
    const position = { topic, partition, offset: offset(ends.get(at) ?? 0n) };
    ends.set(at, position.offset + 1n);
    const buffers = Object.fromEntries(Object.entries(headers).map(([name, of]) => [name, Buffer.from(of)]));
    const consumed = { ...position, key: bytes, value, headers: buffers, timestamp };
    const written = outputs.get(topic);
    if (written === undefined) outputs.set(topic, [consumed]);
    else written.push(consumed);
    waiting.push(consumed);
    return position;
  };
  const run = async (task: DrivenTask, records: readonly ConsumedRecord[]): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        const { outputs: made, callbacks, idle } = await task.handling.run(records);
        if (idle) {
          task.handling.discard();
          return;
        }
        const positions = made.map(write);
        for (const callback of callbacks) callback({ positions, tookUs: 0 });
        for (const record of records) task.positions.set(partitionKey(record), offset(record.offset + 1n));
        const inputs = Object.fromEntries([...task.positions].map(([key, at]) => [key, String(at)]));
        task.handling.table('$checkpoint').put('last', { inputs });
        task.handling.commit(task.store.checkpoint);
        return;
      } catch (error) {
        if (attempt === maxAttempts || toSpoolError(error).entry.retryable !== 'backoff') throw error;
        // What it waits for, a schema, comes without a broker too.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  };
  const settle = async (): Promise<void> => {
    for (let record = waiting.shift(); record !== undefined; record = waiting.shift()) {
      const { topic, partition } = record;
      for (const task of tasks) if (task.partition === partition && task.sources.has(topic)) await run(task, [record]);
    }
  };
  /** Serialises the calls: a driver has one hand. */
  let last: Promise<void> = Promise.resolve();
  const queued = (work: () => Promise<void>): Promise<void> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };

  return {
    input(topic, serdes) {
      if (!outside.some((source) => source.topic === topic))
        throw new SpoolError('UNKNOWN_TOPIC', `${topology.name} does not read ${topic}`);
      const opened = Promise.all([openSerde(untyped(serdes.key), codec, topic), openSerde(untyped(serdes.value), codec, topic)]);
      const encoded = (serde: AnySerde, value: unknown): Buffer | null =>
        value === null || value === undefined ? null : serde.encode(value);
      return {
        send: (key, value, at = {}) =>
          queued(async () => {
            const [keys, values] = await opened;
            write({ topic, key: encoded(keys, key), value: encoded(values, value), ...at });
            await settle();
          }),
      };
    },
    output<K, V>(topic: string, serdes: KeyValue<K, V>) {
      const opened = Promise.all([openSerde(serdes.key, codec, topic), openSerde(serdes.value, codec, topic)]);
      return {
        async read() {
          const [keys, values] = await opened;
          await last;
          const records = outputs.get(topic) ?? [];
          outputs.delete(topic);
          return Promise.all(
            records.map(async ({ key, value, timestamp, headers, partition }) => ({
              key: key === null ? null : await keys.decode(key),
              value: value === null ? null : await values.decode(value),
              timestamp,
              headers: Object.fromEntries(Object.entries(headers).map(([name, of]) => [name, of.toString()])),
              partition,
            })),
          );
        },
      };
    },
    advance: (ms) =>
      queued(async () => {
        const until = now + ms;
        for (let rounds = 0; ; rounds++) {
          if (rounds === maxRounds)
            throw new SpoolError('INVALID_CONFIG', `${topology.name}: timers go off for ever; one sets itself anew at once`);
          const due = Math.min(...tasks.map((task) => task.handling.nextTimer ?? Number.POSITIVE_INFINITY));
          if (due > until) break;
          now = Math.max(now, due);
          for (const task of tasks) if ((task.handling.nextTimer ?? Number.POSITIVE_INFINITY) <= now) await run(task, []);
          await settle();
        }
        now = until;
      }),
    get now() {
      return now;
    },
    store(name) {
      const stored = topology.queried.get(name);
      const index = parts.findIndex(({ nodes }) => nodes.some((node) => node.stores.some((store) => store.name === stored?.store.name)));
      if (stored === undefined || index < 0) throw new SpoolError('NOT_FOUND', `${topology.name} has no store ${name} to be asked`);
      const open = (serde: AnySerde): Promise<AnySerde> => openSerde(serde, codec, `${parts[index]!.consumer}.changelog`);
      return storeQuery({ name, stored, stores: stores[index]!, partitions: stores[index]!.size, open });
    },
    dropped,
  };
}
