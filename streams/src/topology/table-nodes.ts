import type { Change, Emit, Known, Lookup, Node, Scope, StoreDeclaration } from './graph.js';
import { rowKeys, storedBytes, storedTimestamp, toStored } from './rows.js';
import { decodeNow, type AnySerde } from './serde.js';
import { needed, type StoredState, type StreamState, type TableState } from './state.js';
import type { StoreOptions } from './verbs.js';

const nothing = (): undefined => undefined;

/** A table's rows in a store: what a node that keeps them needs. */
export async function openRows(scope: Scope, node: Node, store: StoreDeclaration, key: AnySerde, value: AnySerde, out: Emit) {
  const keys = rowKeys(await scope.open(key));
  const serde = await scope.open(value);
  const rows = scope.rows(store);
  const valueOf = (row: Buffer | undefined): unknown => (row === undefined ? undefined : decodeNow(serde, storedBytes(row)));
  const known = (row: Buffer | undefined): Known | undefined =>
    row === undefined ? undefined : { value: valueOf(row), timestamp: storedTimestamp(row) };
  scope.addLookup(node, (of) => known(rows().get(keys.toRow(of))));
  if (store.ttlMs !== undefined) {
    scope.onExpired(store, (row, old) =>
      out(keys.fromRow(row), { next: undefined, old: () => valueOf(old) } satisfies Change, scope.timerMoment('wall')),
    );
  }
  return { keys, serde, rows, valueOf };
}

export const storedState = (store: StoreDeclaration, key: AnySerde, value: AnySerde): StoredState => ({
  store,
  value,
  timestamped: true,
  keys: async (open) => rowKeys(await open(key)),
});

/** The last value of each key of a stream whose equal keys lie together. */
export function upsertTable(from: StreamState, name: string, { ttlMs }: StoreOptions = {}): TableState {
  const { graph } = from;
  const [key, value] = [needed(from, 'key', name), needed(from, 'value', name)];
  const store = graph.addStore(name, ttlMs);
  const node = graph.add({
    kind: 'table',
    name,
    parents: [from.node],
    stores: [store],
    keyed: true,
    async open(scope, out, self) {
      const { keys, serde, rows, valueOf } = await openRows(scope, self, store, key, value, out);
      return [
        (of, to, at) => {
          if (of === null) return scope.skip();
          const row = keys.toRow(of);
          const before = rows().get(row);
          if (to !== null) rows().put(row, toStored(at.timestamp, serde.encode(to)));
          else if (before === undefined) return;
          else rows().delete(row);
          out(of, { next: to ?? undefined, old: () => valueOf(before) } satisfies Change, at);
        },
      ];
    },
  });
  return { graph, node, key, value, stored: storedState(store, key, value) };
}

/** The updates of a table in a store of its own. */
export function materialized(from: TableState, name: string, value: AnySerde): TableState {
  const { graph } = from;
  const key = needed(from, 'key', name);
  const store = graph.addStore(name);
  const node = graph.add({
    kind: 'materialize',
    name,
    parents: [from.node],
    stores: [store],
    keyed: true,
    async open(scope, out, self) {
      const { keys, serde, rows } = await openRows(scope, self, store, key, value, out);
      return [
        (of, change, at) => {
          const { next } = change as Change;
          if (next === undefined) rows().delete(keys.toRow(of));
          else rows().put(keys.toRow(of), toStored(at.timestamp, serde.encode(next)));
          out(of, change, at);
        },
      ];
    },
  });
  return { graph, node, key, value, stored: storedState(store, key, value) };
}

/** Rows as a function of those of another table; undefined where there is none. Nothing is stored. */
export function viewOf(
  from: TableState,
  kind: string,
  to: (value: unknown, key: unknown) => unknown,
  value: AnySerde | undefined,
): TableState {
  const { graph } = from;
  const node = graph.add({
    kind,
    parents: [from.node],
    open(scope, out, self) {
      scope.addLookup(self, (key) => {
        const known = scope.lookup(from.node)(key);
        const seen = known === undefined ? undefined : to(known.value, key);
        return known === undefined || seen === undefined ? undefined : { value: seen, timestamp: known.timestamp };
      });
      return [
        (key, change, at) => {
          const { next, old } = change as Change;
          const made = next === undefined ? undefined : to(next, key);
          const before = (): unknown => {
            const was = old();
            return was === undefined ? undefined : to(was, key);
          };
          // Nothing was there, and nothing is.
          if (made === undefined && before() === undefined) return;
          out(key, { next: made, old: before } satisfies Change, at);
        },
      ];
    },
  });
  return { ...from, node, value, stored: undefined };
}

