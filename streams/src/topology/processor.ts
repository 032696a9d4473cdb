import type { Timer } from '../engine/timers.js';
import type { Table } from '../store/store.js';
import { at, type Graph, type Node, type Pending, type Push, type Run } from './graph.js';
import type { KeySerde, ValueSerde } from './serde.js';

/** A table of a processor, kept in the changelog of its task. */
export interface StoreOptions<K, V> {
  readonly key: KeySerde<K>;
  readonly value: ValueSerde<V>;
  /** A row goes so long after it was last written, in milliseconds of the wall clock. @default for ever */
  readonly ttlMs?: number;
}
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each store has types of its own; unknown would refuse them all
export type Stores = Readonly<Record<string, StoreOptions<any, any>>>;

export type NoStores = Readonly<Record<string, never>>;

/** Reads and writes rows; keys in the order of their text. */
export interface StateStore<K, V> {
  get(key: K): V | undefined;
  put(key: K, value: V): void;
  delete(key: K): void;
  /** `from` inclusive, `to` exclusive. */
  range(bounds?: { readonly from?: K; readonly to?: K; readonly limit?: number; readonly reverse?: boolean }): Iterable<readonly [K, V]>;
}
type StateStores<S extends Stores> = { readonly [N in keyof S]: S[N] extends StoreOptions<infer K, infer V> ? StateStore<K, V> : never };

export interface ProcessorContext<K2, V2, S extends Stores> {
  readonly stores: StateStores<S>;
  /** Sends a record on. @param timestamp milliseconds @default that of the record or timer under way */
  forward(key: K2, value: V2, timestamp?: number): void;
  /** Replaces the timer of the same name and key. `wall` time passes by itself, `stream` time with the records. */
  schedule(timer: Timer): void;
  cancel(name: string, key: string): void;
  readonly streamTime: number;
  /** The wall clock at the head of the group, milliseconds. */
  readonly now: number;
  readonly timestamp: number;
  readonly headers: Readonly<Record<string, string | Buffer>>;
  /** Where the record under way stands; undefined for a timer. */
  readonly position: { readonly topic: string; readonly partition: number; readonly offset: bigint } | undefined;
}

export interface Processor<K, V, K2, V2, S extends Stores> {
  /** Also the first part of its timers' names. */
  readonly name: string;
  readonly stores?: S;
  /** How what is sent on is written, where a later verb or topic needs it; it also gives the types of what may be sent. */
  readonly key?: KeySerde<K2>;
  readonly value?: ValueSerde<V2>;
  /** Says that records are sent on under the key that they came with: those that follow need not go through a topic. @default false */
  readonly keepsKey?: boolean;
  handle(key: K, value: V, context: ProcessorContext<K2, V2, S>): Pending;
  onTimer?(timer: Timer, context: ProcessorContext<K2, V2, S>): Pending;
  /** A row of a store with a TTL has gone. */
  onExpired?(store: keyof S & string, key: string, value: unknown, context: ProcessorContext<K2, V2, S>): void;
}

export function processing<K, V, K2, V2, S extends Stores>(graph: Graph, parent: Node, processor: Processor<K, V, K2, V2, S>): Node {
  const { name } = processor;
  const declared = Object.entries(processor.stores ?? {}) as [string, StoreOptions<unknown, unknown>][];
  const stores = declared.map(([of, { value, ttlMs }]) => ({ name: of, value, ...(ttlMs === undefined ? {} : { ttlMs }) }));
  return graph.add<K, V, K2, V2>({ kind: 'process', name, parents: [parent], stores }, (next, workshop) => {
    const work = contextOf<K2, V2, S>(name, declared, next);
    if (processor.onTimer !== undefined) {
      workshop.onTimer(name, (timer, run) =>
        work(run, (context) => processor.onTimer!({ ...timer, name: timer.name.slice(name.length + 1) }, context)),
      );
    }
    for (const [of] of declared) {
      workshop.onExpired(of, (key, value, run) => void work(run, (context) => processor.onExpired?.(of, key, value, context)));
    }
    return (key, value, run) => work(run, (context) => processor.handle(key, value, context));
  });
}

/** Gives the processor its context, and ends when what it has forwarded has been handled. */
function contextOf<K2, V2, S extends Stores>(
  name: string,
  declared: readonly [string, StoreOptions<unknown, unknown>][],
  next: Push<K2, V2>,
) {
  let run!: Run;
  let forwarded: Pending;
  const stores = Object.fromEntries(declared.map(([of, { key }]) => [of, stateStore(() => run.task.table<unknown>(of), key)]));
  const context: ProcessorContext<K2, V2, S> = {
    stores: stores as StateStores<S>,
    forward(key, value, timestamp = run.timestamp) {
      const send = (): Pending => at(run, timestamp, () => next(key, value, run));
      forwarded = forwarded instanceof Promise ? forwarded.then(send) : send();
    },
    schedule: (timer) => run.task.schedule({ ...timer, name: `${name}/${timer.name}` }),
    cancel: (timer, key) => run.task.cancel(`${name}/${timer}`, key),
    get streamTime() {
      return run.task.streamTime;
    },
    get now() {
      return run.task.now;
    },
    get timestamp() {
      return run.timestamp;
    },
    get headers() {
      return run.headers;
    },
    get position() {
      return run.record;
    },
  };
  return (of: Run, handle: (context: ProcessorContext<K2, V2, S>) => Pending): Pending => {
    run = of;
    forwarded = undefined;
    const pending = handle(context);
    return pending instanceof Promise ? pending.then(() => forwarded) : forwarded;
  };
}

export function stateStore<K, V>(table: () => Table<V>, key: KeySerde<K>): StateStore<K, V> {
  return {
    get: (of) => table().get(key.toText(of)),
    put: (of, value) => table().put(key.toText(of), value),
    delete: (of) => table().delete(key.toText(of)),
    *range({ from, to, ...rest } = {}) {
      const bounds = {
        ...rest,
        ...(from === undefined ? {} : { from: key.toText(from) }),
        ...(to === undefined ? {} : { to: key.toText(to) }),
      };
      for (const [text, value] of table().range(bounds)) yield [key.fromText(text), value] as const;
    },
  };
}
