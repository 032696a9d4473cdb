import type { Timer } from '../engine/timers.js';
import type { RecordPosition } from '../kafka/port.js';
import type { Table as Rows } from '../store/store.js';
import type { Moment } from './graph.js';
import type { Encodes, KeyValue, Serde } from './serde.js';
import type { TimeWindows, Windowed } from './windows.js';

// eslint-disable-next-line @typescript-eslint/no-generated-empty-object-type -- what is meant: no name is a key of it
export type NoNames = Record<never, never>;

/** The serdes of a stream where the declaration cannot know them: after its key or value was changed. */
export type Serdes<K, V> = Partial<KeyValue<K, V>>;
export interface JoinOptions<K, V> extends Serdes<K, V> {
  /** Names the repartition topic, if one is needed. @default the place in the declaration */
  readonly name?: string;
}

type Entry<K, V> = readonly [key: K, value: V];

/**
 * Records of keys and values, one after the other. Functions are given the value first, must be synchronous and must not keep state; what they throw
 * parks the record. Verbs that change the key make the next stateful verb go through a repartition topic.
 */
export interface Stream<K, V> {
  map<K2, V2>(to: (value: V, key: K, at: Moment) => Entry<K2, V2>): Stream<K2, V2>;
  mapValues<V2>(to: (value: V, key: K, at: Moment) => V2, value?: Serde<V2>): Stream<K, V2>;
  filter<V2 extends V>(keep: (value: V, key: K, at: Moment) => value is V2): Stream<K, V2>;
  filter(keep: (value: V, key: K, at: Moment) => boolean): Stream<K, V>;
  flatMap<K2, V2>(to: (value: V, key: K, at: Moment) => Iterable<Entry<K2, V2>>): Stream<K2, V2>;
  flatMapValues<V2>(to: (value: V, key: K, at: Moment) => Iterable<V2>, value?: Serde<V2>): Stream<K, V2>;
  selectKey<K2>(to: (value: V, key: K, at: Moment) => K2): Stream<K2, V>;
  /** Looks and changes nothing. */
  peek(look: (value: V, key: K, at: Moment) => void): Stream<K, V>;
  /** Both, in no certain order. */
  merge(other: Stream<K, V>): Stream<K, V>;
  /** Each record goes to the first branch whose predicate holds, else to `rest`. */
  split<N extends string>(
    branches: Readonly<Record<N, (value: V, key: K, at: Moment) => boolean>>,
  ): Readonly<Record<N | 'rest', Stream<K, V>>>;

  /** Ends in a topic; null is written as a tombstone. */
  to(topic: string, serdes: { readonly key: Encodes<NonNullable<K>>; readonly value: Encodes<NonNullable<V>> }): void;
  /** Through a topic of the topology's own, so that equal keys meet. @param partitions @default as what it is joined with, or as its sources */
  repartition(name: string, serdes: KeyValue<NonNullable<K>, NonNullable<V>> & { readonly partitions?: number }): Stream<K, V>;

  /** Records with a null key or value are skipped by what follows. */
  groupByKey(serdes?: Serdes<NonNullable<K>, NonNullable<V>>): Grouped<NonNullable<K>, NonNullable<V>>;
  groupBy<K2>(
    to: (value: V, key: K, at: Moment) => K2,
    key: Serde<NonNullable<K2>>,
    value?: Serde<NonNullable<V>>,
  ): Grouped<NonNullable<K2>, NonNullable<V>>;
  /** The last value of each key; null deletes, a null key is skipped. */
  toTable(name: string, options?: StoreOptions & Serdes<NonNullable<K>, NonNullable<V>>): StoredTable<NonNullable<K>, NonNullable<V>>;

