import { at, inTurn, type Graph, type Node, type Pending, type Run, type StoreDeclaration } from './graph.js';
import { repartitioned, type RepartitionPlace } from './repartition.js';
import { json, windowed, type KeySerde, type SchemaSerde, type Serde, type ValueSerde, type Windowed } from './serde.js';
import { streamOf, type Stream } from './stream.js';
import { tableOf, storedRow, type Change, type Table } from './table.js';
import { splitTimed, startsOf, sweep, timedKey, windowRows, type Windows } from './windows.js';

export interface AggregateOptions<A> {
  /** Of the node and its store, and so of its part of the changelog. @default from its place in the declaration */
  readonly name?: string;
  /** @default JSON */
  readonly value?: ValueSerde<A>;
}
/** @returns the new value; undefined takes the row away. It must not change the one that it was given */
export type Aggregator<K, V, A> = (aggregate: A, value: V, key: K) => A | undefined;

/** Records by key, about to be put together. Those without key or value are passed over. */
export interface Grouped<K, V> {
  count(options?: Pick<AggregateOptions<number>, 'name'>): Table<K, number>;
  reduce(add: (a: V, b: V) => V, options?: AggregateOptions<V>): Table<K, V>;
  aggregate<A>(initial: () => A, add: Aggregator<K, V, A>, options?: AggregateOptions<A>): Table<K, A>;
  windowedBy(windows: Windows): WindowedGroup<K, V>;
}
export interface WindowedGroup<K, V> {
  count(options?: Pick<AggregateOptions<number>, 'name'>): WindowedTable<K, number>;
  reduce(add: (a: V, b: V) => V, options?: AggregateOptions<V>): WindowedTable<K, V>;
  aggregate<A>(initial: () => A, add: Aggregator<K, V, A>, options?: AggregateOptions<A>): WindowedTable<K, A>;
}
/** A row for each key and window. Records whose windows have closed are dropped, and counted. */
export interface WindowedTable<K, V> extends Table<Windowed<K>, V> {
  /** One record for each window when it has closed, with its last value. */
  finalResults(options?: { readonly name?: string }): Stream<Windowed<K>, V>;
}
/** Rows of a table under another key. */
export interface GroupedTable<K, V> {
  count(options?: Pick<AggregateOptions<number>, 'name'>): Table<K, number>;
  reduce(add: (a: V, b: V) => V, subtract: (a: V, b: V) => V, options?: AggregateOptions<V>): Table<K, V>;
  aggregate<A>(initial: () => A, add: Aggregator<K, V, A>, subtract: Aggregator<K, V, A>, options?: AggregateOptions<A>): Table<K, A>;
}

interface GroupPlace<K, V> {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: KeySerde<K>;
  readonly value: ValueSerde<V> | undefined;
}

const none = Symbol('no row');
/** The first value is the aggregate itself. */
const reducing =
  <K, V>(add: (a: V, b: V) => V): Aggregator<K, V, V | typeof none> =>
  (before, value) =>
    before === none ? value : add(before, value);
const counting = (count: number): number => count + 1;

function storeOf<A>(graph: Graph, kind: string, { name, value }: AggregateOptions<A>, fallback?: ValueSerde<A>): StoreDeclaration {
  return { name: name ?? `${kind}-${graph.nodes.length}`, value: value ?? fallback ?? json<A>() };
}

export function grouped<K, V>(place: GroupPlace<K, V>): Grouped<K, V> {
  const { graph, node, key } = place;
  const aggregate = <A>(
    kind: string,
    initial: () => A,
    add: Aggregator<K, V, A>,
    options: AggregateOptions<A>,
    fallback?: ValueSerde<A>,
  ): Table<K, A> => {
    const store = storeOf(graph, kind, options, fallback);
    const made = graph.add<K | null, V | undefined, K, Change<A>>(
      { kind, name: store.name, parents: [node], stores: [store] },
      (next, { dropped }) =>
        (of, value, run) => {
          if (of === null || value === undefined) {
            dropped.nulls += 1;
            return;
          }
          return change(
            run,
            store.name,
            key.toText(of),
            (old) => add(old ?? initial(), value, of),
            (changed: Change<A>) => next(of, changed, run),
          );
        },
    );
    return tableOf<K, A>({ graph, node: made, key, value: store.value as ValueSerde<A>, get: storedRow(store, key) });
  };
  return {
    count: (options = {}) => aggregate<number>('count', () => 0, counting, options),
    reduce: (add, options = {}) => aggregate<V | typeof none>('reduce', () => none, reducing(add), options, place.value) as Table<K, V>,
    aggregate: (initial, add, options = {}) => aggregate('aggregate', initial, add, options),
    windowedBy: (windows) => windowedGroup(place, windows),
  };
}

/** One row of a store before and after. */
function change<A, R>(
  run: Run,
  store: string,
  id: string,
  to: (old: A | undefined) => A | undefined,
  then: (change: Change<A>) => R,
): R | undefined {
  const rows = run.task.table<A>(store);
  const old = rows.get(id);
  const now = to(old);
  if (now !== undefined) rows.put(id, now);
  else if (old === undefined) return undefined;
  else rows.delete(id);
  return then({ old, now });
}

