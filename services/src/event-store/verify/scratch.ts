import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { openLmdbStore, type Store } from '@spool/streams';

/** Tables on disk for one check, so that what it remembers does not grow in memory. */
export interface Scratch extends AsyncDisposable {
  get(table: string, key: string): unknown;
  put(table: string, key: string, value: unknown): void;
  /** After a `flush`. */
  range: Store['range'];
  /** After a `flush`. */
  count(table: string): number;
  flush(): void;
}

/** Rows that gather before they go to disk together. */
const gathered = 10_000;

export function openScratch(folder: string): Scratch {
  const path = mkdtempSync(join(folder, 'spool-verify-'));
  const store = openLmdbStore({ path });
  const pending = new Map<string, Map<string, unknown>>();
  let rows = 0;
  const flush = (): void => {
    store.commit(pending, store.checkpoint);
    pending.clear();
    rows = 0;
  };
  return {
    get: (table, key) => pending.get(table)?.get(key) ?? store.get(table, key),
    put(table, key, value) {
      let of = pending.get(table);
      if (of === undefined) pending.set(table, (of = new Map<string, unknown>()));
      of.set(key, value);
      rows += 1;
      if (rows >= gathered) flush();
    },
    range: store.range,
    count: store.count,
    flush,
    async [Symbol.asyncDispose]() {
      await store.close();
      rmSync(path, { recursive: true, force: true });
    },
  };
}
