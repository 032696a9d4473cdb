import { SpoolError } from '@spool/schemas';
import { inTurn, type Graph, type Node, type Pending, type Push, type Run, type StoreDeclaration } from './graph.js';
import { groupedTable, type GroupedTable } from './grouped.js';
import type { KeySerde, ValueSerde } from './serde.js';
import { streamOf, type Stream } from './stream.js';

/** What happened to a row: undefined stands for no row. */
export interface Change<V> {
  readonly old: V | undefined;
  readonly now: V | undefined;
}

/** A row for each key, as of the last change of it. Equal keys of two tables that are joined must be in partitions of the same number. */
export interface Table<K, V> {
  filter(keep: (key: K, value: V) => boolean): Table<K, V>;
  mapValues<V2>(to: (value: V, key: K) => V2): Table<K, V2>;
  /** Each change as a record; undefined where a row has gone. */
  toStream(): Stream<K, V | undefined>;
  /** A row where both sides have one. */
  join<V2, R>(other: Table<K, V2>, joiner: (value: V, other: V2) => R): Table<K, R>;
  /** A row for each of this side. */
  leftJoin<V2, R>(other: Table<K, V2>, joiner: (value: V, other: V2 | undefined) => R): Table<K, R>;
  /** A row where either side has one. */
  outerJoin<V2, R>(other: Table<K, V2>, joiner: (value: V | undefined, other: V2 | undefined) => R): Table<K, R>;
  /** Rows under another key, to be aggregated there: a change takes the old row out of its group and adds the new one to its own. */
  groupBy<K2, V2>(
    to: (key: K, value: V) => readonly [K2, V2],
    serdes: { key: KeySerde<K2>; value: ValueSerde<V2>; name?: string },
  ): GroupedTable<K2, V2>;
}

/** Where a table stands: its node sends `Change`s. */
export interface TablePlace<K, V> {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: KeySerde<K>;
  /** Undefined once values have been mapped. */
  readonly value: ValueSerde<V> | undefined;
  readonly get: (key: K, run: Run) => V | undefined;
}

const places = new WeakMap<object, TablePlace<never, never>>();
export function placeOf<K, V>(table: Table<K, V>): TablePlace<K, V> {
  const place = places.get(table);
  if (place === undefined) throw new SpoolError('INVALID_CONFIG', 'this is no table of a topology');
  return place as unknown as TablePlace<K, V>;
}

/** Rows in a store, as the node with this declaration writes them. */
export const storedRow =
  <K, V>({ name }: StoreDeclaration, key: KeySerde<K>) =>
  (of: K, run: Run): V | undefined =>
    run.task.table<V>(name).get(key.toText(of));

/** Keeps the latest value of each key: what comes in are values, what goes out are changes. */
export function materialize<K, V>(store: StoreDeclaration, key: KeySerde<K>, next: Push<K, Change<V>>): Push<K, V | undefined> {
  return (of, value, run) => {
    const rows = run.task.table<V>(store.name);
    const id = key.toText(of);
    const old = rows.get(id);
    if (value === undefined) {
      if (old === undefined) return;
      rows.delete(id);
    } else rows.put(id, value);
    return next(of, { old, now: value }, run);
  };
}

export function tableOf<K, V>(place: TablePlace<K, V>): Table<K, V> {
  const { graph, node, key, get } = place;
  const derived = <V2>(kind: string, to: (key: K, value: V) => V2 | undefined, value?: ValueSerde<V2>): Table<K, V2> => {
    const of = (id: K, row: V | undefined): V2 | undefined => (row === undefined ? undefined : to(id, row));
    const made = graph.add<K, Change<V>, K, Change<V2>>({ kind, parents: [node] }, (next) => (id, change, run) => {
      const [old, now] = [of(id, change.old), of(id, change.now)];
      if (old !== undefined || now !== undefined) return next(id, { old, now }, run);
    });
    return tableOf({ graph, node: made, key, value, get: (id, run) => of(id, get(id, run)) });
  };
  const joined = <V2, R>(
    kind: string,
    other: Table<K, V2>,
    joiner: (a: V | undefined, b: V2 | undefined) => R | undefined,
  ): Table<K, R> => {
    const right = placeOf(other);
    const result = (a: V | undefined, b: V2 | undefined): R | undefined => (a === undefined && b === undefined ? undefined : joiner(a, b));
    const send = (next: Push<K, Change<R>>, id: K, old: R | undefined, now: R | undefined, run: Run): Pending => {
      if (old !== undefined || now !== undefined) return next(id, { old, now }, run);
    };
    const left = graph.add<K, Change<V>, K, Change<R>>({ kind, parents: [node] }, (next) => (id, change, run) => {
      const b = right.get(id, run);
      return send(next, id, result(change.old, b), result(change.now, b), run);
    });
    const mirror = graph.add<K, Change<V2>, K, Change<R>>({ kind: `${kind}-other`, parents: [right.node] }, (next) => (id, change, run) => {
      const a = get(id, run);
      return send(next, id, result(a, change.old), result(a, change.now), run);
    });
    const both = graph.add<K, Change<R>, K, Change<R>>({ kind: `${kind}-both`, parents: [left, mirror], joins: true }, (next) => next);
    return tableOf({ graph, node: both, key, value: undefined, get: (id, run) => result(get(id, run), right.get(id, run)) });
  };
  const table: Table<K, V> = {
    filter: (keep) => derived('table-filter', (id, value) => (keep(id, value) ? value : undefined), place.value),
    mapValues: (to) => derived('table-map', (id, value) => to(value, id)),
    toStream() {
      const made = graph.add<K, Change<V>, K, V | undefined>(
        { kind: 'to-stream', parents: [node] },
        (next) =>
          (id, { now }, run) =>
            next(id, now, run),
      );
      return streamOf({ graph, node: made, key, value: place.value, rekeyed: false });
    },
    join: (other, joiner) => joined('table-join', other, (a, b) => (a === undefined || b === undefined ? undefined : joiner(a, b))),
    leftJoin: (other, joiner) => joined('table-left-join', other, (a, b) => (a === undefined ? undefined : joiner(a, b))),
    outerJoin: (other, joiner) => joined('table-outer-join', other, joiner),
    groupBy(to, { key: key2, value, name }) {
      type Out = ReturnType<typeof to>;
      const split = graph.add<K, Change<V>, Out[0], readonly ['-' | '+', Out[1]]>(
        { kind: 'table-group', parents: [node] },
        (next) =>
          (id, { old, now }, run) => {
            const parts: (readonly ['-' | '+', Out])[] = [];
            if (old !== undefined) parts.push(['-', to(id, old)]);
            if (now !== undefined) parts.push(['+', to(id, now)]);
            return inTurn(parts, ([sign, [group, row]]) => next(group, [sign, row], run));
          },
      );
      return groupedTable({ graph, node: split, key: key2, value, name });
    },
  };
  places.set(table, place as unknown as TablePlace<never, never>);
  return table;
}
