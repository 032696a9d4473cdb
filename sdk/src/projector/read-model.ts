import { SpoolError } from '@spool/schemas';
import {
  offset,
  partitionKey,
  type GroupContext,
  type Instance,
  type LocalStore,
  type Offset,
  type StoreCheckpoint,
  type TaskRequest,
  type TopicPartition,
} from '@spool/streams';
import { reached } from '../position/token.js';
import type { PostgresDatabase } from '../postgres/database.js';

/** The read model of a projector, as the projections of this process read it. */
export interface ReadModel {
  /** The position that the rows reflect, as far as this process knows. */
  readonly positions: ReadonlyMap<string, Offset>;
  /** Gives an answer from what is committed, with the position that it reflects at least. */
  read<T>(answer: (tables: never) => T | Promise<T>): Promise<{ readonly positions: ReadonlyMap<string, Offset>; readonly found: T }>;
  /** Resolves when the rows reflect the position. @throws SpoolError EXPIRED at the deadline (milliseconds since the epoch). */
  reach(position: ReadonlyMap<string, Offset>, deadline: number): Promise<void>;
  /** Called after each commit of the rows. @returns forgets the listener */
  onCommit(listener: () => void): () => void;
  /** Resolves when it has come to where the log ends now, of whatever instance the work is. @default when this instance has */
  caughtUp?(signal: AbortSignal): Promise<void>;
  /** Of one that is kept in parts, by who owns which: answers are given from a part. */
  readonly parts?: Parts;
}

/** A read model in parts, one for each partition, each on the instance that owns it. */
export interface Parts {
  /** The part of a partition that is owned here and has come to where the log ended when it was taken over; else undefined. */
  of(partition: number): ReadModel | undefined;
  /** Called with a partition that can be answered from now. @returns forgets the listener */
  onReady(listener: (partition: number) => void): () => void;
}

/** Where a projector keeps its read model. */
export interface ModelHome {
  readonly model: ReadModel;
  /** `all`: each instance has its own. `group`: they share one. */
  readonly assignment: 'all' | 'group';
  /** For a task. @param tables what handlers write to */
  open(task: TaskRequest): Promise<{ readonly store: LocalStore; readonly tables: (context: GroupContext) => unknown }>;
  /** A group is durable. */
  committed(): void;
  /** When the tasks are closed. */
  close?(): Promise<void>;
}

export interface HomeRequest {
  readonly instance: Instance;
  readonly projector: {
    readonly name: string;
    readonly version: number;
    readonly tables: readonly string[];
  };
  /** The topics of its events. */
  readonly sources: readonly string[];
  /** Of this projector, version, context and copy. */
  readonly consumer: string;
  /** Where an empty copy begins, and up to where its records are replayed. @default at the start of the log, and nothing is */
  readonly begins?: StoreCheckpoint;
  /** See `BundleConfig`. */
  readonly postgres: PostgresDatabase | undefined;
}

/** A store that a read model is answered from, and the partitions that it is about. */
export interface StoredPart {
  readonly store: LocalStore;
  readonly partitions: readonly TopicPartition[];
}

/** What is answered from a store. @param part undefined until it is open @param now the clock of deadlines */
export function storeModel(tables: readonly string[], waiting: Waiting, now: () => number, part: () => StoredPart | undefined): ReadModel {
  /** What a group under way has staged is not seen. */
  const views = namedTables(tables, (name) => ({
    get: (key: string) => part()!.store.get(name, key),
    range: (options?: object) => part()!.store.range(name, options),
  }));
  const model: ReadModel = {
    get positions() {
      return part()?.store.checkpoint.positions ?? new Map<string, Offset>();
    },
    async read(answer) {
      // The position is taken first: rows may be newer than it says, never older.
      const { positions } = model;
      return { positions, found: await answer(views as never) };
    },
    reach(position, deadline) {
      const unread = beginnings(part()?.partitions ?? []);
      return waiting.reach(() => new Map([...unread, ...model.positions]), position, deadline - now());
    },
    onCommit: waiting.add,
  };
  return model;
}
const namedTables = (names: readonly string[], table: (name: string) => unknown): unknown =>
  Object.fromEntries(names.map((name) => [name, table(name)]));

/** What handlers write to: the tables of a group, made once for all its records. */
export function groupTables(names: readonly string[]): (context: GroupContext) => unknown {
  let of: GroupContext | undefined;
  let made: unknown;
  return (context) => {
    if (context !== of) [of, made] = [context, namedTables(names, (name) => context.table(name))];
    return made;
  };
}

/** Tables in a store on this instance's disk. */
export function localHome({ instance, projector: { tables, version }, consumer, begins }: HomeRequest): ModelHome {
  let part: StoredPart | undefined;
  const waiting = createWaiting();
  return {
    model: storeModel(tables, waiting, instance.now, () => part),
    assignment: 'all',
    open({ id, partitions }) {
      const store = instance.openStore(consumer, id, String(version));
      if (begins !== undefined && store.checkpoint.positions.size === 0) store.commit(new Map(), begins);
      part = { store, partitions };
      return Promise.resolve({ store, tables: groupTables(tables) });
    },
    committed: waiting.tell,
  };
}

/** Partitions of which nothing has been read: a position in one of them is waited for as well. */
export const beginnings = (partitions: readonly TopicPartition[]): ReadonlyMap<string, Offset> =>
  new Map(partitions.map((at) => [partitionKey(at), offset(0)]));

/** Those who wait for a commit. */
export interface Waiting {
  add(listener: () => void): () => void;
  tell(): void;
  /** @throws SpoolError EXPIRED */
  reach(positions: () => ReadonlyMap<string, Offset>, wanted: ReadonlyMap<string, Offset>, leftMs: number): Promise<void>;
}

export function createWaiting(): Waiting {
  const listeners = new Set<() => void>();
  return {
    add(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell() {
      for (const listener of listeners) listener();
    },
    reach(positions, wanted, leftMs) {
      if (reached(positions(), wanted)) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const end = (settle: () => void): void => {
          clearTimeout(timer);
          listeners.delete(check);
          settle();
        };
        const check = (): void => {
          if (reached(positions(), wanted)) end(resolve);
        };
        const late = (): void => reject(new SpoolError('EXPIRED', 'the read model did not reach the position in time'));
        const timer = setTimeout(() => end(late), Math.max(0, leftMs));
        listeners.add(check);
      });
    },
  };
}
