import { SpoolError } from '@spool/schemas';
import { inTurn, type Graph, type Node, type Pending, type Push } from './graph.js';
import { grouped, type Grouped } from './grouped.js';
import { processing, type NoStores, type Processor, type Stores } from './processor.js';
import { repartitioned } from './repartition.js';
import type { KeySerde, ValueSerde } from './serde.js';
import { materialize, placeOf, storedRow, tableOf, type Change, type Table } from './table.js';

/** Where a record came from. */
export interface RecordMeta {
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly headers: Readonly<Record<string, string | Buffer>>;
}
/** What a verb cannot know by itself: how keys and values stand in a record. Needed where a stream has been mapped since it was read. */
export interface Serdes<K, V> {
  readonly key?: KeySerde<K>;
  readonly value?: ValueSerde<V>;
  /** Of the node, and of what it keeps in Kafka. @default from its place in the declaration */
  readonly name?: string;
}

/** Records, one after the other in each partition. Keys may be null where the topic has none. */
export interface Stream<K, V> {
  map<K2, V2>(to: (key: K, value: V, meta: RecordMeta) => readonly [K2, V2]): Stream<K2, V2>;
  mapValues<V2>(to: (value: V, key: K, meta: RecordMeta) => V2): Stream<K, V2>;
  flatMap<K2, V2>(to: (key: K, value: V, meta: RecordMeta) => Iterable<readonly [K2, V2]>): Stream<K2, V2>;
  flatMapValues<V2>(to: (value: V, key: K) => Iterable<V2>): Stream<K, V2>;
  selectKey<K2>(to: (key: K, value: V) => K2): Stream<K2, V>;
  filter<V2 extends V>(keep: (key: K, value: V) => value is V2 & V): Stream<K, V2>;
  filter(keep: (key: K, value: V) => boolean): Stream<K, V>;
  peek(look: (key: K, value: V, meta: RecordMeta) => void): Stream<K, V>;
  merge(other: Stream<K, V>): Stream<K, V>;
  /** Each record goes to the first branch that takes it, or to none. */
  branch<N extends string>(branches: Readonly<Record<N, (key: K, value: V) => boolean>>): Readonly<Record<N, Stream<K, V>>>;
  groupByKey(serdes?: Serdes<NonNullable<K>, NonNullable<V>>): Grouped<NonNullable<K>, NonNullable<V>>;
  /** Goes through a topic of the topology's own, so that equal keys meet. */
  groupBy<K2>(
    to: (key: K, value: V) => K2,
    serdes: Serdes<K2, V> & { readonly key: KeySerde<K2> },
  ): Grouped<NonNullable<K2>, NonNullable<V>>;
  /** Each record with the row that its key has then; records without one are dropped. */
  join<V2, R>(
    table: Table<NonNullable<K>, V2>,
    joiner: (value: NonNullable<V>, row: V2, key: NonNullable<K>) => R,
    serdes?: Serdes<K, V>,
  ): Stream<K, R>;
  /** As `join`, and records without a row are kept. */
  leftJoin<V2, R>(
    table: Table<NonNullable<K>, V2>,
    joiner: (value: NonNullable<V>, row: V2 | undefined, key: NonNullable<K>) => R,
    serdes?: Serdes<K, V>,
  ): Stream<K, R>;
  repartition(serdes?: Serdes<K, V>): Stream<K, V>;
  /** The last value of each key; undefined takes a row away. */
  toTable(serdes?: Serdes<NonNullable<K>, NonNullable<V>>): Table<NonNullable<K>, NonNullable<V>>;
  /** The processor API: a handler with stores and timers. */
  process<K2 = never, V2 = never, S extends Stores = NoStores>(processor: Processor<K, V, K2, V2, S>): Stream<K2, V2>;
  /** Undefined is written as a tombstone. */
  to(topic: string, serdes?: Serdes<NonNullable<K>, NonNullable<V>>): void;
}

export interface StreamPlace<K, V> {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: KeySerde<K> | undefined;
  readonly value: ValueSerde<V> | undefined;
  /** The key is no longer the one by which the partition was chosen. */
  readonly rekeyed: boolean;
}

const places = new WeakMap<object, StreamPlace<never, never>>();

