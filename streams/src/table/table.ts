import type { ConsumedRecord, Kafka, Offset } from '../kafka/port.js';
import { tailTopic } from './tail.js';

export interface TableReader<V> extends AsyncDisposable {
  get(key: string): V | undefined;
  entries(): IterableIterator<[string, V]>;
  readonly size: number;
  /** How far each partition has been read. */
  readonly positions: ReadonlyMap<string, Offset>;
  /** Called after each change; `value` is undefined for a row that was deleted. */
  onChange(listener: (key: string, value: V | undefined) => void): () => void;
  close(): Promise<void>;
}

export interface TableReaderOptions<V> {
  readonly kafka: Kafka;
  readonly topic: string;
  /** `undefined` skips the record. */
  readonly decode: (key: string, value: Buffer, record: ConsumedRecord) => V | undefined | Promise<V | undefined>;
  readonly onError: (error: unknown) => void;
}

/** Every row of a compacted topic in memory, kept up to date. Resolves when it has read what stood there at the call. */
export async function readTable<V>(options: TableReaderOptions<V>): Promise<TableReader<V>> {
  const rows = new Map<string, V>();
  const listeners = new Set<(key: string, value: V | undefined) => void>();
  const tail = await tailTopic({
    kafka: options.kafka,
    topic: options.topic,
    onError: options.onError,
    async onRecord(record) {
      if (record.key === null) return;
      const key = record.key.toString();
      const value = record.value === null ? undefined : await options.decode(key, record.value, record);
      if (record.value !== null && value === undefined) return;
      if (value === undefined) rows.delete(key);
      else rows.set(key, value);
      for (const listener of listeners) listener(key, value);
    },
  });
  return {
    get: (key) => rows.get(key),
    entries: () => rows.entries(),
    get size() {
      return rows.size;
    },
    positions: tail.positions,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: tail.close,
    [Symbol.asyncDispose]: tail.close,
  };
}
