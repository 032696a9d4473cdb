import { SpoolError } from '@spool/schemas';
import { addRepartition } from './ends.js';
import type { Graph, Node, StoreDeclaration } from './graph.js';
import type { RowKeys } from './rows.js';
import type { AnySerde } from './serde.js';

/** What a stream stands for in the graph. */
export interface StreamState {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: AnySerde | undefined;
  readonly value: AnySerde | undefined;
  /** The key has changed since it was read: equal keys may lie in different partitions. */
  readonly moved: boolean;
}

/** What a table stands for. */
export interface TableState {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: AnySerde | undefined;
  readonly value: AnySerde | undefined;
  readonly stored: StoredState | undefined;
}
/** How its store is read from outside. */
export interface StoredState {
  readonly store: StoreDeclaration;
  readonly value: AnySerde;
  /** Rows of a table begin with a timestamp, those of a processor's store do not. */
  readonly timestamped: boolean;
  /** With opened serdes. */
  readonly keys: (open: (serde: AnySerde) => Promise<AnySerde>) => Promise<RowKeys<unknown>>;
}

/** Stores of processors, by what the declaration has of them. */
export const stateStores = new WeakMap<object, StoredState>();

/** The stream with equal keys in one partition, and with the serdes that a verb needs. @throws SpoolError INVALID_CONFIG when one is not known */
export function settled(state: StreamState, name: string, options: { readonly dropNullKeys?: boolean } = {}): StreamState {
  const key = needed(state, 'key', name);
  if (!state.moved) return state;
  const value = needed(state, 'value', name);
  return { ...state, moved: false, node: addRepartition(state.graph, state.node, name, { key, value }, options) };
}
/** @throws SpoolError INVALID_CONFIG */
export function needed(state: Pick<StreamState, 'graph' | 'node' | 'key' | 'value'>, part: 'key' | 'value', name: string): AnySerde {
  const serde = state[part];
  if (serde !== undefined) return serde;
  throw new SpoolError(
    'INVALID_CONFIG',
    `${state.graph.name}: ${name} needs the serde of the ${part}, since ${state.node.name} may have changed it; name it in the options`,
  );
}
