import { SpoolError, type Codec } from '@spool/schemas';
import type { TaskContext } from '../engine/handling.js';
import type { StoreSpec } from '../engine/stores.js';
import type { Timer } from '../engine/timers.js';
import type { ConsumedRecord } from '../kafka/port.js';
import type { Table as Rows } from '../store/store.js';
import type { Emit, Lookup, Node, Scope, StoreDeclaration } from './graph.js';
import type { Part } from './parts.js';
import { actualTopic } from './plan.js';
import { openSerde } from './serde.js';

/** What was passed over, since the start of the task. */
export interface Dropped {
  /** Records with a null key or value where state needs one. */
  skipped: number;
  /** Records of windows that had closed. */
  late: number;
}

/** The nodes of a part, ready to handle the records of one task. */
export interface OpenPart {
  readonly stores: readonly StoreSpec[];
  readonly handle: (record: ConsumedRecord, context: TaskContext) => void | Promise<void>;
  readonly onTimer: (timer: Timer, context: TaskContext) => void;
  readonly onExpired: (store: string, key: string, value: unknown, context: TaskContext) => void;
}

export interface PartOptions {
  readonly codec: Codec;
  /** Before the names of the topology's own topics. */
  readonly namespace: string;
  readonly changelog: string;
  readonly dropped: Dropped;
}

export async function openPart(part: Part, { codec, namespace, changelog, dropped }: PartOptions): Promise<OpenPart> {
  const sources = new Map<string, ((record: ConsumedRecord) => void | Promise<void>)[]>();
  const lookups = new Map<Node, Lookup>();
  const timers = new Map<string, (timer: Timer) => void>();
  const expired = new Map<string, (row: string, value: Buffer) => void>();
  const forgetters: (() => void)[] = [];
  let context: TaskContext | undefined;
  let current: ConsumedRecord | undefined;

  const scope: Scope = {
    get context() {
      return context!;
    },
    get record() {
      return current;
    },
    open: (serde, topic = changelog) => openSerde(serde, codec, topic),
    topicName: (node) => actualTopic(node, namespace),
    addSource(topic, take) {
      sources.set(topic, [...(sources.get(topic) ?? []), take]);
    },
    rows({ name }) {
      // A task has one table for each name, whatever the group.
      let rows: Rows<Buffer> | undefined;
      return () => (rows ??= context!.table<Buffer>(name));
    },
    addLookup: (node, lookup) => void lookups.set(node, lookup),
    lookup: (table) => lookups.get(table)!,
    onTimer: (node, fire) => void timers.set(node.name, fire),
    onExpired: ({ name }, of) => void expired.set(name, of),
    onForget: (forget) => void forgetters.push(forget),
    timerMoment: (clock) => ({ timestamp: clock === 'wall' ? context!.now : Math.max(0, context!.streamTime), headers: {} }),
    skip() {
      dropped.skipped++;
    },
    late() {
      dropped.late++;
    },
  };

  // Children first, and they come after their parents in the order of declaration.
  const inputs = new Map<Node, readonly Emit[]>();
  for (const node of part.nodes.toReversed()) {
    const children = part.nodes.flatMap((child) =>
      child.parents.flatMap((parent, port) => (parent === node ? [inputs.get(child)![port]!] : [])),
    );
    inputs.set(node, await node.open(scope, toAll(children), node));
  }

  const forget = (): void => {
    for (const each of forgetters) each();
  };
  const within = <T>(of: TaskContext, record: ConsumedRecord | undefined, work: () => T): T => {
    if (context !== of) {
      context = of;
      forget();
    }
    current = record;
    try {
      return work();
    } catch (error) {
      forget();
      throw error;
    }
  };
  const takeAll = async (takers: readonly ((record: ConsumedRecord) => void | Promise<void>)[], record: ConsumedRecord): Promise<void> => {
    for (const take of takers) await take(record);
  };
  return {
    stores: [...new Map(part.nodes.flatMap(({ stores }) => stores).map((store) => [store.name, store])).values()].map(storeSpec),
    handle: (record, of) =>
      within(of, record, () => {
        const takers = sources.get(record.topic);
        if (takers === undefined) throw new SpoolError('INTERNAL', `${part.consumer} does not read ${record.topic}`);
        const pending = takers.length === 1 ? takers[0]!(record) : takeAll(takers, record);
        return pending?.catch((error: unknown) => {
          forget();
          throw error;
        });
      }),
    // One that an earlier version of the code has set may have no node any more.
    onTimer: (timer, of) => within(of, undefined, () => timers.get(timer.name.slice(0, timer.name.indexOf('/')))?.(timer)),
    onExpired: (store, key, value, of) => within(of, undefined, () => expired.get(store)?.(key, value as Buffer)),
  };
}

/** Rows are bytes already; those of the changelog are views of a fetched answer. */
const storeSpec = ({ name, ttlMs }: StoreDeclaration): StoreSpec => ({
  name,
  encode: (row) => row as Buffer,
  decode: (row) => Buffer.from(row),
  ...(ttlMs === undefined ? {} : { ttlMs }),
});

function toAll(children: readonly Emit[]): Emit {
  const [first, second] = children;
  if (first === undefined) return () => undefined;
  if (second === undefined) return first;
  return (key, value, at) => {
    for (const child of children) child(key, value, at);
  };
}
