import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Kafka, type Offset, type TopicPartition } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import { emptyCheckpoint, partitionKey, type Store, type StoreCheckpoint, type Table } from '../store/store.js';
import { putStreamTime } from './stream-time.js';
import { tombstoneRetentionMs } from '../topics/topics.js';
import { parkedSpec } from './parking.js';
import { rowsReader, type StoreSpec } from './stores.js';
import { timersSpec } from './timers.js';

/** The record in the changelog that says how far a task's committed work reaches. */
export interface TaskCheckpoint {
  /** The transactional id that wrote it. */
  readonly owner: string;
  readonly generation: number;
  readonly inputs: ReadonlyMap<string, Offset>;
  /** Restoring the covered topic starts here; null: at its beginning. */
  readonly covered: Offset | null;
  /** The highest record timestamp that the task had seen, in milliseconds; -1 before the first. */
  readonly streamTime: number;
  /** The last control order whose effect is in it; -1 for none. */
  readonly epoch: number;
}
/** Where a task stands that never committed. */
export const noCheckpoint: Omit<TaskCheckpoint, 'owner' | 'generation'> = { inputs: new Map(), covered: null, streamTime: -1, epoch: -1 };

export interface RestoreSource {
  readonly partition: TopicPartition;
  /** `true`: a store without a position of it starts at the checkpoint's `covered`. */
  readonly fromCovered: boolean;
  readonly apply: (record: ConsumedRecord, table: <V>(name: string) => Table<V>) => void | Promise<void>;
}

export interface RestoreOptions {
  readonly kafka: Kafka;
  readonly consumer: string;
  /** The number of the partition. */
  readonly task: string;
  readonly store: Store;
  readonly changelog: TopicPartition;
  readonly now: () => number;
  readonly decodeCheckpoint: (value: Buffer) => TaskCheckpoint | Promise<TaskCheckpoint>;
  /** Tables that are kept in the changelog, and come back from it. @default none */
  readonly stores?: readonly StoreSpec[];
  /** What else is read, in this order. @default the changelog alone */
  readonly restore?: readonly RestoreSource[];
  readonly onRestore?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

/** Keys of the changelog that are the engine's: `c/<task>` the checkpoint, `c/<task>/<transactional id>` the claim of one writer. */
export const checkpointPrefix = 'c/';
const checkpointTable = '$checkpoint';
/** When the store was last known to have all of the changelog, in milliseconds. */
const followedRow = 'followed';
export const claimTable = '$claims';
export const claimKey = (task: string, id: string): string => `${checkpointPrefix}${task}/${id}`;
export const checkpointKey = (task: string): string => checkpointPrefix + task;

export interface RestoreProgress extends TopicPartition {
  readonly position: Offset;
  readonly end: Offset;
}

export interface ReadToEndOptions {
  readonly kafka: Kafka;
  readonly partition: TopicPartition;
  readonly from: Offset | 'earliest';
  /** Called for each slice, in order; `next` is the position after it. */
  readonly apply: (records: readonly ConsumedRecord[], next: Offset) => Promise<void>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: RestoreProgress) => void;
}

/**
 * Reads a partition from `from` to the last stable offset as it was at the first answer, and returns where it stopped. The end is an offset
 * and not a record, since a partition may end in transaction markers.
 * @throws SpoolError STORE_CORRUPT when `from` lies beyond the end: the caller's store belongs to another log.
 */
export async function readToEnd(options: ReadToEndOptions): Promise<Offset> {
  const { partition } = options;
  const outOfRange = new Set<Offset>();
  const reader = await options.kafka.reader({
    onOutOfRange: (at) => outOfRange.add(at.offset),
  });
  try {
    reader.assign(partition, options.from);
    let end: Offset | undefined;
    for (;;) {
      options.signal?.throwIfAborted();
      for (const slice of await reader.fetch()) {
        end ??= slice.lastStableOffset;
        if (
          options.from !== 'earliest' &&
          (options.from > slice.lastStableOffset || (outOfRange.size > 0 && slice.nextOffset < options.from))
        ) {
          throw new SpoolError(
            'STORE_CORRUPT',
            `position ${options.from} of ${partition.topic}-${partition.partition} is beyond its end ${slice.lastStableOffset}`,
          );
        }
        if (slice.records.length > 0) await options.apply(slice.records, slice.nextOffset);
        options.onProgress?.({ ...partition, position: slice.nextOffset, end });
        if (slice.nextOffset >= end) return slice.nextOffset;
      }
    }
  } finally {
    await reader.close();
  }
}

function claimant(record: ConsumedRecord, task: string): string | undefined {
  const prefix = `${checkpointPrefix}${task}/`;
  const key = record.key?.toString();
  return key?.startsWith(prefix) === true ? key.slice(prefix.length) : undefined;
}

export async function restore(options: RestoreOptions): Promise<TaskCheckpoint | undefined> {
  const followed = options.store.get(checkpointTable, followedRow) as number | undefined;
  // Rows that were deleted meanwhile would stay, as their tombstones may be gone.
  if (followed !== undefined && options.now() - followed > tombstoneRetentionMs) options.store.clear(emptyCheckpoint);
  try {
    return await readSources(options);
  } catch (error) {
    if (toSpoolError(error).code !== 'STORE_CORRUPT') throw error;
    // The store is ahead of the log or has a gap: it belongs to another log. The log is the truth.
    options.store.clear(emptyCheckpoint);
    return readSources(options);
  }
}