  /** With the table's row of the same key, when there is one. Null keys and values are skipped. */
  join<V2, R>(
    table: Table<NonNullable<K>, V2>,
    joiner: (value: NonNullable<V>, row: V2, key: NonNullable<K>) => R,
    options?: JoinOptions<NonNullable<K>, NonNullable<V>>,
  ): Stream<NonNullable<K>, R>;
  /** With the row or undefined; a null key has no row, null values are skipped. */
  leftJoin<V2, R>(
    table: Table<NonNullable<K>, V2>,
    joiner: (value: NonNullable<V>, row: V2 | undefined, key: K) => R,
    options?: JoinOptions<NonNullable<K>, NonNullable<V>>,
  ): Stream<K, R>;
  /** Each pair of records with the same key that are near in time. Null keys and values are skipped. */
  joinStream<V2, R>(
    name: string,
    other: Stream<K, V2>,
    window: JoinWindow<K, V, V2>,
    joiner: (value: NonNullable<V>, other: NonNullable<V2>, key: NonNullable<K>) => R,
  ): Stream<NonNullable<K>, R>;
  /** Also each record of this stream that found no partner, when its window has closed. */
  leftJoinStream<V2, R>(
    name: string,
    other: Stream<K, V2>,
    window: JoinWindow<K, V, V2>,
    joiner: (value: NonNullable<V>, other: NonNullable<V2> | undefined, key: NonNullable<K>) => R,
  ): Stream<NonNullable<K>, R>;

  /** A handler with stores and timers. */
  process<K2 = never, V2 = never, S extends Stores = NoNames>(name: string, spec: ProcessorSpec<K, V, K2, V2, S>): Stream<K2, V2>;
}

export interface StoreOptions {
  /** A row goes, and a tombstone follows, this many milliseconds of the wall clock after it was last written. @default for ever */
  readonly ttlMs?: number;
}

declare const queried: unique symbol;
/** What can be asked from outside: it stands in a store. */
export interface Queryable<K, V> {
  readonly [queried]?: (key: K) => V;
  /** Of its store. */
  readonly name: string;
}

/** The last value of each key. An update carries the row before and after it, so that what is derived can be mended. */
export interface Table<K, V> {
  filter(keep: (value: V, key: K) => boolean): Table<K, V>;
  mapValues<V2>(to: (value: V, key: K) => V2, value?: Serde<V2>): Table<K, V2>;
  /** Each update; null where the row has gone. */
  toStream(): Stream<K, V | null>;
  /** The table in a store of its own, which can be asked from outside. */
  materialize(name: string, value: Serde<V>): StoredTable<K, V>;
  /** By another key, through a topic of the topology's own. */
  groupBy<K2, V2>(to: (value: V, key: K) => readonly [key: K2, value: V2], serdes: KeyValue<K2, V2>): GroupedTable<K2, V2>;
  /** A row where both have one; it follows the updates of either. */
  join<V2, R>(other: Table<K, V2>, joiner: (value: V, other: V2, key: K) => R): Table<K, R>;
  leftJoin<V2, R>(other: Table<K, V2>, joiner: (value: V, other: V2 | undefined, key: K) => R): Table<K, R>;
  outerJoin<V2, R>(other: Table<K, V2>, joiner: (value: V | undefined, other: V2 | undefined, key: K) => R): Table<K, R>;
}
export type KeyOf<Q> = Q extends Queryable<infer K, unknown> ? K : never;
export type ValueOf<Q> = Q extends Queryable<never, infer V> ? V : never;
export interface StoredTable<K, V> extends Table<K, V>, Queryable<K, V> {}

export interface Aggregation<K, V, A> {
  readonly initial: (key: K) => A;
  /** Gives the new aggregate; undefined deletes the row. */
  readonly add: (aggregate: A, value: V, key: K) => A | undefined;
  readonly value: Serde<A>;
}

