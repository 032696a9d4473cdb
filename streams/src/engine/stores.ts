import { SpoolError } from '@spool/schemas';
import type { ConsumedRecord, ProducerRecord, TopicPartition } from '../kafka/port.js';
import type { Staged } from '../store/staged.js';
import type { RangeOptions, StoreReads, Table } from '../store/store.js';
import { DeadlineHeap } from './deadlines.js';

/** A table of a task that survives its disk: each group's changes go to the changelog in the group's transaction. */
export interface StoreSpec<V = unknown> {
  readonly name: string;
  encode(value: V): Buffer;
  decode(bytes: Buffer): V | Promise<V>;
  /**
   * A row goes, with a tombstone, this many milliseconds of the wall clock after it was last written; too short, and rows go before they are
   * read. @default for ever
   */
  readonly ttlMs?: number;
}

/** A row of a table with a TTL, as stored: when it was written, and its value. */
type Aged = readonly [at: number, value: unknown];

/** Of a row as the store has it. */
export const rowValue = <V>({ ttlMs }: StoreSpec, row: unknown): V => (ttlMs === undefined ? row : (row as Aged)[1]) as V;

/** Rows of declared stores have this prefix in the changelog, then the store, a slash, and their key. */
const rowPrefix = 's/';
export const rowId = (store: string, key: string): string => `${rowPrefix}${store}/${key}`;
function splitRow(id: string): [store: string, key: string] {
  const slash = id.indexOf('/', rowPrefix.length);
  return [id.slice(rowPrefix.length, slash), id.slice(slash + 1)];
}

/** The declared stores over the staged writes of a task. */
export class Stores {
  readonly #specs: ReadonlyMap<string, StoreSpec>;
  /** Ids are those of rows in the changelog. */
  readonly #deadlines = new DeadlineHeap();
  readonly #tables = new Map<string, Table<unknown>>();

  constructor(
    specs: readonly StoreSpec[],
    private readonly staged: Pick<Staged, 'table' | 'changes'>,
    store: StoreReads,
    private readonly now: () => number,
  ) {
    this.#specs = new Map(specs.map((spec) => [spec.name, spec]));
    for (const { name, ttlMs } of specs) {
      if (ttlMs === undefined) continue;
      for (const [key, row] of store.range(name)) this.#deadlines.push((row as Aged)[0] + ttlMs, rowId(name, key));
    }
  }

  table<V>(name: string): Table<V> {
    let table = this.#tables.get(name);
    if (table === undefined) {
      const spec = this.#specs.get(name);
      table = spec?.ttlMs === undefined ? this.staged.table<unknown>(name) : this.#expiring(spec, spec.ttlMs);
      this.#tables.set(name, table);
    }
    return table as Table<V>;
  }

  /** When the next row may expire, in milliseconds of the wall clock. */
  get nextDeadline(): number | undefined {
    return this.#deadlines.next;
  }

  /** Deletes what has expired, `limit` rows at the most, and tells of each. */
  expire(now: number, limit: number, onExpired: (store: string, key: string, value: unknown) => void): void {
    for (let left = limit; left > 0; left--) {
      const taken = this.#deadlines.take(now);
      if (taken === undefined) return;
      const [name, key] = splitRow(taken.id);
      const spec = this.#specs.get(name)!;
      const rows = this.staged.table<Aged>(spec.name);
      const row = rows.get(key);
      if (row === undefined) continue;
      const deadline = row[0] + spec.ttlMs!;
      if (deadline > now) this.#deadlines.push(deadline, taken.id);
      else {
        rows.delete(key);
        onExpired(spec.name, key, row[1]);
      }
    }
  }

  /** The changes of the group under way, the last one of each row, as records of the changelog. */
  changes(changelog: TopicPartition): ProducerRecord[] {
    const records: ProducerRecord[] = [];
    for (const spec of this.#specs.values()) {
      for (const [key, row] of this.staged.changes(spec.name)) {
        const base = { topic: changelog.topic, partition: changelog.partition, key: rowId(spec.name, key) };
        if (row === undefined) records.push({ ...base, value: null });
        else if (spec.ttlMs === undefined) records.push({ ...base, value: spec.encode(row) });
        else records.push({ ...base, value: spec.encode((row as Aged)[1]), timestamp: (row as Aged)[0] });
      }
    }
    return records;
  }

  /** Deletes rows of every table that is declared or was used, `limit` at the most. @returns how many */
  clear(limit: number): number {
    let left = limit;
    for (const name of new Set([...this.#specs.keys(), ...this.#tables.keys()])) {
      const rows = this.staged.table(name);
      for (const [key] of [...rows.range({ limit: left })]) {
        rows.delete(key);
        left -= 1;
      }
      if (left === 0) break;
    }
    return limit - left;
  }

  /** The group under way is durable, or given up. */
  settle(givenUp: boolean): void {
    this.#deadlines.settle(givenUp);
  }

  #expiring(spec: StoreSpec, ttlMs: number): Table<unknown> {
    const rows = this.staged.table<Aged>(spec.name);
    const alive = (row: Aged | undefined): row is Aged => row !== undefined && row[0] + ttlMs > this.now();
    return {
      get: (key) => {
        const row = rows.get(key);
        return alive(row) ? row[1] : undefined;
      },
      *range(options: RangeOptions = {}) {
        const { limit = Number.POSITIVE_INFINITY, ...bounds } = options;
        let given = 0;
        for (const [key, row] of rows.range(bounds)) {
          if (given >= limit) return;
          if (!alive(row)) continue;
          given++;
          yield [key, row[1]] as const;
        }
      },
      put: (key, value) => {
        const at = this.now();
        if (rows.get(key) === undefined) this.#deadlines.push(at + ttlMs, rowId(spec.name, key));
        rows.put(key, [at, value]);
      },
      delete: (key) => rows.delete(key),
    };
  }
}

/** Puts rows of the changelog back into the tables of their stores; what is no row of a declared store is left to others. */
export function rowsReader(
  specs: readonly StoreSpec[],
): (record: ConsumedRecord, table: <V>(name: string) => Table<V>) => void | Promise<void> {
  const known = new Map(specs.map((spec) => [spec.name, spec]));
  return (record, table) => {
    const path = record.key?.toString() ?? '';
    if (!path.startsWith(rowPrefix)) return;
    const [name, key] = splitRow(path);
    const spec = known.get(name);
    // A store that this version of the code no longer has.
    if (spec === undefined) return;
    const rows = table<unknown>(spec.name);
    if (record.value === null) return rows.delete(key);
    const put = (value: unknown): void => rows.put(key, spec.ttlMs === undefined ? value : ([record.timestamp, value] satisfies Aged));
    const value = spec.decode(record.value);
    if (value instanceof Promise) return value.then(put);
    put(value);
  };
}

/** @throws SpoolError INVALID_CONFIG for names that cannot stand in a changelog */
export function checkStores(consumer: string, specs: readonly StoreSpec[]): void {
  const seen = new Set<string>();
  for (const { name, ttlMs } of specs) {
    if (name === '' || name.includes('/')) throw new SpoolError('INVALID_CONFIG', `${consumer}: a store cannot be named '${name}'`);
    if (seen.has(name)) throw new SpoolError('INVALID_CONFIG', `${consumer}: two stores are named ${name}`);
    if (ttlMs !== undefined && !(ttlMs > 0)) throw new SpoolError('INVALID_CONFIG', `${consumer}: the TTL of ${name} is ${ttlMs} ms`);
    seen.add(name);
  }
}
