import { SpoolError } from '@spool/schemas';
import type { TaskContext } from '../engine/handling.js';
import type { Timer } from '../engine/timers.js';
import type { ConsumedRecord } from '../kafka/port.js';
import type { Table as Rows } from '../store/store.js';
import type { AnySerde } from './serde.js';

/** When a record was, and what it carries beside key and value. */
export interface Moment {
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly headers: Readonly<Record<string, Buffer>>;
}

/** Hands a record to the nodes that follow, at once and wholly. */
export type Emit = (key: unknown, value: unknown, at: Moment) => void;

export interface StoreDeclaration {
  readonly name: string;
  readonly ttlMs: number | undefined;
}

/** A topic between two parts of a topology, made and named by it. */
export interface InternalTopic {
  readonly partitions: number | undefined;
}

export interface Node {
  readonly id: number;
  readonly name: string;
  readonly kind: string;
  readonly parents: readonly Node[];
  readonly stores: readonly StoreDeclaration[];
  /** Of a source or a sink; without the namespace for an internal one. */
  readonly topic: string | undefined;
  readonly internal: InternalTopic | undefined;
  /** Keeps state by key: what it reads must be partitioned alike. */
  readonly keyed: boolean;
  /** Called once for each task, after its children: one function for each parent. */
  readonly open: (scope: Scope, out: Emit, node: Node) => readonly Emit[] | Promise<readonly Emit[]>;
}

export interface NodeSpec extends Pick<Node, 'kind' | 'open'> {
  /** @default the kind and the node's place in the declaration */
  readonly name?: string | undefined;
  readonly parents?: readonly Node[];
  readonly stores?: readonly StoreDeclaration[];
  readonly topic?: string;
  readonly internal?: InternalTopic;
  readonly keyed?: boolean;
}

/** What is being declared. */
export interface Graph {
  readonly name: string;
  readonly nodes: readonly Node[];
  add(spec: NodeSpec): Node;
  /** @throws SpoolError INVALID_CONFIG for a name that is taken */
  addStore(name: string, ttlMs?: number): StoreDeclaration;
}

/** A row of a table as a join sees it. */
export interface Known {
  readonly value: unknown;
  readonly timestamp: number;
}
export type Lookup = (key: unknown) => Known | undefined;

/** A row of a table has changed; undefined where there is none. */
export interface Change {
  readonly next: unknown;
  /** Read only by those who need it. */
  readonly old: () => unknown;
}

/** What the nodes of one task have to do with the world. */
export interface Scope {
  /** Of the group under way. */
  readonly context: TaskContext;
  /** The record under way; undefined while a timer fires. */
  readonly record: ConsumedRecord | undefined;
  /** @param topic whose subject an Avro serde registers. @default the changelog */
  open(serde: AnySerde, topic?: string): Promise<AnySerde>;
  topicName(node: Node): string;
  addSource(topic: string, take: (record: ConsumedRecord) => void | Promise<void>): void;
  rows(store: StoreDeclaration): () => Rows<Buffer>;
  addLookup(node: Node, lookup: Lookup): void;
  /** To be called while a record is handled: the table may be opened after who asks for it. */
  lookup(table: Node): Lookup;
  onTimer(node: Node, fire: (timer: Timer) => void): void;
  onExpired(store: StoreDeclaration, expired: (row: string, value: Buffer) => void): void;
  /** Something was undone, or a group begins: what was remembered about staged rows may be wrong. */
  onForget(forget: () => void): void;
  /** When something happens by the clock and not by a record. */
  timerMoment(clock: Timer['clock']): Moment;
  /** A record without what the node needs (a null key or value). */
  skip(): void;
  /** A record of a window that has closed. */
  late(): void;
}

/** Timers of a node are named `<node>/<name>`. */
export const timerName = (node: Node, name: string): string => `${node.name}/${name}`;

const legalName = /^[a-zA-Z0-9._-]{1,100}$/;
/** Names become parts of names of topics, groups and folders. @throws SpoolError INVALID_CONFIG */
function checkName(what: string, name: string): void {
  if (!legalName.test(name) || name === '.' || name === '..') {
    throw new SpoolError('INVALID_CONFIG', `${what} cannot be named '${name}': use letters, digits, '.', '_' and '-', 100 at the most`);
  }
}

export function createGraph(name: string): Graph {
  checkName('a topology', name);
  const nodes: Node[] = [];
  const names = new Set<string>();
  const stores = new Set<string>();
  return {
    name,
    nodes,
    addStore(store, ttlMs) {
      checkName(`a store of ${name}`, store);
      if (stores.has(store))
        throw new SpoolError('INVALID_CONFIG', `${name}: two stores are named ${store}; give one of them another name`);
      stores.add(store);
      return { name: store, ttlMs };
    },
    add(spec) {
      const named = spec.name ?? `${spec.kind}-${nodes.length}`;
      checkName(`a node of ${name}`, named);
      if (names.has(named)) throw new SpoolError('INVALID_CONFIG', `${name}: two nodes are named ${named}; give one of them another name`);
      names.add(named);
      const node: Node = {
        parents: [],
        stores: [],
        topic: undefined,
        internal: undefined,
        keyed: false,
        ...spec,
        id: nodes.length,
        name: named,
      };
      nodes.push(node);
      return node;
    },
  };
}