/** Records by key; those with a null key or value are skipped. */
export interface Grouped<K, V> {
  count(name: string, options?: StoreOptions): StoredTable<K, number>;
  /** The first value stands for itself; undefined deletes the row. */
  reduce(name: string, add: (aggregate: V, value: V, key: K) => V | undefined, options?: StoreOptions): StoredTable<K, V>;
  aggregate<A>(name: string, aggregation: Aggregation<K, V, A> & StoreOptions): StoredTable<K, A>;
  /** Aggregates by windows of record time. A window closes when stream time reaches its end and its grace; what comes later is dropped and counted. */
  windowedBy(windows: TimeWindows, options?: WindowOptions): WindowedGrouped<K, V>;
}

export interface WindowOptions {
  /** `updates`: each one. `final`: one result of each window, when it closes. @default 'updates' */
  readonly emit?: 'updates' | 'final';
  /** How long a closed window can still be read, in milliseconds of stream time. @default 0 */
  readonly keepMs?: number;
}

export interface WindowedGrouped<K, V> {
  count(name: string): StoredTable<Windowed<K>, number>;
  reduce(name: string, add: (aggregate: V, value: V, key: K) => V | undefined): StoredTable<Windowed<K>, V>;
  aggregate<A>(name: string, aggregation: Aggregation<K, V, A>): StoredTable<Windowed<K>, A>;
}

/** Rows of a table by another key: an update takes the old value back and adds the new one. */
export interface GroupedTable<K, V> {
  count(name: string, options?: StoreOptions): StoredTable<K, number>;
  reduce(
    name: string,
    add: (aggregate: V, value: V, key: K) => V | undefined,
    subtract: (aggregate: V, value: V, key: K) => V | undefined,
    options?: StoreOptions,
  ): StoredTable<K, V>;
  aggregate<A>(
    name: string,
    aggregation: Aggregation<K, V, A> & StoreOptions & { readonly subtract: (aggregate: A, value: V, key: K) => A | undefined },
  ): StoredTable<K, A>;
}

/** How far apart two records may be, by their timestamps, in milliseconds; both ends count. */
export interface JoinWindow<K, V, V2> {
  /** The other record is earlier by this at the most. */
  readonly beforeMs: number;
  /** The other record is later by this at the most. */
  readonly afterMs: number;
  /** How long after that late records are still joined, in milliseconds of stream time. */
  readonly graceMs: number;
  /** Needed where the declaration does not know it. */
  readonly key?: Serde<NonNullable<K>>;
  readonly value?: Serde<NonNullable<V>>;
  readonly otherValue?: Serde<NonNullable<V2>>;
}

/** A store of processors, with keys of text; several may share it, and are then one part of the topology. */
export type StateStore<V> = Queryable<string, V> & { readonly kind: 'state' };
export type Stores = Readonly<Record<string, StateStore<unknown>>>;

export interface ProcessedRecord<K, V> extends Moment {
  readonly key: K;
  readonly value: V;
  /** Of the record of the source that led to this one. */
  readonly position: RecordPosition;
}

export interface ProcessContext<S, K, V> {
  /** A store that was declared for this processor. */
  store<N extends keyof S & string>(name: N): Rows<ValueOf<S[N]>>;
  /** @param at @default the timestamp and headers of the record under way, or the time of the timer */
  forward(key: K, value: V, at?: Partial<Moment>): void;
  /** One timer for each name and key: a new time replaces the one before. Survives restarts. */
  schedule(timer: Timer): void;
  cancel(name: string, key: string): void;
  /** The highest timestamp that the task has seen, in milliseconds. */
  readonly streamTime: number;
  /** The wall clock of the group under way, in milliseconds. */
  readonly now: number;
}

export interface ProcessorSpec<K, V, K2, V2, S> {
  readonly stores?: S;
  /** What `forward` takes; without it nothing can be forwarded. @param sameKey records keep the key that they came with */
  readonly output?: KeyValue<K2, V2> & { readonly sameKey?: true };
  readonly handle: (record: ProcessedRecord<K, V>, context: ProcessContext<S, K2, V2>) => void;
  readonly onTimer?: (timer: Timer, context: ProcessContext<S, K2, V2>) => void;
}
