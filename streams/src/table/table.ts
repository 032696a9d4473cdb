import { offset, type ConsumedRecord, type Kafka, type Offset, type RecordPosition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { tailTopic } from './tail.js';

/** What became of a row; `value` is undefined when it was deleted. */
export interface Change<V> {
  readonly key: string;
  readonly value: V | undefined;
  readonly at: RecordPosition;
}

export interface TableReader<V> extends AsyncDisposable {
  get(key: string): V | undefined;
  entries(): IterableIterator<[string, V]>;
  readonly size: number;
  /** How far each partition has been read. */
  readonly positions: ReadonlyMap<string, Offset>;
  /** The position after the last change of a row in each partition: records that are no rows do not move it. */
  readonly changed: ReadonlyMap<string, Offset>;
  /** Called after each change; `value` is undefined for a row that was deleted. */
  onChange(listener: (key: string, value: V | undefined, at: RecordPosition) => void): () => void;
  /** The last change of each row that has changed since, in order per partition; undefined when deletions since then are no longer known. */
  changesSince(positions: ReadonlyMap<string, Offset>): readonly Change<V>[] | undefined;
  close(): Promise<void>;
}

export interface TableReaderOptions<V> {
  readonly kafka: Kafka;
  readonly topic: string;
  /** Rows have keys that begin so; whatever else is on the topic is passed over. @default '' */
  readonly prefix?: string;
  /** `undefined` skips the record. */
  readonly decode: (key: string, value: Buffer, record: ConsumedRecord) => V | undefined | Promise<V | undefined>;
  readonly onError: (error: unknown) => void;
}

/** Deleted rows that are remembered for `changesSince`. */
const maxDeleted = 10_000;

/** Every row of a compacted topic in memory, kept up to date. Resolves when it has read what stood there at the call. */
export async function readTable<V>(options: TableReaderOptions<V>): Promise<TableReader<V>> {
  const { prefix = '' } = options;
  const rows = new Map<string, V>();
  const changes = new Map<string, Omit<Change<V>, 'value'>>();
  const deleted = new Set<string>();
  /** Below it in each partition, deletions have been forgotten. */
  const forgotten = new Map<string, Offset>();
  const changed = new Map<string, Offset>();
  const listeners = new Set<(key: string, value: V | undefined, at: RecordPosition) => void>();
  const forget = (key: string): void => {
    const { at } = changes.get(key)!;
    forgotten.set(partitionKey(at), offset(at.offset + 1n));
    deleted.delete(key);
    changes.delete(key);
  };
  const tail = await tailTopic({
    kafka: options.kafka,
    topic: options.topic,
    onError: options.onError,
    async onRecord(record) {
      if (record.key === null) return;
      const key = record.key.toString();
      if (!key.startsWith(prefix)) return;
      const value = record.value === null ? undefined : await options.decode(key, record.value, record);
      if (record.value !== null && value === undefined) return;
      const at = { topic: record.topic, partition: record.partition, offset: record.offset };
      deleted.delete(key);
      if (value === undefined) {
        rows.delete(key);
        deleted.add(key);
      } else rows.set(key, value);
      changes.set(key, { key, at });
      changed.set(partitionKey(at), offset(at.offset + 1n));
      if (deleted.size > maxDeleted) forget(deleted.values().next().value!);
      for (const listener of listeners) listener(key, value, at);
    },
  });
  return {
    get: (key) => rows.get(key),
    entries: () => rows.entries(),
    get size() {
      return rows.size;
    },
    positions: tail.positions,
    changed,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    changesSince(positions) {
      const from = (at: RecordPosition): Offset => positions.get(partitionKey(at)) ?? offset(0);
      if ([...forgotten].some(([key, until]) => (positions.get(key) ?? 0n) < until)) return undefined;
      return [...changes.values()]
        .filter(({ at }) => at.offset >= from(at))
        .sort((a, b) => a.at.partition - b.at.partition || Number(a.at.offset - b.at.offset))
        .map((change) => ({ ...change, value: rows.get(change.key) }));
    },
    close: tail.close,
    [Symbol.asyncDispose]: tail.close,
  };
}