/** With the changelog, whose rows of declared stores need no reader of their own. */
export function restoreSources({ changelog, restore: declared = [], stores = [] }: RestoreOptions): readonly RestoreSource[] {
  const rows = rowsReader([...stores, timersSpec, parkedSpec]);
  const isChangelog = ({ partition }: RestoreSource): boolean => partitionKey(partition) === partitionKey(changelog);
  const sources = declared.some(isChangelog)
    ? declared
    : [{ partition: changelog, fromCovered: false, apply: () => undefined }, ...declared];
  return sources.map((source) => {
    if (!isChangelog(source)) return source;
    return { ...source, apply: (record, table) => rows(record, table) ?? source.apply(record, table) };
  });
}

async function readSources(options: RestoreOptions): Promise<TaskCheckpoint | undefined> {
  const { store } = options;
  const staged = stage(store);
  const table = <V>(name: string): Table<V> => staged.table<V>(name);
  for (const source of restoreSources(options)) {
    const key = partitionKey(source.partition);
    const from = restoreFrom(store, source);
    const take = recordTaker(options, source, table);
    const next = await readToEnd({
      kafka: options.kafka,
      partition: source.partition,
      from,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.onRestore === undefined ? {} : { onProgress: options.onRestore }),
      apply: async (records, position) => {
        for (const record of records) {
          const pending = take(record);
          if (pending !== undefined) await pending;
        }
        staged.commit(moved(store, key, position));
      },
    });
    putFollowed(table(checkpointTable), options.now());
    staged.commit(moved(store, key, next));
  }
  return storedCheckpoint(store);
}

const restoreFrom = (store: Store, source: RestoreSource): Offset | 'earliest' =>
  store.checkpoint.positions.get(partitionKey(source.partition)) ??
  (source.fromCovered ? storedCheckpoint(store)?.covered : undefined) ??
  'earliest';

/** Takes the engine's own records of a changelog, and leaves the rest to the source. */
export function recordTaker(
  options: RestoreOptions,
  source: RestoreSource,
  table: <V>(name: string) => Table<V>,
): (record: ConsumedRecord) => void | Promise<void> {
  if (partitionKey(source.partition) !== partitionKey(options.changelog)) return (record) => source.apply(record, table);
  const claims = table<number>(claimTable);
  return (record) => {
    if (record.key?.toString('latin1').startsWith(checkpointPrefix) !== true) return source.apply(record, table);
    const id = claimant(record, options.task);
    if (id !== undefined && record.value === null) return claims.delete(id);
    if (record.value === null || (id === undefined && record.key.toString() !== checkpointKey(options.task))) return;
    const take = (checkpoint: TaskCheckpoint): void => {
      if (id !== undefined) return claims.put(id, checkpoint.generation);
      putCheckpoint(table(checkpointTable), checkpoint);
      putStreamTime(table, checkpoint.streamTime);
    };
    const checkpoint = options.decodeCheckpoint(record.value);
    if (checkpoint instanceof Promise) return checkpoint.then(take);
    take(checkpoint);
  };
}

export const moved = (store: Store, key: string, position: Offset): StoreCheckpoint => ({
  ...store.checkpoint,
  positions: new Map(store.checkpoint.positions).set(key, position),
});

interface StoredTaskCheckpoint {
  readonly owner: string;
  readonly generation: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly covered: string | null;
  readonly streamTime: number;
  /** Absent in what an earlier version stored. */
  readonly epoch?: number;
}
const toStored = (checkpoint: TaskCheckpoint): StoredTaskCheckpoint => ({
  owner: checkpoint.owner,
  generation: checkpoint.generation,
  inputs: Object.fromEntries([...checkpoint.inputs].map(([key, at]) => [key, at.toString()])),
  covered: checkpoint.covered?.toString() ?? null,
  streamTime: checkpoint.streamTime,
  epoch: checkpoint.epoch,
});
/** Keeps the last checkpoint in the store, for a start that finds nothing new in the changelog. */
export const putCheckpoint = (table: Table<unknown>, checkpoint: TaskCheckpoint): void => table.put('last', toStored(checkpoint));
export const putFollowed = (table: Table<unknown>, at: number): void => table.put(followedRow, at);
export const checkpointTableName = checkpointTable;
function storedCheckpoint(store: Store): TaskCheckpoint | undefined {
  const row = store.get(checkpointTable, 'last') as StoredTaskCheckpoint | undefined;
  if (row === undefined) return undefined;
  return {
    owner: row.owner,
    generation: row.generation,
    inputs: new Map(Object.entries(row.inputs).map(([key, at]) => [key, offset(at)])),
    covered: row.covered === null ? null : offset(row.covered),
    streamTime: row.streamTime,
    epoch: row.epoch ?? -1,
  };
}

/** The next offset of each input that a task's store reflects. */
export function restoredInputs(store: Store): ReadonlyMap<string, Offset> {
  const row = store.get(checkpointTable, 'last') as Pick<StoredTaskCheckpoint, 'inputs'> | undefined;
  return new Map(Object.entries(row?.inputs ?? {}).map(([key, at]) => [key, offset(at)]));
}