export type JoinKind = 'inner' | 'left' | 'outer';

/** Rows of two tables by their key; nothing is stored. */
export function joinTables(
  left: TableState,
  right: TableState,
  kind: JoinKind,
  joiner: (a: unknown, b: unknown, key: unknown) => unknown,
): TableState {
  const { graph } = left;
  const joined = (a: unknown, b: unknown, key: unknown): unknown => {
    const missing = kind === 'inner' ? a === undefined || b === undefined : a === undefined && (kind === 'left' || b === undefined);
    return missing ? undefined : joiner(a, b, key);
  };
  const side =
    (out: Emit, other: () => Lookup, join: (own: unknown, others: unknown, key: unknown) => unknown): Emit =>
    (key, change, at) => {
      const { next, old } = change as Change;
      const found = other()(key);
      const made = join(next, found?.value, key);
      const before = (): unknown => join(old(), found?.value, key);
      if (made === undefined && before() === undefined) return;
      const moment = found !== undefined && found.timestamp > at.timestamp ? { ...at, timestamp: found.timestamp } : at;
      out(key, { next: made, old: before } satisfies Change, moment);
    };
  const node = graph.add({
    kind: `${kind}Join`,
    parents: [left.node, right.node],
    keyed: true,
    open(scope, out, self) {
      const [ofLeft, ofRight] = [left, right].map(
        ({ node: of }) =>
          (): Lookup =>
            scope.lookup(of),
      ) as [() => Lookup, () => Lookup];
      scope.addLookup(self, (key) => {
        const [a, b] = [ofLeft()(key), ofRight()(key)];
        const value = joined(a?.value, b?.value, key);
        return value === undefined ? undefined : { value, timestamp: Math.max(a?.timestamp ?? 0, b?.timestamp ?? 0) };
      });
      return [side(out, ofRight, joined), side(out, ofLeft, (own, others, key) => joined(others, own, key))];
    },
  });
  return { graph, node, key: left.key ?? right.key, value: undefined, stored: undefined };
}

/** Updates by another key: what is taken back and what is added, together where the key stays. */
export function regroup(
  from: TableState,
  name: string,
  to: (value: unknown, key: unknown) => readonly [unknown, unknown],
  key: AnySerde,
): Node {
  const { graph } = from;
  return graph.add({
    kind: 'regroup',
    name: `${name}.regroup`,
    parents: [from.node],
    async open(scope, out) {
      const keys = rowKeys(await scope.open(key));
      return [
        (of, change, at) => {
          const { next, old } = change as Change;
          const was = old();
          const before = was === undefined ? undefined : to(was, of);
          const after = next === undefined ? undefined : to(next, of);
          const send = (by: unknown, value: Change): void => {
            if (by === null || by === undefined) scope.skip();
            else out(by, value, at);
          };
          if (before !== undefined && after !== undefined && keys.toRow(before[0]) === keys.toRow(after[0])) {
            send(after[0], { next: after[1], old: () => before[1] });
            return;
          }
          if (before !== undefined) send(before[0], { next: undefined, old: () => before[1] });
          if (after !== undefined) send(after[0], { next: after[1], old: nothing });
        },
      ];
    },
  });
}

/** A change in a repartition topic: the length of the old value (-1: none) in 4 bytes, the old value, and the new one; a flag says if there is one. */
export const changes = (value: AnySerde): AnySerde => {
  const form: AnySerde = {
    encode: (of) => {
      const { next, old } = of as Change;
      const was = old();
      const before = was === undefined ? undefined : value.encode(was);
      const head = Buffer.allocUnsafe(5);
      head.writeUInt8(next === undefined ? 0 : 1, 0);
      head.writeInt32BE(before?.length ?? -1, 1);
      return Buffer.concat([head, ...(before === undefined ? [] : [before]), ...(next === undefined ? [] : [value.encode(next)])]);
    },
    decode: (encoded) => {
      const length = encoded.readInt32BE(1);
      const end = 5 + Math.max(0, length);
      const before = length < 0 ? undefined : value.decode(encoded.subarray(5, end));
      const after = encoded[0] === 0 ? undefined : value.decode(encoded.subarray(end));
      const made = (old: unknown, next: unknown): Change => ({ next, old: () => old });
      return before instanceof Promise || after instanceof Promise
        ? Promise.all([before, after]).then(([old, next]) => made(old, next))
        : made(before, after);
    },
  };
  return value.open === undefined ? form : { ...form, open: async (codec, topic) => changes(await value.open!(codec, topic)) };
};
