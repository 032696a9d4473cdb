import { hrtime } from 'node:process';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset, type ProducerRecord, type RecordPosition } from '../kafka/port.js';
import { stage, type Staged } from '../store/staged.js';
import { partitionKey, type Store, type Table } from '../store/store.js';
import {
  acquire,
  checkpointKey,
  checkpointTableName,
  putCheckpoint,
  type Acquired,
  type AcquireOptions,
  type RestoreSource,
} from './acquire.js';
import { countParked, deadLetter, isParked, isTransient, parkedTable, toTransient } from './parking.js';
import type { Group, TaskWork } from './work.js';

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

export interface TransactionalWorkOptions extends AcquireOptions {
  readonly now: () => number;
  readonly handle: (record: ConsumedRecord, context: TransactionContext) => void | Promise<void>;
  /** Last in the group: emits what is due (snapshots, tombstones) and says what is covered. */
  readonly beforeCommit?: (context: TransactionContext) => Offset | null;
}

/**
 * Exactly-once work: outputs, changelog and the input position, as a record, in one Kafka transaction per group. The position is not
 * sent through `sendOffsets`, which doubles the commit time; the single fenced writer makes the record enough.
 */
export async function transactionalWork(options: TransactionalWorkOptions): Promise<TaskWork> {
  try {
    return running(options, await acquire(options), stage(options.store));
  } catch (error) {
    await options.store.close();
    throw error;
  }
}

function running(options: TransactionalWorkOptions, { writer, checkpoint: last, release }: Acquired, staged: Staged): TaskWork {
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
      const checkpoint = { owner: writer.id, generation: options.generation, inputs: next, covered };
      outputs.push({ ...options.changelog, key: checkpointKey(options.task), value: options.encodeCheckpoint(checkpoint) });
      const began = hrtime.bigint();
      const positions = await writer.commit(outputs);
      const tookUs = Number((hrtime.bigint() - began) / 1000n);
      for (const [key, at] of next) inputs.set(key, at);
      putCheckpoint(table(checkpointTableName), checkpoint);
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
      await release();
      await writer.close();
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
