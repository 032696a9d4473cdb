import type { Codec } from '@spool/schemas';
import { handling, type Handling } from '../engine/handling.js';
import { rowValue, type StoreSpec } from '../engine/stores.js';
import { offset, type ProducerRecord } from '../kafka/port.js';
import { partitionOf } from '../kafka/partitioner.js';
import { createMemoryStore } from '../store/memory-store.js';
import { emptyCheckpoint } from '../store/store.js';
import { compile } from './compile.js';
import type { Dropped } from './graph.js';
import type { KeySerde, Serde } from './serde.js';
import { partsOf, type Topology } from './topology.js';

export interface DriverOptions {
  /** Where the wall clock begins, in milliseconds. @default 0 */
  readonly now?: number;
  /** Of every topic; each has a task with stores and a stream time of its own. @default 1 */
  readonly partitions?: number;
  /** Needed where a serde is Avro. */
  readonly codec?: Codec;
}
export interface DriverRecord<K, V> {
  readonly key: K;
  readonly value: V;
  /** @default the wall clock */
  readonly timestamp?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Runs a topology with a clock of its own and without a broker: the same code as in production, over stores in memory. */
export interface TopologyDriver {
  input<K, V>(topic: string, key: Serde<K>, value: Serde<V>): (record: DriverRecord<K | null, V | null>) => Promise<void>;
  /** What was written to the topic since it was asked last. */
  output<K, V>(
    topic: string,
    key: Serde<K>,
    value: Serde<V>,
  ): Promise<readonly (Required<DriverRecord<K, V | null>> & { readonly partition: number })[]>;
  /** Moves the wall clock; what is due happens. */
  advance(ms: number): Promise<void>;
  /** Rows of a store, in the order of their keys. */
  rows<K, V>(store: string, key: KeySerde<K>): readonly (readonly [K, V])[];
  readonly dropped: Dropped;
  readonly now: number;
}

interface Task {
  readonly handled: Handling;
  readonly stores: readonly StoreSpec[];
}

export async function topologyDriver({ graph, name }: Topology, options: DriverOptions = {}): Promise<TopologyDriver> {
  const { partitions = 1 } = options;
  let now = options.now ?? 0;
  let next = 0;
  const dropped: Dropped = { late: 0, nulls: 0 };
  const ownTopic = (topic: string): string => `${name}.${topic}`;
  const tasks: Task[] = [];
  const readers = new Map<string, readonly Task[]>();
  const written = new Map<string, (ProducerRecord & { partition: number })[]>();
  for (const [index, part] of partsOf(graph).entries()) {
    const of: Task[] = [];
    for (let partition = 0; partition < partitions; partition++) {
      const store = createMemoryStore();
      const compiled = await compile(graph, part, { codec: options.codec, ownTopic, changelog: `${name}.${index}.changelog`, dropped });
      of.push({ stores: compiled.stores, handled: handling({ consumer: `${name}.${index}`, store, now: () => now, ...compiled }) });
    }
    tasks.push(...of);
    for (const source of graph.sources) {
      if (source.node.part.root === part) readers.set(source.repartitions === undefined ? source.topic : ownTopic(source.topic), of);
    }
  }
  const settle = async (task: Task, outputs: readonly ProducerRecord[]): Promise<void> => {
    task.handled.commit(emptyCheckpoint);
    for (const record of outputs) await write(record);
  };
  const write = async (record: ProducerRecord): Promise<void> => {
    const key = typeof record.key === 'string' ? Buffer.from(record.key) : record.key;
    const partition = record.partition ?? (key === null ? next++ % partitions : partitionOf(key, partitions));
    const log = written.get(record.topic) ?? [];
    written.set(record.topic, log);
    log.push({ ...record, partition });
    const task = readers.get(record.topic)?.[partition];
    if (task === undefined) return;
    const headers = Object.fromEntries(Object.entries(record.headers ?? {}).map(([name, value]) => [name, Buffer.from(value)]));
    const at = { topic: record.topic, partition, offset: offset(log.length - 1) };
    const { outputs } = await task.handled.run([{ ...at, key, value: record.value, headers, timestamp: record.timestamp ?? now }]);
    await settle(task, outputs);
  };
  const asked = new Map<string, number>();
  return {
    input:
      (topic, key, value) =>
      ({ key: of, value: row, timestamp = now, headers = {} }) =>
        write({ topic, key: of === null ? null : key.encode(of), value: row === null ? null : value.encode(row), timestamp, headers }),
    async output<K, V>(topic: string, key: Serde<K>, value: Serde<V>) {
      const log = written.get(topic) ?? [];
      const fresh = log.slice(asked.get(topic) ?? 0);
      asked.set(topic, log.length);
      return Promise.all(
        fresh.map(async (record) => ({
          key: await key.decode(Buffer.from(record.key ?? '')),
          value: record.value === null ? null : await value.decode(record.value),
          timestamp: record.timestamp ?? now,
          headers: Object.fromEntries(Object.entries(record.headers ?? {}).map(([header, text]) => [header, text.toString()])),
          partition: record.partition,
        })),
      );
    },
    async advance(ms) {
      const until = now + ms;
      // Each timer sees the time that it was set for.
      for (;;) {
        const due = Math.min(...tasks.map(({ handled }) => handled.nextTimer ?? Number.POSITIVE_INFINITY));
        if (due > until) break;
        now = Math.max(now, due);
        for (const task of tasks) {
          if ((task.handled.nextTimer ?? Number.POSITIVE_INFINITY) > now) continue;
          const { outputs } = await task.handled.run([]);
          await settle(task, outputs);
        }
      }
      now = until;
    },
    rows<K, V>(store: string, key: KeySerde<K>) {
      return tasks.flatMap(({ handled, stores }) => {
        const spec = stores.find((one) => one.name === store);
        return spec === undefined
          ? []
          : [...handled.table(store).range()].map(([text, row]) => [key.fromText(text), rowValue<V>(spec, row)] as const);
      });
    },
    dropped,
    get now() {
      return now;
    },
  };
}
