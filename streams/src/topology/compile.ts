import type { Codec } from '@spool/schemas';
import type { HandlingOptions, TaskContext } from '../engine/handling.js';
import type { StoreSpec } from '../engine/stores.js';
import type { ConsumedRecord } from '../kafka/port.js';
import { inTurn, type Dropped, type Graph, type Node, type Part, type Pending, type Push, type Run, type Workshop } from './graph.js';
import type { Serde, ValueSerde } from './serde.js';

export interface CompileOptions {
  /** Needed where a serde is Avro. */
  readonly codec: Codec | undefined;
  /** The full name of a topic of the topology's own. */
  readonly ownTopic: (name: string) => string;
  readonly changelog: string;
  readonly dropped: Dropped;
}

/** One part of a topology, ready to run in tasks; each task needs its own, as it holds the record under way. */
export interface Compiled extends Required<Pick<HandlingOptions, 'handle' | 'onTimer' | 'onExpired'>> {
  readonly stores: readonly StoreSpec[];
}

export async function compile(graph: Graph, part: Part, options: CompileOptions): Promise<Compiled> {
  const nodes = graph.nodes.filter((node) => node.part.root === part);
  const open = async <T>(serde: ValueSerde<T>, topic: string): Promise<Serde<T>> =>
    'open' in serde ? serde.open(options.codec, topic) : serde;
  // 1. what the nodes ask for
  const looks: ((run: Run) => Pending)[] = [];
  const timers = new Map<string, Parameters<Workshop['onTimer']>[1]>();
  const expiries = new Map<string, Parameters<Workshop['onExpired']>[1]>();
  const workshop: Workshop = {
    open,
    ownTopic: options.ownTopic,
    dropped: options.dropped,
    afterRecord: (look) => looks.push(look),
    onTimer: (name, fire) => timers.set(name, fire),
    onExpired: (store, gone) => expiries.set(store, gone),
  };
  // 2. the nodes, from the last to the first
  const built = new Map<Node, Promise<Push<unknown, unknown>>>();
  const build = (node: Node): Promise<Push<unknown, unknown>> => {
    let push = built.get(node);
    if (push === undefined) {
      push = Promise.all(node.children.map(build)).then((children) => node.build(toAll(children), workshop));
      built.set(node, push);
    }
    return push;
  };
  const sources = new Map<string, (record: ConsumedRecord, run: Run) => Pending>();
  for (const source of graph.sources.filter(({ node }) => node.part.root === part)) {
    const topic = source.repartitions === undefined ? source.topic : options.ownTopic(source.topic);
    const push = await build(source.node);
    const values = await open(source.value, topic);
    sources.set(topic, (record, run) => {
      const key = record.key === null ? null : source.key.decode(record.key);
      if (record.value === null) {
        if (source.nulls === 'delete') return push(key, undefined, run);
        options.dropped.nulls += 1;
        return;
      }
      const value = values.decode(record.value);
      return value instanceof Promise ? value.then((late) => push(key, late, run)) : push(key, value, run);
    });
  }
  const stores: StoreSpec[] = [];
  for (const { name, value, ttlMs } of nodes.flatMap((node) => node.stores)) {
    const { encode, decode } = await open(value, options.changelog);
    stores.push({ name, encode, decode, ...(ttlMs === undefined ? {} : { ttlMs }) });
  }
  // 3. what runs them
  const run: Run = { task: undefined as unknown as TaskContext, record: undefined, timestamp: 0, headers: {} };
  const begin = (task: TaskContext, record: ConsumedRecord | undefined, timestamp: number): Run => {
    run.task = task;
    run.record = record;
    run.timestamp = timestamp;
    run.headers = record?.headers ?? {};
    return run;
  };
  const after = (): Pending => inTurn(looks, (look) => look(run));
  return {
    stores,
    handle(record, task) {
      const pending = sources.get(record.topic)!(record, begin(task, record, record.timestamp));
      if (looks.length === 0) return pending;
      return pending instanceof Promise ? pending.then(after) : after();
    },
    onTimer(timer, task) {
      // As the record that moved stream time, or as the wall clock, has it.
      const at = timer.clock === 'stream' ? task.streamTime : task.now;
      return timers.get(timer.name.slice(0, timer.name.indexOf('/')))?.(timer, begin(task, undefined, at));
    },
    onExpired: (store, key, value, task) => expiries.get(store)?.(key, value, begin(task, undefined, task.now)),
  };
}

function toAll(children: readonly Push<unknown, unknown>[]): Push<unknown, unknown> {
  const [only] = children;
  if (only === undefined) return () => undefined;
  if (children.length === 1) return only;
  return (key, value, run) => inTurn(children, (push) => push(key, value, run));
}
