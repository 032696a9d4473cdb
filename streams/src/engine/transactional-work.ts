import { hrtime } from 'node:process';
import { SpoolError, toSpoolError } from '@spool/schemas';
import type {
  ConsumedRecord,
  Kafka,
  Offset,
  ProducerRecord,
  RecordPosition,
  TopicPartition,
  TransactionalProducer,
} from '../kafka/port.js';
import { offset } from '../kafka/port.js';
import { stage, type Staged } from '../store/staged.js';
import { partitionKey, type Store, type Table } from '../store/store.js';
import { countParked, deadLetter, isParked, isTransient, parkedTable, toTransient } from './parking.js';
import { readToEnd, type RestoreProgress } from './restore.js';
import type { Group, TaskWork } from './work.js';

/** The record in the changelog that says how far a task's committed work reaches. */
export interface TaskCheckpoint {
  /** The transactional id that wrote it. */
  readonly owner: string;
  readonly generation: number;
  readonly inputs: ReadonlyMap<string, Offset>;
  /** Restoring the covered topic starts here; null: at its beginning. */
  readonly covered: Offset | null;
}

export interface TransactionContext {
  table<V>(name: string): Table<V>;
  /** Adds a record to the transaction; gives its index among the positions that `committed` gets. */
  emit(record: ProducerRecord): number;
  /** Runs when the transaction has committed, before the next group. */
  committed(callback: (commit: Commit) => void): void;
}
export interface Commit {
  readonly positions: readonly RecordPosition[];
  /** Microseconds that the transaction took. */
  readonly tookUs: number;
}

export interface RestoreSource {
  readonly partition: TopicPartition;
  /** `true`: a store without a position of it starts at the checkpoint's `covered`. */
  readonly fromCovered: boolean;
  readonly apply: (record: ConsumedRecord, table: <V>(name: string) => Table<V>) => void | Promise<void>;
}

