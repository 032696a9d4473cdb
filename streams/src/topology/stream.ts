import { aggregate, aggregateWindows, type AnyAggregation } from './aggregates.js';
import { addRepartition, addSink, type AnyKeyValue } from './ends.js';
import type { Emit, Moment } from './graph.js';
import { joinTable, joinWithin, type AnyJoinWindow } from './joins.js';
import { addProcessor, type AnyProcessor } from './processor-node.js';
import { long, untyped, type AnySerde } from './serde.js';
import { needed, settled, type StreamState, type TableState } from './state.js';
import { changes, joinTables, materialized, regroup, upsertTable, viewOf, type JoinKind } from './table-nodes.js';
import type { Aggregation, Grouped, GroupedTable, JoinOptions, Serdes, StoreOptions, Stream, Table, WindowOptions } from './verbs.js';
import type { TimeWindows } from './windows.js';

/** The verbs as they are declared in `verbs.ts`, over states that know no types: what fits is checked there, by the compiler. */
type AnyStream = Stream<unknown, unknown>;
type AnyTable = Table<unknown, unknown>;
type AnyOptions = Serdes<unknown, unknown>;
const streams = new WeakMap<object, StreamState>();
const tables = new WeakMap<object, TableState>();
export const tableState = (table: object): TableState | undefined => tables.get(table);

type Entry = readonly [key: unknown, value: unknown];
type Fn = (value: unknown, key: unknown, at: Moment) => unknown;

export function streamOf<K, V>(state: StreamState): Stream<K, V> {
  const { graph, node } = state;
  const then = (kind: string, wire: (out: Emit) => Emit, change: Partial<StreamState>): AnyStream =>
    streamOf({ ...state, ...change, node: graph.add({ kind, parents: [node], open: (_scope, out) => [wire(out)] }) });
  const rekeyed = { key: undefined, moved: true };
  const entries = (kind: string, to: Fn, change: Partial<StreamState>, one: boolean): AnyStream =>
    then(
      kind,
      (out) => (key, value, at) => {
        const made = to(value, key, at);
        for (const entry of one ? [made] : (made as Iterable<unknown>)) {
          const [k, v] = entry as Entry;
          out(k, v, at);
        }
      },
      change,
    );

  const verbs = {
    map: (to: Fn) => entries('map', to, { ...rekeyed, value: undefined }, true),
    flatMap: (to: Fn) => entries('flatMap', to, { ...rekeyed, value: undefined }, false),
    mapValues: (to: Fn, serde?: AnySerde) =>
      then('mapValues', (out) => (key, value, at) => out(key, to(value, key, at), at), { value: serde }),
    flatMapValues: (to: Fn, serde?: AnySerde) =>
      then(
        'flatMapValues',
        (out) => (key, value, at) => {
          for (const each of to(value, key, at) as Iterable<unknown>) out(key, each, at);
        },
        { value: serde },
      ),
    filter: (keep: Fn) =>
      then(
        'filter',
        (out) => (key, value, at) => {
          if (keep(value, key, at) === true) out(key, value, at);
        },
        {},
      ),
    selectKey: (to: Fn) => then('selectKey', (out) => (key, value, at) => out(to(value, key, at), value, at), rekeyed),
    peek: (look: Fn) =>
      then(
        'peek',
        (out) => (key, value, at) => {
          look(value, key, at);
          out(key, value, at);
        },
        {},
      ),
    merge(other: AnyStream) {
      const from = streams.get(other)!;
      const merged = graph.add({ kind: 'merge', parents: [node, from.node], open: (_scope, out) => [out, out] });
      const same = <T>(a: T, b: T): T | undefined => (a === b ? a : undefined);
      const moved = state.moved || from.moved;
      return streamOf({ graph, node: merged, moved, key: same(state.key, from.key), value: same(state.value, from.value) });
    },
    split(branches: Readonly<Record<string, Fn>>) {
      const predicates = Object.values(branches);
      const router = graph.add({
        kind: 'split',
        parents: [node],
        open: (_scope, out) => [
          (key, value, at) => out(key, { branch: predicates.findIndex((holds) => holds(value, key, at) === true), value }, at),
        ],
      });
      const branch = (index: number): AnyStream => {
        const take = (out: Emit): Emit => {
          return (key, routed, at) => {
            const { branch: to, value } = routed as { branch: number; value: unknown };
            if (to === index) out(key, value, at);
          };
        };
        return streamOf({ ...state, node: graph.add({ kind: 'branch', parents: [router], open: (_scope, out) => [take(out)] }) });
      };
      return Object.fromEntries([...Object.keys(branches).map((name, index) => [name, branch(index)]), ['rest', branch(-1)]]) as unknown;
    },

    to: (topic: string, serdes: AnyKeyValue) => void addSink(graph, node, topic, serdes),
    repartition(name: string, { key, value, partitions }: AnyKeyValue & { readonly partitions?: number }) {
      return streamOf({ graph, node: addRepartition(graph, node, name, { key, value }, { partitions }), key, value, moved: false });
    },

    groupByKey: (serdes: AnyOptions = {}) => groupedOf({ ...state, ...known(serdes) }),
    groupBy: (to: Fn, key: AnySerde, value?: AnySerde) =>
      groupedOf({ ...streams.get(verbs.selectKey(to))!, ...known({ key, ...(value === undefined ? {} : { value }) }) }),
    toTable: (name: string, options: StoreOptions & AnyOptions = {}) =>
      tableOf(upsertTable(settled({ ...state, ...known(options) }, name, { dropNullKeys: true }), name, options)),

    join: (table: AnyTable, joiner: Fold, options: JoinOptions<unknown, unknown> = {}) =>
      streamOf(joinTable({ ...state, ...known(options) }, tables.get(table)!, joiner, false, options.name)),
    leftJoin: (table: AnyTable, joiner: Fold, options: JoinOptions<unknown, unknown> = {}) =>
      streamOf(joinTable({ ...state, ...known(options) }, tables.get(table)!, joiner, true, options.name)),
    joinStream: (name: string, other: AnyStream, window: AnyJoinWindow, joiner: Fold) =>
      streamOf(joinWithin(name, state, streams.get(other)!, window, joiner, false)),
    leftJoinStream: (name: string, other: AnyStream, window: AnyJoinWindow, joiner: Fold) =>
      streamOf(joinWithin(name, state, streams.get(other)!, window, joiner, true)),

    process: (name: string, spec: AnyProcessor) => streamOf(addProcessor(state, name, spec)),
  };
  streams.set(verbs, state);
  return verbs as unknown as Stream<K, V>;
}