function windowedGroup<K, V>(place: GroupPlace<K, V>, windows: Windows): WindowedGroup<K, V> {
  const { graph, node, key } = place;
  const { sizeMs, graceMs, retentionMs } = windows;
  const aggregate = <A>(
    kind: string,
    initial: () => A,
    add: Aggregator<K, V, A>,
    options: AggregateOptions<A>,
    fallback?: ValueSerde<A>,
  ): WindowedTable<K, A> => {
    const store = storeOf(graph, kind, options, fallback);
    const made = graph.add<K | null, V | undefined, Windowed<K>, Change<A>>(
      { kind, name: store.name, parents: [node], stores: [store] },
      (next, { dropped, afterRecord }) => {
        const old = sweep(
          store.name,
          (id) => splitTimed(id)[0] + sizeMs + retentionMs,
          () => undefined,
        );
        afterRecord(old.look);
        return (of, value, run) => {
          if (of === null || value === undefined) {
            dropped.nulls += 1;
            return;
          }
          return inTurn([...startsOf(windows, run.timestamp)], (start) => {
            const end = start + sizeMs;
            if (end + graceMs <= run.task.streamTime) {
              dropped.late += 1;
              return;
            }
            old.note(end + retentionMs);
            const send = (changed: Change<A>): Pending => next({ key: of, start, end }, changed, run);
            return change(run, store.name, timedKey(start, key.toText(of)), (before) => add(before ?? initial(), value, of), send);
          });
        };
      },
    );
    const id = windowed(key, sizeMs);
    const table = tableOf<Windowed<K>, A>({
      graph,
      node: made,
      key: id,
      value: store.value as ValueSerde<A>,
      get: storedRow(store, windowRows(key, sizeMs)),
    });
    return {
      ...table,
      finalResults: ({ name } = {}) => finalResults({ graph, node: made, key, value: store.value as ValueSerde<A> }, windows, name),
    };
  };
  return {
    count: (options = {}) => aggregate<number>('window-count', () => 0, counting, options),
    reduce: (add, options = {}) =>
      aggregate<V | typeof none>('window-reduce', () => none, reducing(add), options, place.value) as WindowedTable<K, V>,
    aggregate: (initial, add, options = {}) => aggregate('window-aggregate', initial, add, options),
  };
}

/** Keeps the last value of each window until stream time has passed its end and grace. */
function finalResults<K, A>(
  { graph, node, key, value }: GroupPlace<K, A>,
  { sizeMs, graceMs }: Windows,
  name?: string,
): Stream<Windowed<K>, A> {
  const store = { name: name ?? `final-${graph.nodes.length}`, value: value as ValueSerde<unknown> };
  const made = graph.add<Windowed<K>, Change<A>, Windowed<K>, A>(
    { kind: 'final', name: store.name, parents: [node], stores: [store] },
    (next, { afterRecord }) => {
      const closed = sweep(
        store.name,
        (id) => splitTimed(id)[0] + sizeMs + graceMs,
        (id, row, run) => {
          const [start, text] = splitTimed(id);
          const windowKey = { key: key.fromText(text), start, end: start + sizeMs };
          return at(run, start + sizeMs - 1, () => next(windowKey, row as A, run));
        },
      );
      afterRecord(closed.look);
      return ({ key: of, start, end }, { now }, run) => {
        const rows = run.task.table<A>(store.name);
        const id = timedKey(start, key.toText(of));
        closed.note(end + graceMs);
        if (now === undefined) rows.delete(id);
        else rows.put(id, now);
      };
    },
  );
  return streamOf({ graph, node: made, key: windowed(key, sizeMs), value, rekeyed: true });
}

/** @param place its node sends `-` with what leaves a group, and `+` with what comes to it */
export function groupedTable<K, V>({ graph, node, key, value, name }: RepartitionPlace<K, V>): GroupedTable<K, V> {
  const there = repartitioned<K, readonly ['-' | '+', V]>({ graph, node, key, value: signed(value), name });
  const aggregate = <A>(
    kind: string,
    initial: () => A,
    add: Aggregator<K, V, A>,
    subtract: Aggregator<K, V, A>,
    options: AggregateOptions<A>,
    fallback?: ValueSerde<A>,
  ): Table<K, A> => {
    const store = storeOf(graph, kind, options, fallback);
    const made = graph.add<K, readonly ['-' | '+', V], K, Change<A>>(
      { kind, name: store.name, parents: [there], stores: [store] },
      (next) =>
        (of, [sign, row], run) =>
          change(
            run,
            store.name,
            key.toText(of),
            (old) => (sign === '+' ? add : subtract)(old ?? initial(), row, of),
            (changed: Change<A>) => next(of, changed, run),
          ),
    );
    return tableOf<K, A>({ graph, node: made, key, value: store.value as ValueSerde<A>, get: storedRow(store, key) });
  };
  return {
    count: (options = {}) =>
      aggregate<number>(
        'table-count',
        () => 0,
        counting,
        (count) => count - 1,
        options,
      ),
    reduce: (add, subtract, options = {}) =>
      aggregate<V | typeof none>(
        'table-reduce',
        () => none,
        reducing(add),
        (before, row) => (before === none ? undefined : subtract(before, row)),
        options,
        value,
      ) as Table<K, V>,
    aggregate: (initial, add, subtract, options = {}) => aggregate('table-aggregate', initial, add, subtract, options),
  };
}

/** The sign in front of the value. */
const signed = <V>(of: ValueSerde<V>): SchemaSerde<readonly ['-' | '+', V]> => ({
  async open(codec, topic) {
    const serde: Serde<V> = 'open' in of ? await of.open(codec, topic) : of;
    return {
      encode: ([sign, value]) => Buffer.concat([Buffer.from(sign), serde.encode(value)]),
      decode(bytes) {
        const sign = bytes[0] === 0x2d ? ('-' as const) : ('+' as const);
        const value = serde.decode(bytes.subarray(1));
        return value instanceof Promise ? value.then((late) => [sign, late] as const) : ([sign, value] as const);
      },
    };
  },
});
