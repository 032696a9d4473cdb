import { until } from '@spool/schemas/testing';
import { createMemoryCluster, type MemoryCluster } from '../../kafka/memory/connect.js';
import { offset, type ConsumedRecord, type Kafka, type Offset, type Producer } from '../../kafka/port.js';
import { createMemoryStore } from '../../store/memory-store.js';
import type { Store, Table } from '../../store/store.js';
import type { TaskCheckpoint } from '../restore.js';
import type { ControlOrder } from '../control.js';
import { effectsWork } from '../effects-work.js';
import { localWork } from '../local-work.js';
import { offsetWork } from '../offset-work.js';
import { runProcessor, type RunningProcessor } from '../processor.js';
import { transactionalWork } from '../transactional-work.js';
import type { ProcessorStatus, TaskRequest, TaskWork } from '../work.js';

export { until };

export type Handle = (record: ConsumedRecord, table: <V>(name: string) => Table<V>) => void | Promise<void>;
/** The kinds of work, by what they keep their place in. */
export type Kind = 'its own store' | 'transactions' | 'committed offsets' | 'effects';
export const kinds: readonly Kind[] = ['its own store', 'transactions', 'committed offsets', 'effects'];

/** One processor `counter` over the topic `in` of two partitions, for tests of all kinds of work. */
export interface Stage extends AsyncDisposable {
  readonly cluster: MemoryCluster | undefined;
  readonly kafka: Kafka;
  readonly producer: Producer;
  /** By task; a test may take one away. */
  readonly stores: Map<string, Store>;
  /** What was handled, as `key:value`. */
  readonly handled: string[];
  /** Notes the record, and appends its value to the row of its key. */
  readonly note: Handle;
  start(kind: Kind, options?: { handle?: Handle; fixed?: string }): Promise<RunningProcessor>;
  /** Stops the processor started last. */
  stop(): Promise<void>;
  /** Kept for those who start later; resolves when it has been obeyed. */
  order(processor: RunningProcessor, wish: Wish<ControlOrder>): Promise<ProcessorStatus>;
  /** Gives the order and does not wait. */
  give(processor: RunningProcessor, wish: Wish<ControlOrder>): bigint;
  /** `key:value` each. */
  send(...pairs: string[]): Promise<void>;
  rows(): Record<string, unknown>;
}
export type Wish<T> = T extends unknown ? Omit<T, 'consumer' | 'epoch'> : never;

/** Of the topics and the consumer, where several stages share a broker. */
export interface StageNames {
  readonly input: string;
  readonly log: string;
  readonly consumer: string;
}