type Fold = (a: unknown, b: unknown, key: unknown) => unknown;
const known = ({ key, value }: AnyOptions): Partial<StreamState> => ({
  ...(key === undefined ? {} : { key: untyped(key) }),
  ...(value === undefined ? {} : { value: untyped(value) }),
});

const counting: AnyAggregation = { kind: 'count', initial: () => 0, add: (count) => (count as number) + 1, value: untyped(long) };
const reducing = (value: AnySerde, add: Fold): AnyAggregation => ({
  kind: 'reduce',
  initial: () => undefined,
  add: (reduced, of, key) => (reduced === undefined ? of : add(reduced, of, key)),
  value,
});
const aggregating = ({ initial, add, value }: Aggregation<unknown, unknown, unknown>): AnyAggregation => ({
  kind: 'aggregate',
  initial,
  add,
  value: untyped(value),
});

function groupedOf<K, V>(state: StreamState): Grouped<K, V> {
  /** Several aggregates of one grouping share its repartition topic. */
  let shared: StreamState | undefined;
  const from = (name: string): StreamState => (shared ??= settled(state, name, { dropNullKeys: true }));
  const valueOf = (name: string): AnySerde => needed(state, 'value', name);
  const verbs = {
    count: (name: string, options?: StoreOptions) => tableOf(aggregate(from(name), name, counting, options)),
    reduce: (name: string, add: Fold, options?: StoreOptions) =>
      tableOf(aggregate(from(name), name, reducing(valueOf(name), add), options)),
    aggregate: (name: string, of: Aggregation<unknown, unknown, unknown> & StoreOptions) =>
      tableOf(aggregate(from(name), name, aggregating(of), of)),
    windowedBy: (windows: TimeWindows, options: WindowOptions = {}) => ({
      count: (name: string) => tableOf(aggregateWindows(from(name), name, counting, windows, options)),
      reduce: (name: string, add: Fold) => tableOf(aggregateWindows(from(name), name, reducing(valueOf(name), add), windows, options)),
      aggregate: (name: string, of: Aggregation<unknown, unknown, unknown>) =>
        tableOf(aggregateWindows(from(name), name, aggregating(of), windows, options)),
    }),
  };
  return verbs as unknown as Grouped<K, V>;
}

export function tableOf<K, V>(state: TableState): Table<K, V> {
  const { graph, node } = state;
  const joined = (kind: JoinKind) => (other: AnyTable, joiner: Fold) => tableOf(joinTables(state, tables.get(other)!, kind, joiner));
  const verbs = {
    name: state.stored?.store.name,
    filter: (keep: (value: unknown, key: unknown) => unknown) =>
      tableOf(viewOf(state, 'filter', (value, key) => (keep(value, key) === true ? value : undefined), state.value)),
    mapValues: (to: (value: unknown, key: unknown) => unknown, value?: AnySerde) => tableOf(viewOf(state, 'mapValues', to, value)),
    toStream() {
      const open = (_scope: unknown, out: Emit): Emit[] => [(key, change, at) => out(key, (change as { next: unknown }).next ?? null, at)];
      const stream = graph.add({ kind: 'toStream', parents: [node], open });
      return streamOf({ graph, node: stream, key: state.key, value: state.value, moved: state.key === undefined });
    },
    materialize: (name: string, value: AnySerde) => tableOf(materialized(state, name, value)),
    groupBy: (to: (value: unknown, key: unknown) => readonly [unknown, unknown], serdes: AnyKeyValue) => groupedTableOf(state, to, serdes),
    join: joined('inner'),
    leftJoin: joined('left'),
    outerJoin: joined('outer'),
  };
  tables.set(verbs, state);
  return verbs as unknown as Table<K, V>;
}

function groupedTableOf<K, V>(
  table: TableState,
  to: (value: unknown, key: unknown) => readonly [unknown, unknown],
  { key, value }: AnyKeyValue,
): GroupedTable<K, V> {
  const { graph } = table;
  let shared: StreamState | undefined;
  const from = (name: string): StreamState => {
    if (shared !== undefined) return shared;
    const node = addRepartition(graph, regroup(table, name, to, key), name, { key, value: changes(value) });
    return (shared = { graph, node, key, value, moved: false });
  };
  const folded = (name: string, aggregation: AnyAggregation, subtract: Fold, options?: StoreOptions): AnyTable =>
    tableOf(aggregate(from(name), name, { ...aggregation, subtract }, options));
  const verbs = {
    count: (name: string, options?: StoreOptions) => folded(name, counting, (count) => (count as number) - 1, options),
    reduce: (name: string, add: Fold, subtract: Fold, options?: StoreOptions) => folded(name, reducing(value, add), subtract, options),
    aggregate: (name: string, of: Aggregation<unknown, unknown, unknown> & StoreOptions & { subtract: Fold }) =>
      folded(name, aggregating(of), of.subtract, of),
  };
  return verbs as unknown as GroupedTable<K, V>;
}
