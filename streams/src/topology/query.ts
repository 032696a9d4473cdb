import { SpoolError } from '@spool/schemas';
import { restoredInputs } from '../engine/restore.js';
import { partitionOf } from '../kafka/partitioner.js';
import type { Offset } from '../kafka/port.js';
import type { RangeOptions, Store } from '../store/store.js';
import { storedBytes, storedTimestamp, type RowKeys } from './rows.js';
import { untyped, type AnySerde } from './serde.js';
import type { StoredState } from './state.js';

export interface QueriedRow<K, V> {
  readonly key: K;
  readonly value: V;
  /** Of the newest record that went into it, in milliseconds; undefined for stores of processors. */
  readonly timestamp: number | undefined;
}
/** What a store says, and the place in the input (`topic-partition` -> next offset) that it says it of. */
export interface Answer<T> {
  readonly result: T;
  readonly position: ReadonlyMap<string, Offset>;
}

/** The part of a store that is on this instance, as the last commit left it. */
export interface StoreQuery<K, V> {
  /** @throws SpoolError UNAVAILABLE when another instance has the key */
  get(key: K): Promise<Answer<QueriedRow<K, V> | undefined>>;
  /** Partition by partition, in the order of the rows (text, or bytes) within each. `from` is in, `to` is not. */
  range(options?: { readonly from?: K; readonly to?: K; readonly limit?: number }): Promise<Answer<readonly QueriedRow<K, V>[]>>;
  count(): Promise<Answer<number>>;
}

export interface QueryOptions {
  readonly name: string;
  readonly stored: StoredState;
  /** The stores of the tasks that are open here, by partition. */
  readonly stores: ReadonlyMap<number, Store>;
  readonly partitions: number;
  readonly open: (serde: AnySerde) => Promise<AnySerde>;
}

/** How the rows of a store are read, whoever holds them. */
export interface StoredRows<K, V> {
  readonly keys: RowKeys<K>;
  /** @param row the key as the store has it @param bytes as `rowBytes` gives them */
  readonly decode: (row: string, bytes: Buffer) => Promise<QueriedRow<K, V>>;
}

export async function openRows<K, V>(stored: StoredState, open: (serde: AnySerde) => Promise<AnySerde>): Promise<StoredRows<K, V>> {
  const keys = (await stored.keys(open)) as RowKeys<K>;
  const serde = await open(untyped(stored.value));
  return {
    keys,
    async decode(row, bytes) {
      const value = (await serde.decode(stored.timestamped ? storedBytes(bytes) : bytes)) as V;
      return { key: keys.fromRow(row), value, timestamp: stored.timestamped ? storedTimestamp(bytes) : undefined };
    },
  };
}

export async function storeQuery<K, V>({ name, stored, stores, partitions, open }: QueryOptions): Promise<StoreQuery<K, V>> {
  const { keys, decode } = await openRows<K, V>(stored, open);
  const table = stored.store.name;
  const row = (at: string, found: unknown): Promise<QueriedRow<K, V>> => decode(at, rowBytes(stored.store, found));
  const all = (): Store[] => {
    if (stores.size === 0) throw new SpoolError('UNAVAILABLE', `no partition of ${name} is on this instance`);
    return [...stores].sort(([a], [b]) => a - b).map(([, store]) => store);
  };
  return {
    async get(key) {
      const partition = partitionOf(keys.bytes(key), partitions);
      const store = stores.get(partition);
      if (store === undefined) throw new SpoolError('UNAVAILABLE', `partition ${partition} of ${name} is not on this instance`);
      const [at, found, position] = [keys.toRow(key), store.get(table, keys.toRow(key)), positionOf([store])];
      return { result: found === undefined ? undefined : await row(at, found), position };
    },
    async range({ from, to, limit = Number.POSITIVE_INFINITY } = {}) {
      const bounds: RangeOptions = {
        ...(from === undefined ? {} : { from: keys.toRow(from) }),
        ...(to === undefined ? {} : { to: keys.toRow(to) }),
      };
      const found: (readonly [string, unknown])[] = [];
      const open = all();
      for (const store of open) {
        const left = limit - found.length;
        if (left > 0) found.push(...store.range(table, Number.isFinite(left) ? { ...bounds, limit: left } : bounds));
      }
      const position = positionOf(open);
      return { result: await Promise.all(found.map(([at, of]) => row(at, of))), position };
    },
    count() {
      const open = all();
      return Promise.resolve({ result: open.reduce((sum, store) => sum + store.count(table), 0), position: positionOf(open) });
    },
  };
}

/** A row as it stands in the store, where rows with a TTL are beside the time they were written at. */
export const rowBytes = ({ ttlMs }: Pick<StoredState['store'], 'ttlMs'>, found: unknown): Buffer => {
  const bytes = (ttlMs === undefined ? found : (found as readonly [number, unknown])[1]) as Uint8Array;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};

/** It is committed with the rows. */
export function positionOf(stores: readonly Store[]): ReadonlyMap<string, Offset> {
  const position = new Map<string, Offset>();
  for (const store of stores) for (const [key, at] of restoredInputs(store)) position.set(key, at);
  return position;
}
