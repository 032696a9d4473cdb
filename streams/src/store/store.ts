import type { StoredFilter } from './stored-filter.js';
import type { Offset } from '../kafka/port.js';

/** What a store keeps beside its tables, in the same commit: how far it reflects each partition. */
export interface StoreCheckpoint {
  /** `topic-partition` -> the offset of the next record to apply. */
  readonly positions: ReadonlyMap<string, Offset>;
  /** Offset in `control` of the last order that was applied; -1 for none. */
  readonly epoch: bigint;
  /** The last replay, kept when it has ended so that its end is reported whatever is killed. */
  readonly replay: StoredReplay | undefined;
}
export interface StoredReplay {
  readonly id: string;
  readonly state: 'running' | 'completed' | 'cancelled';
  readonly starts: ReadonlyMap<string, Offset>;
  /** Below these a record is a replay. */
  readonly targets: ReadonlyMap<string, Offset>;
  readonly startedAt: number;
  readonly records: number;
  /** Plain JSON. @default everything is handled again */
  readonly filter?: StoredFilter;
  /** Records passed over by the filter. @default 0 */
  readonly skipped?: number;
}

export interface RangeOptions {
  /** Inclusive. */
  readonly from?: string;
  /** Exclusive. */
  readonly to?: string;
  readonly reverse?: boolean;
  readonly limit?: number;
}

/** A table of a task: keys in byte order, values plain data (no functions, no class instances). */
export interface Table<V> {
  get(key: string): V | undefined;
  range(options?: RangeOptions): Iterable<readonly [key: string, value: V]>;
  put(key: string, value: V): void;
  delete(key: string): void;
}
export type ReadonlyTable<V> = Omit<Table<V>, 'put' | 'delete'>;

/** `undefined` deletes. */
export type TableChanges = ReadonlyMap<string, unknown>;

/** Durable tables and a checkpoint that commit together. One writer. */
export interface Store extends AsyncDisposable {
  readonly checkpoint: StoreCheckpoint;
  get(table: string, key: string): unknown;
  range(table: string, options?: RangeOptions): Iterable<readonly [string, unknown]>;
  /** The number of rows. */
  count(table: string): number;
  /** Atomic. @throws SpoolError DISK_FULL, STORE_CORRUPT */
  commit(changes: ReadonlyMap<string, TableChanges>, checkpoint: StoreCheckpoint): void;
  /** Deletes all rows of all tables and commits `checkpoint` with it, atomically. */
  clear(checkpoint: StoreCheckpoint): void;
  close(): Promise<void>;
}

export type StoreReads = Pick<Store, 'get' | 'range' | 'count'>;

/**
 * Where local work keeps its rows and its place, in one commit: a store of this process, or tables of a database outside of it. What the engine
 * keeps in it for itself is read at once in both.
 */
export interface LocalStore extends StoreReads {
  readonly checkpoint: StoreCheckpoint;
  /** Atomic. @throws SpoolError PRODUCER_FENCED when another owner has opened it since */
  commit(changes: ReadonlyMap<string, TableChanges>, checkpoint: StoreCheckpoint): void | Promise<void>;
  /** Deletes all rows and commits `checkpoint` with it. Where tasks share the rows, the first that comes with an order does it for all. */
  clear(checkpoint: StoreCheckpoint, order: Clearing): void | Promise<void>;
  /** In which handlers write; absent where all that they write is staged in memory. */
  readonly transaction?: GroupTransaction;
  close(): Promise<void>;
}
export interface Clearing {
  /** Where all tasks go on. */
  readonly starts: ReadonlyMap<string, Offset>;
  /** Says that what is parked is void; called before anything is deleted, by the one that does it. */
  voidLetters(): Promise<void>;
}
/** A transaction of a database for a group of records: it ends with the store's `commit`, or here. */
export interface GroupTransaction {
  begin(): Promise<void>;
  /** A place to which `undo` goes back. */
  savepoint(): Promise<void>;
  undo(): Promise<void>;
  /** Starts to; `begin` waits for it. */
  rollback(): void;
  /** The first statement that failed since `begin` or `undo`, also when the handler kept it for itself. */
  readonly failure: Error | undefined;
}

export const emptyCheckpoint: StoreCheckpoint = { positions: new Map(), epoch: -1n, replay: undefined };
export const partitionKey = (at: { readonly topic: string; readonly partition: number }): string => `${at.topic}-${at.partition}`;
export function splitPartitionKey(key: string): { topic: string; partition: number } {
  const dash = key.lastIndexOf('-');
  return { topic: key.slice(0, dash), partition: Number(key.slice(dash + 1)) };
}
