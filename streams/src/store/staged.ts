import { compareKeys, inRange } from './memory-store.js';
import type { LocalStore, RangeOptions, Store, StoreCheckpoint, Table, TableChanges } from './store.js';

/**
 * The writes of one group of records, on top of a store: readable at once, durable when `commit` is called, gone on `discard`. Nothing
 * of a group reaches the disk before its Kafka transaction has committed, so a crash between the two is mended by reading the log.
 */
export interface Staged<C extends void | Promise<void> = void> {
  table<V>(name: string): Table<V>;
  /** What is staged of a table; `undefined` deletes. */
  changes(name: string): TableChanges;
  /** Marks a place to which `undo` goes back, so that a record that fails leaves nothing behind. */
  mark(): number;
  undo(mark: number): void;
  commit(checkpoint: StoreCheckpoint): C;
  discard(): void;
}

const nothing: TableChanges = new Map();

export function stage(store: Store): Staged;
export function stage(store: LocalStore): Staged<void | Promise<void>>;
export function stage(store: LocalStore): Staged<void | Promise<void>> {
  const changes = new Map<string, Map<string, unknown>>();
  let journal: { rows: Map<string, unknown>; key: string; had: boolean; before: unknown }[] = [];
  const tables = new Map<string, Table<unknown>>();

  const open = (name: string): Table<unknown> => {
    const rows = new Map<string, unknown>();
    changes.set(name, rows);
    const write = (key: string, value: unknown): void => {
      journal.push({ rows, key, had: rows.has(key), before: rows.get(key) });
      rows.set(key, value);
    };
    return {
      get: (key) => (rows.has(key) ? rows.get(key) : store.get(name, key)),
      put: write,
      delete: (key) => write(key, undefined),
      range: (options) => merged(rows, store, name, options),
    };
  };
  const forget = (): void => {
    for (const rows of changes.values()) rows.clear();
    journal = [];
  };
  return {
    table<V>(name: string): Table<V> {
      let table = tables.get(name);
      if (table === undefined) tables.set(name, (table = open(name)));
      return table as Table<V>;
    },
    changes: (name) => changes.get(name) ?? nothing,
    mark: () => journal.length,
    undo(mark) {
      while (journal.length > mark) {
        const { rows, key, had, before } = journal.pop()!;
        if (had) rows.set(key, before);
        else rows.delete(key);
      }
    },
    commit(checkpoint) {
      const pending = store.commit(changes, checkpoint);
      if (pending === undefined) forget();
      return pending?.then(forget);
    },
    discard: forget,
  };
}

/** Both sides come in key order; where both have a key the staged row wins, and a staged deletion hides the stored one. */
export function* merged(
  rows: ReadonlyMap<string, unknown>,
  store: Pick<Store, 'range'>,
  name: string,
  options: RangeOptions = {},
): Iterable<readonly [string, unknown]> {
  const { limit = Number.POSITIVE_INFINITY, ...bounds } = options;
  const direction = options.reverse === true ? -1 : 1;
  const staged = [...rows].filter(([key]) => inRange(key, options)).sort(([a], [b]) => direction * compareKeys(a, b));
  let next = 0;
  let given = 0;
  const take = function* (upTo: string | undefined): Iterable<readonly [string, unknown]> {
    for (; next < staged.length; next++) {
      const [key, value] = staged[next]!;
      if (upTo !== undefined && direction * compareKeys(key, upTo) > 0) return;
      if (value !== undefined && given++ < limit) yield [key, value];
    }
  };
  for (const row of store.range(name, bounds)) {
    yield* take(row[0]);
    if (given >= limit) return;
    if (rows.has(row[0])) continue;
    given++;
    yield row;
  }
  yield* take(undefined);
}