/** @param on a real broker, closed with the stage. @default a memory cluster */
export async function openStage(on?: Kafka, names: StageNames = { input: 'in', log: 'log', consumer: 'counter' }): Promise<Stage> {
  const cluster = on === undefined ? createMemoryCluster() : undefined;
  const kafka = on ?? cluster!.connect();
  const { consumer } = names;
  const producer = await kafka.producer();
  await kafka.admin.ensureTopics([
    { name: names.input, partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: `dlq.${consumer}`, partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: names.log, partitions: 2, cleanup: 'compact', retentionMs: -1 },
  ]);
  const stores = new Map<string, Store>();
  const orders: ControlOrder[] = [];
  const running: RunningProcessor[] = [];
  const handled: string[] = [];

  const storeOf = (task: TaskRequest): Store => {
    const store = stores.get(task.id) ?? createMemoryStore();
    stores.set(task.id, store);
    return store;
  };
  const open = (kind: Kind, task: TaskRequest, handle: Handle): Promise<TaskWork> => {
    const shared = { consumer, kafka, now: Date.now };
    if (kind === 'committed offsets') {
      return offsetWork({ ...shared, task, deadLetters: producer, handle: (record) => handle(record, () => noTable) });
    }
    const stored = { ...shared, store: storeOf(task), handle: (record: ConsumedRecord, { table }: WithTable) => handle(record, table) };
    if (kind === 'its own store') return Promise.resolve(localWork({ ...stored, deadLetters: producer, owner: 'one' }));
    const durable = {
      ...stored,
      task: task.id,
      generation: task.assignment?.generation ?? 0,
      stores: [{ name: 'rows', ...json }],
      changelog: { topic: names.log, partition: Number(task.id) },
      encodeCheckpoint,
      decodeCheckpoint,
    };
    if (kind === 'transactions') return transactionalWork(durable);
    return effectsWork({
      ...durable,
      concurrency: 10,
      async act(record) {
        // What a handler writes is written with what came of the record.
        const puts: { table: string; key: string; value: unknown }[] = [];
        const later = <V>(table: string): Table<V> => ({
          ...noTable,
          get: (key) => stored.store.get(table, key) as V | undefined,
          put: (key, value) => void puts.push({ table, key, value }),
        });
        await handle(record, later);
        return (context) => {
          for (const { table, key, value } of puts) context.table(table).put(key, value);
        };
      },
    });
  };
  const note: Handle = (record, table) => {
    const key = String(record.key);
    handled.push(`${key}:${String(record.value)}`);
    const rows = table<string>('rows');
    rows.put(key, (rows.get(key) ?? '') + String(record.value));
  };
  const give = (processor: RunningProcessor, wish: Wish<ControlOrder>): bigint => {
    const epoch = BigInt(orders.length);
    const made = { ...wish, consumer, epoch } as ControlOrder;
    orders.push(made);
    processor.apply(made);
    return epoch;
  };
  const control = {
    follow(_: string, apply: (order: ControlOrder) => void) {
      for (const order of orders) apply(order);
      return () => undefined;
    },
  };
  return {
    cluster,
    kafka,
    producer,
    stores,
    handled,
    note,
    async start(kind, { handle = note, fixed } = {}) {
      const processor = await runProcessor(
        {
          consumer,
          sources: [names.input],
          assignment: 'group',
          startAt: 'earliest',
          open: (task) => open(kind, task, handle),
          ...(fixed === undefined ? {} : { fixed }),
        },
        { kafka, now: Date.now, log: () => undefined, control },
      );
      running.push(processor);
      await until(() => processor.status().partitions.length === 2);
      return processor;
    },
    stop: () => running.pop()!.close(),
    async order(processor, wish) {
      const epoch = give(processor, wish);
      await until(() => processor.status().epoch === epoch);
      return processor.status();
    },
    give,
    async send(...pairs) {
      const records = pairs.map((pair) => ({ topic: names.input, key: pair.split(':')[0]!, value: Buffer.from(pair.split(':')[1]!) }));
      await producer.sendAll(records);
    },
    rows: () => Object.fromEntries([...stores.values()].flatMap((store) => [...store.range('rows')])),
    async [Symbol.asyncDispose]() {
      for (const processor of running.splice(0)) await processor.close();
      await kafka.close();
    },
  };
}

interface WithTable {
  table<V>(name: string): Table<V>;
}
const noTable = { get: () => undefined, put: () => undefined, delete: () => undefined, range: () => [] };
const json = {
  encode: (value: unknown) => Buffer.from(JSON.stringify(value)),
  decode: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
};

type Stored = Omit<TaskCheckpoint, 'inputs' | 'covered'> & {
  readonly inputs: readonly (readonly [string, string])[];
  readonly covered: string | null;
};
function encodeCheckpoint({ inputs, covered, ...rest }: TaskCheckpoint): Buffer {
  const places = [...inputs].map(([key, at]) => [key, at.toString()] as const);
  return json.encode({ ...rest, covered: covered?.toString() ?? null, inputs: places } satisfies Stored);
}
function decodeCheckpoint(value: Buffer): TaskCheckpoint {
  const stored = json.decode(value) as Stored;
  return {
    ...stored,
    covered: stored.covered === null ? null : offset(stored.covered),
    inputs: new Map(stored.inputs.map(([key, at]): [string, Offset] => [key, offset(at)])),
  };
}
