import { SpoolError } from '@spool/schemas';
import type { TaskContext } from '../engine/handling.js';
import type { Timer } from '../engine/timers.js';
import type { ConsumedRecord } from '../kafka/port.js';
import type { KeySerde, Serde, ValueSerde } from './serde.js';

/** The record on its way through a topology. One object for each task: what it holds is that of the record under way. */
export interface Run {
  task: TaskContext;
  record: ConsumedRecord | undefined;
  /** Of what is sent on, in milliseconds: the record's own unless a processor says otherwise. */
  timestamp: number;
  headers: Readonly<Record<string, string | Buffer>>;
}
export type Pending = void | Promise<void>;
export type Push<K, V> = (key: K, value: V, run: Run) => Pending;
type AnyPush = Push<unknown, unknown>;

export interface StoreDeclaration {
  readonly name: string;
  readonly value: ValueSerde<unknown>;
  readonly ttlMs?: number;
}

/** What a node may ask for while its part of the topology is made ready to run. */
export interface Workshop {
  /** Ready for use; schemas are registered for the topic. */
  open<T>(serde: ValueSerde<T>, topic: string): Promise<Serde<T>>;
  /** Runs after each record. */
  afterRecord(look: (run: Run) => Pending): void;
  onTimer(name: string, fire: (timer: Timer, run: Run) => Pending): void;
  onExpired(store: string, gone: (key: string, value: unknown, run: Run) => void): void;
  /** The full name of a topic of the topology's own. */
  ownTopic(name: string): string;
  readonly dropped: Dropped;
}
/** Records that a topology passed over, as Kafka Streams does. */
export interface Dropped {
  /** Their windows had closed. */
  late: number;
  /** No key, or no value, where one is needed. */
  nulls: number;
}

export interface Node {
  readonly name: string;
  readonly kind: string;
  readonly children: Node[];
  readonly stores: readonly StoreDeclaration[];
  /** Nodes of one part run in one task. */
  readonly part: Part;
  /** Gives what takes records for this node; `next` takes them for all its children. */
  readonly build: (next: AnyPush, workshop: Workshop) => AnyPush | Promise<AnyPush>;
}

export interface Source {
  readonly topic: string;
  readonly key: KeySerde<unknown>;
  readonly value: ValueSerde<unknown>;
  /** Null values: passed over, or passed on as undefined, as deletions of a table. */
  readonly nulls: 'skip' | 'delete';
  readonly node: Node;
  /** A topic of the topology's own: what it carries comes from there. */
  readonly repartitions: Part | undefined;
}

/** The nodes that are linked other than through a topic; parts that are joined become one. */
export class Part {
  #joined: Part | undefined;
  #joins = false;
  get root(): Part {
    return this.#joined?.root ?? this;
  }
  /** Rows of one topic meet rows of another: equal keys must lie in partitions of the same number. */
  get joins(): boolean {
    return this.root.#joins;
  }
  join(other: Part, joins: boolean): void {
    const [a, b] = [this.root, other.root];
    a.#joins ||= joins || b.#joins;
    if (a !== b) b.#joined = a;
  }
}

export interface NodeOptions {
  readonly kind: string;
  readonly name?: string | undefined;
  readonly parents: readonly Node[];
  readonly stores?: readonly StoreDeclaration[];
  readonly joins?: boolean;
}

/** What a declaration has made so far. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly sources: Source[] = [];
  readonly sinks: { readonly node: Node; readonly topic: string }[] = [];
  readonly #names = new Set<string>();

  constructor(readonly name: string) {}

  add<K, V, K2, V2>(options: NodeOptions, build: (next: Push<K2, V2>, workshop: Workshop) => Push<K, V> | Promise<Push<K, V>>): Node {
    const [first, ...others] = options.parents;
    const part = first?.part ?? new Part();
    for (const parent of others) part.join(parent.part, options.joins === true);
    const name = options.name ?? `${options.kind}-${this.nodes.length}`;
    this.#claim(name);
    const node: Node = {
      name,
      kind: options.kind,
      children: [],
      stores: options.stores ?? [],
      part,
      build: build as unknown as Node['build'],
    };
    for (const parent of options.parents) parent.children.push(node);
    this.nodes.push(node);
    return node;
  }

  addSource(source: Omit<Source, 'node'>, name: string | undefined, kind: string): Node {
    if (this.sources.some(({ topic }) => topic === source.topic)) {
      throw new SpoolError('INVALID_CONFIG', `topology ${this.name} reads ${source.topic} twice: use one stream of it in both places`);
    }
    const node = this.add({ kind, name, parents: [] }, (next) => next);
    this.sources.push({ ...source, node });
    return node;
  }

  /** Names stand in topics and changelogs: a name that is given makes them independent of what is declared before. */
  #claim(name: string): void {
    if (!/^[\w.-]+$/.test(name)) throw new SpoolError('INVALID_CONFIG', `'${name}' cannot be a name: letters, digits, dots, dashes`);
    if (this.#names.has(name)) throw new SpoolError('INVALID_CONFIG', `topology ${this.name} has two nodes named ${name}`);
    this.#names.add(name);
  }
}

/** With another timestamp. */
export function at(run: Run, timestamp: number, work: () => Pending): Pending {
  const before = run.timestamp;
  const done = (): void => {
    run.timestamp = before;
  };
  run.timestamp = timestamp;
  const pending = work();
  if (pending instanceof Promise) return pending.finally(done);
  done();
}

/** One after the other; waits only where there is something to wait for. */
export function inTurn<T>(items: readonly T[], take: (item: T) => Pending, from = 0): Pending {
  for (let index = from; index < items.length; index++) {
    const pending = take(items[index]!);
    if (pending instanceof Promise) return pending.then(() => inTurn(items, take, index + 1));
  }
}
