import { SpoolError } from '@spool/schemas';
import { addSource } from './ends.js';
import { createGraph } from './graph.js';
import { rowKeys } from './rows.js';
import { describeParts, describeText, partsOf, type Description, type Part } from './parts.js';
import { nullable, string, untyped, type KeyValue, type Serde } from './serde.js';
import { streamOf, tableOf, tableState } from './stream.js';
import { upsertTable } from './table-nodes.js';
import { stateStores, type StoredState } from './state.js';
import type { NoNames, Queryable, StateStore, StoredTable, StoreOptions, Stream } from './verbs.js';

export interface TableSource<K, V> extends KeyValue<K, V>, StoreOptions {
  /** Of the store. @default the topic's */
  readonly name?: string;
}

/** What a topology is declared with. */
export interface Declare {
  /** The records of a topic. */
  stream<K, V>(topic: string, serdes: KeyValue<K, V>): Stream<K, V>;
  /** A topic read as the last value of each key; null deletes, a null key is skipped. */
  table<K, V>(topic: string, options: TableSource<K, V>): StoredTable<K, V>;
  /** A store for processors. */
  store<V>(name: string, options: { readonly value: Serde<V> } & StoreOptions): StateStore<V>;
}

/** The tables and stores that can be asked from outside, by the names that the declaration gave them. */
export type Queryables = Readonly<Record<string, Queryable<never, unknown>>>;

/** A declared topology: it does not change, and any number of instances can run it. */
export interface Topology<Q> {
  readonly name: string;
  readonly parts: readonly Part[];
  /** Of each name that the declaration returned. */
  readonly queried: ReadonlyMap<string, StoredState>;
  readonly types?: Q;
  describe(): Description;
  /** The description as text. */
  toString(): string;
}

/**
 * Declares a topology. Names of its topics, groups and stores come from the names in it, and from the order of the parts: what has run before keeps
 * its state as long as they stay.
 * @param declare returns the tables and stores that can be asked from outside
 * @throws SpoolError INVALID_CONFIG
 */
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a declaration may return nothing
export function topology<Q extends Queryables = NoNames>(name: string, declare: (define: Declare) => Q | void): Topology<Q> {
  const graph = createGraph(name);
  const returned = declare({
    stream: (topic, { key, value }) => {
      const serdes = { key: untyped(key), value: untyped(value) };
      return streamOf({ graph, node: addSource(graph, topic, serdes), ...serdes, moved: false });
    },
    table<K, V>(topic: string, { key, value, name: store = topic, ...options }: TableSource<K, V>) {
      const node = addSource(graph, topic, { key: untyped(nullable(key)), value: untyped(nullable(value)) }, `${store}.source`);
      const from = { graph, node, key: untyped(key), value: untyped(value), moved: false };
      return tableOf(upsertTable(from, store, options)) as StoredTable<K, V>;
    },
    store: (store, { value, ttlMs }) => {
      const declaration = graph.addStore(store, ttlMs);
      const made = { name: store, kind: 'state' } as const;
      const keys = (): ReturnType<StoredState['keys']> => Promise.resolve(rowKeys(untyped(string)));
      stateStores.set(made, { store: declaration, value: untyped(value), timestamped: false, keys });
      return made;
    },
  });
  const queried = new Map<string, StoredState>();
  for (const [as, of] of Object.entries((returned ?? {}) as Queryables)) {
    const stored = stateStores.get(of) ?? tableState(of)?.stored;
    if (stored === undefined)
      throw new SpoolError('INVALID_CONFIG', `${name}: ${as} stands in no store; call materialize on it to ask it from outside`);
    queried.set(as, stored);
  }
  const parts = partsOf(name, graph.nodes);
  const describe = (): Description => describeParts(name, parts);
  return { name, parts, queried, describe, toString: () => describeText(describe()) };
}
