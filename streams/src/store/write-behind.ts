import { copyOf } from './memory-store.js';
import { merged } from './staged.js';
import type { Store, StoreCheckpoint } from './store.js';

export interface WriteBehindOptions {
  /** How long commits gather before they go to the store together, in milliseconds. @default 50 */
  readonly gatherMs?: number;
  /** Rows that make them go at once. @default 20000 */
  readonly maxRows?: number;
  /** Told when a gathered commit fails; the store stays where it was. */
  readonly onError: (error: unknown) => void;
}

/**
 * A store whose commits reach the disk a moment later, several at once: for stores that the log gives back. The event loop then waits for the
 * disk some twenty times a second, and not with each group. A crash loses the last moment, and the tail of the log mends it.
 */
export function writeBehind(store: Store, { gatherMs = 50, maxRows = 20_000, onError }: WriteBehindOptions): Store {
  const layer = new Map<string, Map<string, unknown>>();
  let checkpoint = store.checkpoint;
  let rows = 0;
  let timer: NodeJS.Timeout | undefined;
  let failed: unknown;
  const empty: ReadonlyMap<string, unknown> = new Map();

  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (store.checkpoint === checkpoint) return;
    store.commit(layer, checkpoint);
    checkpoint = store.checkpoint;
    for (const table of layer.values()) table.clear();
    rows = 0;
  };
  const later = (): void => {
    timer ??= setTimeout(() => {
      try {
        flush();
      } catch (error) {
        failed = error;
        onError(error);
      }
    }, gatherMs);
  };
  const close = async (): Promise<void> => {
    try {
      flush();
    } catch (error) {
      onError(error);
    }
    await store.close();
  };
  return {
    get checkpoint() {
      return checkpoint;
    },
    get(table, key) {
      const changed = layer.get(table);
      // A copy, as a store on disk gives one: who changes what it has read changes nothing here.
      return changed?.has(key) === true ? copyOf(changed.get(key)) : store.get(table, key);
    },
    range: (table, options) => merged(layer.get(table) ?? empty, store, table, options),
    count(table) {
      flush();
      return store.count(table);
    },
    commit(changes, next: StoreCheckpoint) {
      // A disk that is full is found out a moment later, and stops the task with its next group.
      if (failed !== undefined) throw failed as Error;
      for (const [name, changed] of changes) {
        let table = layer.get(name);
        if (table === undefined) layer.set(name, (table = new Map<string, unknown>()));
        for (const [key, value] of changed) table.set(key, value === undefined ? undefined : copyOf(value));
        rows += changed.size;
      }
      checkpoint = next;
      if (rows >= maxRows) flush();
      else later();
    },
    clear(next) {
      clearTimeout(timer);
      timer = undefined;
      layer.clear();
      rows = 0;
      store.clear(next);
      checkpoint = store.checkpoint;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