export function streamOf<K, V>(place: StreamPlace<K, V>): Stream<K, V> {
  const { graph, node, rekeyed } = place;
  const add = <K2, V2>(kind: string, build: (next: Push<K2, V2>) => Push<K, V>): Node =>
    graph.add<K, V, K2, V2>({ kind, parents: [node] }, build);
  const keyed = <V2>(kind: string, build: (next: Push<K, V2>) => Push<K, V>, value?: ValueSerde<V2>): Stream<K, V2> =>
    streamOf({ graph, node: add(kind, build), key: place.key, value, rekeyed });
  const changed = <K2, V2>(kind: string, build: (next: Push<K2, V2>) => Push<K, V>, value?: ValueSerde<V2>): Stream<K2, V2> =>
    streamOf({ graph, node: add(kind, build), key: undefined, value, rekeyed: true });
  const needed = (serdes: Serdes<K, V>, what: string): { key: KeySerde<K>; value: ValueSerde<V>; name: string | undefined } => {
    const { key = place.key, value = place.value, name } = serdes;
    if (key !== undefined && value !== undefined) return { key, value, name };
    const missing = [key === undefined ? 'key' : [], value === undefined ? 'value' : []].flat().join(' and ');
    throw new SpoolError(
      'INVALID_CONFIG',
      `topology ${graph.name}: ${what} after ${node.name} needs the serde of its ${missing}: pass { key, value }`,
    );
  };
  /** This stream, by way of a topic where the key has changed. */
  const partitioned = (serdes: Serdes<K, V>, what: string): StreamPlace<K, V> => {
    if (!rekeyed) return { ...place, key: serdes.key ?? place.key, value: serdes.value ?? place.value };
    const through = needed(serdes, what);
    return { graph, node: repartitioned({ graph, node, ...through }), key: through.key, value: through.value, rekeyed: false };
  };
  const filtered = (kind: string, keep: (key: K, value: V) => boolean): Stream<K, V> =>
    keyed<V>(kind, (next) => (key, value, run) => (keep(key, value) ? next(key, value, run) : undefined), place.value);
  const joined = <V2, R>(
    kind: string,
    table: Table<NonNullable<K>, V2>,
    serdes: Serdes<K, V>,
    join: (value: V, row: V2 | undefined, key: NonNullable<K>) => R | undefined,
  ) => {
    const at = partitioned(serdes, kind);
    const right = placeOf(table);
    const made = graph.add<K, V, K, R>({ kind, parents: [at.node] }, (next, { dropped }) => (key, value, run): Pending => {
      if (key === null || key === undefined || value === undefined) {
        dropped.nulls += 1;
        return;
      }
      const result = join(value, right.get(key, run), key);
      if (result !== undefined) return next(key, result, run);
    });
    made.part.join(right.node.part, true);
    return streamOf<K, R>({ graph, node: made, key: at.key, value: undefined, rekeyed: false });
  };
  const stream: Stream<K, V> = {
    map: (to) => changed('map', (next) => (key, value, run) => next(...to(key, value, run), run)),
    mapValues: (to) => keyed('map-values', (next) => (key, value, run) => next(key, to(value, key, run), run)),
    flatMap: (to) => changed('flat-map', (next) => (key, value, run) => inTurn([...to(key, value, run)], ([k, v]) => next(k, v, run))),
    flatMapValues: (to) =>
      keyed('flat-map-values', (next) => (key, value, run) => inTurn([...to(value, key)], (one) => next(key, one, run))),
    selectKey: (to) => changed('select-key', (next) => (key, value, run) => next(to(key, value), value, run), place.value),
    filter: (keep: (key: K, value: V) => boolean) => filtered('filter', keep) as never,
    peek: (look) =>
      keyed<V>(
        'peek',
        (next) => (key, value, run) => {
          look(key, value, run);
          return next(key, value, run);
        },
        place.value,
      ),
    merge(other) {
      const right = streamPlaceOf(other);
      const made = graph.add<K, V, K, V>({ kind: 'merge', parents: [node, right.node] }, (next) => next);
      return streamOf({
        graph,
        node: made,
        key: place.key ?? right.key,
        value: place.value ?? right.value,
        rekeyed: rekeyed || right.rekeyed,
      });
    },
    branch(branches) {
      const names = Object.keys(branches) as (keyof typeof branches)[];
      const first = (key: K, value: V): string | undefined => names.find((name) => branches[name](key, value));
      return Object.fromEntries(names.map((name) => [name, filtered('branch', (key, value) => first(key, value) === name)])) as never;
    },
    groupByKey(serdes = {}) {
      const at = partitioned(serdes, 'groupByKey');
      return grouped({ ...at, key: needed({ ...at, ...serdes } as Serdes<K, V>, 'groupByKey').key } as never);
    },
    groupBy(to, serdes) {
      return stream.selectKey(to).groupByKey({ value: place.value, ...serdes } as never);
    },
    join: (table, joiner, serdes = {}) =>
      joined('join', table, serdes, (value, row, key) => (row === undefined ? undefined : joiner(value as NonNullable<V>, row, key))),
    leftJoin: (table, joiner, serdes = {}) =>
      joined('left-join', table, serdes, (value, row, key) => joiner(value as NonNullable<V>, row, key)),
    repartition(serdes = {}) {
      const through = needed(serdes, 'repartition');
      return streamOf({ graph, node: repartitioned({ graph, node, ...through }), key: through.key, value: through.value, rekeyed: false });
    },
    toTable(serdes = {}) {
      const at = partitioned(serdes, 'toTable');
      const { key, value } = needed({ ...at, ...serdes } as Serdes<K, V>, 'toTable');
      const store = { name: serdes.name ?? `table-${graph.nodes.length}`, value: value as ValueSerde<unknown> };
      const made = graph.add<K, V | undefined, K, Change<V>>(
        { kind: 'table', name: store.name, parents: [at.node], stores: [store] },
        (next, { dropped }) => {
          const put = materialize<K, V>(store, key, next);
          return (of, row, run): Pending => {
            if (of !== null && of !== undefined) return put(of, row, run);
            dropped.nulls += 1;
          };
        },
      );
      return tableOf<K, V>({ graph, node: made, key, value, get: storedRow(store, key) }) as never;
    },
    process: (processor) => {
      const { key, value, keepsKey = false } = processor;
      return streamOf({ graph, node: processing(graph, node, processor), key, value, rekeyed: rekeyed || !keepsKey });
    },
    to(topic, serdes = {}) {
      const { key, value, name } = needed(serdes, 'to');
      const made = graph.add<K, V, never, never>({ kind: 'sink', name, parents: [node] }, async (_, workshop) => {
        const values = await workshop.open(value, topic);
        return (of, row, run) => {
          const record = { topic, key: of === null ? null : key.encode(of), value: row === undefined ? null : values.encode(row) };
          run.task.emit({ ...record, timestamp: run.timestamp, headers: run.headers });
        };
      });
      graph.sinks.push({ node: made, topic });
    },
  };
  places.set(stream, place as unknown as StreamPlace<never, never>);
  return stream;
}

function streamPlaceOf<K, V>(stream: Stream<K, V>): StreamPlace<K, V> {
  const place = places.get(stream);
  if (place === undefined) throw new SpoolError('INVALID_CONFIG', 'this is no stream of a topology');
  return place;
}