export interface TransactionalWorkOptions {
  readonly kafka: Kafka;
  readonly consumer: string;
  /** Names the partition in the transactional id: one id per input partition, so that the broker fences a former owner. */
  readonly task: string;
  readonly generation: number;
  readonly now: () => number;
  readonly store: Store;
  readonly changelog: TopicPartition;
  readonly encodeCheckpoint: (checkpoint: TaskCheckpoint) => Buffer;
  readonly decodeCheckpoint: (value: Buffer) => TaskCheckpoint | Promise<TaskCheckpoint>;
  /** Read in this order; the changelog is among them. */
  readonly restore: readonly RestoreSource[];
  readonly handle: (record: ConsumedRecord, context: TransactionContext) => void | Promise<void>;
  /** Last in the group: emits what is due (snapshots, tombstones) and says what is covered. */
  readonly beforeCommit?: (context: TransactionContext) => Offset | null;
  readonly onRestore?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * Exactly-once work: outputs, changelog and the input position, as a record, in one Kafka transaction per group. The position is not
 * sent through `sendOffsets`, which doubles the commit time; the single fenced writer makes the record enough.
 */
export async function transactionalWork(options: TransactionalWorkOptions): Promise<TaskWork> {
  const { store, consumer } = options;
  // 1. Fence the former owner. From here on nobody else adds to the changelog, and what it left open is decided.
  const producer = await options.kafka.transactionalProducer({ transactionalId: `${consumer}.${options.task}` });
  try {
    // 2. Restore the stores, up to the last stable offset of each source.
    const checkpoint = await restore(options);
    return running(options, producer, checkpoint, stage(store));
  } catch (error) {
    await producer.close();
    await store.close();
    throw error;
  }
}

const checkpointTable = '$checkpoint';
/** Key of a task's checkpoint in its changelog; sources skip keys with this prefix. */
export const checkpointPrefix = 'c/';

async function restore(options: TransactionalWorkOptions): Promise<TaskCheckpoint | undefined> {
  const { store } = options;
  const staged = stage(store);
  const table = <V>(name: string): Table<V> => staged.table<V>(name);
  const read = async (): Promise<TaskCheckpoint | undefined> => {
    let checkpoint = stored(store);
    for (const source of options.restore) {
      const key = partitionKey(source.partition);
      const from = store.checkpoint.positions.get(key) ?? (source.fromCovered ? checkpoint?.covered : undefined) ?? 'earliest';
      const isChangelog = key === partitionKey(options.changelog);
      const own = Buffer.from(checkpointPrefix + options.task);
      const next = await readToEnd({
        kafka: options.kafka,
        partition: source.partition,
        from,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(options.onRestore === undefined ? {} : { onProgress: options.onRestore }),
        apply: async (records, position) => {
          let last: Buffer | null = null;
          for (const record of records) {
            if (isChangelog && record.key?.equals(own) === true) {
              last = record.value;
              continue;
            }
            const pending = source.apply(record, table);
            if (pending !== undefined) await pending;
          }
          if (last !== null) {
            checkpoint = await options.decodeCheckpoint(last);
            staged.table(checkpointTable).put('last', toStored(checkpoint));
          }
          staged.commit(moved(store, key, position));
        },
      });
      staged.commit(moved(store, key, next));
    }
    return checkpoint;
  };
  try {
    return await read();
  } catch (error) {
    if (toSpoolError(error).code !== 'STORE_CORRUPT') throw error;
    // The local store is ahead of the log: it belongs to another cluster. The log is the truth.
    staged.discard();
    store.clear({ positions: new Map(), epoch: -1n, replay: undefined });
    return await read();
  }
}

function running(
  options: TransactionalWorkOptions,
  producer: TransactionalProducer,
  last: TaskCheckpoint | undefined,
  staged: Staged,
): TaskWork {
  const { store, consumer } = options;
  const table = <V>(name: string): Table<V> => staged.table<V>(name);
  const parked = table<number>(parkedTable);
  const inputs = new Map(last?.inputs ?? []);

  const park = (record: ConsumedRecord, context: TransactionContext, cause: SpoolError | 'follows'): void => {
    context.emit(deadLetter(consumer, record, cause, options.now()));
    countParked(parked, record);
  };
  const handleAll = async (records: readonly ConsumedRecord[], context: TransactionContext, savePoint: () => () => void): Promise<void> => {
    for (const record of records) {
      if (isParked(parked, record)) {
        park(record, context, 'follows');
        continue;
      }
      const undo = savePoint();
      try {
        const pending = options.handle(record, context);
        if (pending !== undefined) await pending;
      } catch (thrown) {
        undo();
        if (isTransient(thrown)) throw toTransient(thrown);
        park(record, context, toSpoolError(thrown));
      }
    }
  };

  const process = async (group: Group, parkAll: boolean): Promise<void> => {
    const outputs: ProducerRecord[] = [];
    const callbacks: ((commit: Commit) => void)[] = [];
    const context: TransactionContext = {
      table,
      emit: (record) => outputs.push(record) - 1,
      committed: (callback) => callbacks.push(callback),
    };
    const savePoint = () => {
      const [mark, records, waiting] = [staged.mark(), outputs.length, callbacks.length];
      return () => {
        staged.undo(mark);
        outputs.length = records;
        callbacks.length = waiting;
      };
    };
    try {
      if (parkAll) for (const record of group.records) park(record, context, parkAllCause);
      else await handleAll(group.records, context, savePoint);
      const covered = options.beforeCommit?.(context) ?? null;
      const next = new Map(inputs);
      for (const [key, at] of group.positions) next.set(key, at);
      const checkpoint = { owner: producer.transactionalId, generation: options.generation, inputs: next, covered };
      outputs.push({ ...options.changelog, key: checkpointPrefix + options.task, value: options.encodeCheckpoint(checkpoint) });
      const began = hrtime.bigint();
      const positions = await producer.commit(outputs);
      const tookUs = Number((hrtime.bigint() - began) / 1000n);
      for (const [key, at] of next) inputs.set(key, at);
      table(checkpointTable).put('last', toStored(checkpoint));
      for (const callback of callbacks) callback({ positions, tookUs });
      staged.commit(written(store, options.restore, positions));
    } catch (error) {
      staged.discard();
      throw error;
    }
  };

  /** Kafka refused the transaction for what is in it, and it was aborted: go one by one, and park the record that is to blame. */
  const processApart = async (group: Group): Promise<void> => {
    for (const [index, record] of group.records.entries()) {
      const last = index === group.records.length - 1;
      const positions = last ? group.positions : new Map([[partitionKey(record), offset(record.offset + 1n)]]);
      await process({ records: [record], positions }, false).catch(async (thrown: unknown) => {
        if (toSpoolError(thrown).entry.retryable !== 'never') throw thrown;
        await process({ records: [record], positions }, true);
      });
    }
  };

  return {
    positions: new Map(inputs),
    epoch: -1n,
    replay: undefined,
    async process(group) {
      if (group.records.length === 0) return;
      await process(group, false).catch((thrown: unknown) => {
        if (toSpoolError(thrown).entry.retryable !== 'never') throw thrown;
        return processApart(group);
      });
    },
    async close() {
      await producer.close();
      await store.close();
    },
  };
}

const parkAllCause = new SpoolError('KAFKA_REFUSED', 'Kafka refused the records that the handler made of this one');

/** What this task wrote itself need not be read again at the next start. */
function written(store: Store, sources: readonly RestoreSource[], positions: readonly RecordPosition[]) {
  const next = new Map(store.checkpoint.positions);
  const own = new Set(sources.map((source) => partitionKey(source.partition)));
  for (const at of positions) {
    const key = partitionKey(at);
    if (own.has(key)) next.set(key, offset(at.offset + 1n));
  }
  return { ...store.checkpoint, positions: next };
}

function moved(store: Store, key: string, position: Offset) {
  return { ...store.checkpoint, positions: new Map(store.checkpoint.positions).set(key, position) };
}

interface StoredTaskCheckpoint {
  readonly owner: string;
  readonly generation: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly covered: string | null;
}
const toStored = (checkpoint: TaskCheckpoint): StoredTaskCheckpoint => ({
  owner: checkpoint.owner,
  generation: checkpoint.generation,
  inputs: Object.fromEntries([...checkpoint.inputs].map(([key, at]) => [key, at.toString()])),
  covered: checkpoint.covered?.toString() ?? null,
});
function stored(store: Store): TaskCheckpoint | undefined {
  const row = store.get(checkpointTable, 'last') as StoredTaskCheckpoint | undefined;
  if (row === undefined) return undefined;
  return {
    owner: row.owner,
    generation: row.generation,
    inputs: new Map(Object.entries(row.inputs).map(([key, at]) => [key, offset(at)])),
    covered: row.covered === null ? null : offset(row.covered),
  };
}
