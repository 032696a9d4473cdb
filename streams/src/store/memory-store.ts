import { emptyCheckpoint, type RangeOptions, type Store, type StoreCheckpoint, type TableChanges } from './store.js';

/** The twin of the LMDB store for unit tests and for stores that need not survive the process. */
export function createMemoryStore(): Store {
  const tables = new Map<string, Map<string, unknown>>();
  let checkpoint: StoreCheckpoint = emptyCheckpoint;
  return {
    get checkpoint() {
      return checkpoint;
    },
    get: (table, key) => tables.get(table)?.get(key),
    range: (table, options) => rangeOf(tables.get(table) ?? new Map<string, unknown>(), options),
    count: (table) => tables.get(table)?.size ?? 0,
    commit(changes, next) {
      for (const [name, rows] of changes) apply(tables, name, rows);
      checkpoint = next;
    },
    clear(next) {
      tables.clear();
      checkpoint = next;
    },
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function apply(tables: Map<string, Map<string, unknown>>, name: string, changes: TableChanges): void {
  let table = tables.get(name);
  if (table === undefined) tables.set(name, (table = new Map<string, unknown>()));
  for (const [key, value] of changes) {
    if (value === undefined) table.delete(key);
    else table.set(key, copyOf(value));
  }
}

function* rangeOf(table: ReadonlyMap<string, unknown>, options: RangeOptions = {}): Iterable<readonly [string, unknown]> {
  const keys = [...table.keys()].filter((key) => inRange(key, options)).sort(compareKeys);
  if (options.reverse === true) keys.reverse();
  for (const key of keys.slice(0, options.limit)) yield [key, copyOf(table.get(key))];
}

export const inRange = (key: string, { from, to }: RangeOptions): boolean =>
  (from === undefined || compareKeys(key, from) >= 0) && (to === undefined || compareKeys(key, to) < 0);

/** Who changes what it has read changes nothing in the store. Bytes are not changed by anybody, and copying them would copy all that lies beside them. */
export function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  // A clone by the engine costs microseconds whatever is in it; it is left to what is not a plain object.
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return structuredClone(value);
  const copy: Record<string, unknown> = { ...value };
  for (const name in copy) {
    const part = copy[name];
    if (typeof part !== 'object' || part === null) continue;
    if (name === '__proto__') return structuredClone(value);
    copy[name] = copyOf(part);
  }
  return copy;
}

/** Byte order of the UTF-8 forms, as LMDB has it; JavaScript compares UTF-16 units. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const [x, y] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (x !== y) return ranked(x) - ranked(y);
  }
  return a.length - b.length;
}
/** Halves of pairs stand for code points above all that have one unit. */
const ranked = (unit: number): number => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);
