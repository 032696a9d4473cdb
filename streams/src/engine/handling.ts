import type { SpoolError } from '@spool/schemas';
import { toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, Offset, ProducerRecord, RecordPosition, TopicPartition } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import type { GroupTransaction, LocalStore, Store, StoreCheckpoint, Table } from '../store/store.js';
import type { Letter } from './letters.js';
import {
  deadLetter,
  deadTimer,
  isParked,
  isTransient,
  laneOf,
  notePark,
  parkedSpec,
  parkedTable,
  toTransient,
  type Parked,
  type ParkingOptions,
} from './parking.js';
import type { Batch, BatchResult } from './settling.js';
import { checkStores, Stores, type StoreSpec } from './stores.js';
import { putStreamTime, storedStreamTime } from './stream-time.js';
import { Timers, timersSpec, type Timer } from './timers.js';

/** What a handler works with. Everything it does belongs to the group of records under way: all of it happens, or nothing. */
export interface TaskContext {
  /** Declared stores are kept in the changelog too; any other table is local. */
  table<V>(name: string): Table<V>;
  /** Adds a record to the group's output; gives its index among the positions that `committed` gets. */
  emit(record: ProducerRecord): number;
  /** Runs when the group is durable, before the next group. */
  committed(callback: (commit: Commit) => void): void;
  /** The highest record timestamp that the task has seen, this record's among them, in milliseconds; -1 before the first. Survives restarts. */
  readonly streamTime: number;
  /** The wall clock as the group began, in milliseconds. */
  readonly now: number;
  /** Replaces the timer of the same name and key. */
  schedule(timer: Timer): void;
  cancel(name: string, key: string): void;
}
export interface Commit {
  readonly positions: readonly RecordPosition[];
  /** Microseconds that the transaction took. */
  readonly tookUs: number;
}

export interface HandlingOptions<S extends LocalStore = Store> extends ParkingOptions {
  readonly store: S;
  /** Tables that are kept in the changelog. @default none */
  readonly stores?: readonly StoreSpec[];
  readonly now: () => number;
  readonly handle: (record: ConsumedRecord, context: TaskContext) => void | Promise<void>;
  /** Takes what `handle` would take one by one. If it fails for good, the records go to `handle` after all, so that the one to blame is found. */
  readonly handleGroup?: (records: readonly ConsumedRecord[], context: TaskContext) => void | Promise<void>;
  /** Timers of the wall clock fire at the head of a group, those of stream time after the record that moved it. */
  readonly onTimer?: (timer: Timer, context: TaskContext) => void | Promise<void>;
  /** A row of a store with a TTL has gone. */
  readonly onExpired?: (store: string, key: string, value: unknown, context: TaskContext) => void;
  /** Last in the group: emits what is due (snapshots, tombstones) and says what is covered. */
  readonly beforeCommit?: (context: TaskContext) => Offset | null;
}

/** What handling a group has made; nothing of it is durable yet. */
export interface Handled {
  readonly outputs: ProducerRecord[];
  readonly callbacks: readonly ((commit: Commit) => void)[];
  readonly covered: Offset | null;
  readonly streamTime: number;
  /** Lanes that were parked with it, and which of the outputs is their first letter. */
  readonly begun: ReadonlyMap<string, number>;
  /** Neither records nor timers did anything. */
  readonly idle: boolean;
}

/** Runs a handler over groups of records, with its tables, timers and parking: the part of a task that knows nothing of Kafka. */
export interface Handling<C extends void | Promise<void> = void> {
  /** For tables of the engine beside the handler's. */
  table<V>(name: string): Table<V>;
  /** @param parkAll the group's records go to the dead letters with this cause. @throws SpoolError `backoff`: nothing has happened, try again */
  run(records: readonly ConsumedRecord[], parkAll?: SpoolError): Promise<Handled>;
  /** As `run`, for parked records: a lane goes on to its first failure. Markers are the caller's. @throws as `run` */
  settle(batch: Batch): Promise<{ readonly made: Handled; readonly result: BatchResult }>;
  /**
   * Deletes rows of the handler's tables, timers among them, and forgets stream time. As durable as a run: with `commit`. A big store
   * takes several. @returns what goes to the changelog, and whether this was the last of it
   */
  clear(): { readonly outputs: ProducerRecord[]; readonly last: boolean };
  /** Keeps what the last run did. */
  commit(checkpoint: StoreCheckpoint): C;
  /** Forgets what the last run did. */
  discard(): void;
  /** When `run` is due though no record comes, in milliseconds of the wall clock. */
  readonly nextTimer: number | undefined;
}

/** Asks for the group to be handled again, with a savepoint for each record. */
class Again extends Error {}

/** Timers and expired rows in one group, so that a crowd of them does not hold up the records. */
const maxDue = 2000;
/** Rows that go in one transaction when a store is emptied. */
const maxCleared = 10_000;

/** @param changelog where the changes of declared stores go; without one they are local, as all other tables */
export function handling(options: HandlingOptions, changelog?: TopicPartition): Handling;
export function handling(options: HandlingOptions<LocalStore>, changelog?: TopicPartition): Handling<void | Promise<void>>;
export function handling(options: HandlingOptions<LocalStore>, changelog?: TopicPartition): Handling<void | Promise<void>> {
  const { store, consumer, onTimer, onExpired, handleGroup } = options;
  const { transaction } = store;
  const specs = [...(options.stores ?? []), timersSpec, parkedSpec];
  checkStores(consumer, specs);
  const staged = stage(store);
  let now = options.now();
  const stores = new Stores(specs, staged, store, () => now);
  const timers = new Timers(staged, store);
  const parked = staged.table<Parked>(parkedTable);
  let streamTime = storedStreamTime(store);
  let outputs: ProducerRecord[] = [];
  let callbacks: ((commit: Commit) => void)[] = [];
  let begun = new Map<string, number>();

  const shared: TaskContext = {
    table: (name) => stores.table(name),
    emit: (record) => outputs.push(record) - 1,
    committed: (callback) => void callbacks.push(callback),
    get streamTime() {
      return streamTime;
    },
    get now() {
      return now;
    },
    schedule: (timer) => timers.schedule(timer),
    cancel: (name, key) => timers.cancel(name, key),
  };

  /** One for each group, so that a handler can tell groups apart. */
  let context = shared;

  /**
   * In a transaction of a database: a savepoint for each record costs a round trip each, so a group goes without them, and when a record
   * fails it is done again with them.
   */
  let careful = false;
  const inTransaction = async ({ savepoint, undo }: GroupTransaction, work: () => void | Promise<void>): Promise<void> => {
    if (careful) await savepoint();
    try {
      await work();
      if (transaction?.failure !== undefined) throw transaction.failure;
    } catch (thrown) {
      if (isTransient(thrown)) throw toTransient(thrown);
      if (!careful) throw new Again();
      await undo();
      throw thrown;
    }
  };

  /** Does it wholly, or leaves nothing behind and says why. */
  const attempt = (work: () => void | Promise<void>, otherwise: (cause: SpoolError) => void): void | Promise<void> => {
    const [mark, records, waiting, time] = [staged.mark(), outputs.length, callbacks.length, streamTime];
    const failed = (thrown: unknown): void => {
      if (thrown instanceof Again) throw thrown;
      staged.undo(mark);
      outputs.length = records;
      callbacks.length = waiting;
      streamTime = time;
      if (isTransient(thrown)) throw toTransient(thrown);
      otherwise(toSpoolError(thrown));
    };
    try {
      // A handler may return anything; a promise alone is waited for.
      const pending: unknown = transaction === undefined ? work() : inTransaction(transaction, work);
      return pending instanceof Promise ? pending.catch(failed) : undefined;
    } catch (thrown) {
      failed(thrown);
    }
  };
  const park = (record: ConsumedRecord, cause: SpoolError | 'follows'): void => {
    const noted = notePark(parked, record);
    if (noted === 'again') return;
    if (noted === 'first') begun.set(laneOf(record), outputs.length);
    outputs.push(deadLetter(options, record, cause, now));
  };
  const fire = async (clock: Timer['clock'], at: number): Promise<boolean> => {
    let fired = false;
    for (const deadline of timers.due(clock, at, maxDue)) {
      const timer = timers.take(clock, deadline);
      if (timer === undefined) continue;
      fired = true;
      const pending = attempt(
        () => onTimer?.(timer, context),
        (cause) => outputs.push(deadTimer(options, changelog?.partition, timer, cause, now)),
      );
      if (pending !== undefined) await pending;
    }
    return fired;
  };
  const handleOne = (record: ConsumedRecord): void | Promise<void> => {
    if (isParked(parked, record)) return park(record, 'follows');
    return attempt(
      () => {
        if (record.timestamp > streamTime) streamTime = record.timestamp;
        return options.handle(record, context);
      },
      (cause) => park(record, cause),
    );
  };
  const forget = (): void => {
    outputs = [];
    callbacks = [];
    begun = new Map();
  };
  const discard = (): void => {
    transaction?.rollback();
    forget();
    staged.discard();
    stores.settle(true);
    timers.settle(true);
    streamTime = storedStreamTime(store);
  };

  const run = async (records: readonly ConsumedRecord[], parkAll?: SpoolError): Promise<Handled> => {
    forget();
    context = Object.create(shared) as TaskContext;
    now = options.now();
    // 1. what the clock has brought
    let fired = await fire('wall', now);
    stores.expire(now, maxDue, (name, key, value) => {
      fired = true;
      onExpired?.(name, key, value, context);
    });
    // 2. the records, and what stream time brings with each
    const before = streamTime;
    const done = parkAll === undefined && handleGroup !== undefined && !careful && (await together(records, handleGroup));
    for (const record of done ? [] : records) {
      if (parkAll !== undefined) park(record, parkAll);
      else {
        const pending = handleOne(record);
        if (pending !== undefined) await pending;
      }
      if ((timers.next('stream') ?? Number.POSITIVE_INFINITY) <= streamTime && (await fire('stream', streamTime))) fired = true;
    }
    if (done && (await fire('stream', streamTime))) fired = true;
    return finish(before, records.length === 0 && !fired);
  };
  /** @returns false when one of them is to blame, which is found one by one */
  const together = async (records: readonly ConsumedRecord[], handle: NonNullable<typeof handleGroup>): Promise<boolean> => {
    if (records.length === 0 || records.some((record) => isParked(parked, record))) return false;
    let passed = true;
    await attempt(
      () => {
        for (const { timestamp } of records) if (timestamp > streamTime) streamTime = timestamp;
        return handle(records, context);
      },
      () => (passed = false),
    );
    return passed;
  };
  /** What goes with every group. */
  const finish = (before: number, idle: boolean): Handled => {
    if (streamTime !== before) putStreamTime((name) => staged.table(name), streamTime);
    if (idle) {
      // What was due had moved or gone: it is not due again.
      stores.settle(false);
      timers.settle(false);
    }
    const covered = idle ? null : (options.beforeCommit?.(context) ?? null);
    if (changelog !== undefined) for (const change of stores.changes(changelog)) outputs.push(change);
    return { outputs, callbacks, covered, streamTime, begun, idle };
  };

  const again = ({ record, timer }: Letter): void | Promise<void> => {
    if (timer !== undefined) return onTimer?.(timer, context);
    if (record!.timestamp > streamTime) streamTime = record!.timestamp;
    return options.handle(record!, context);
  };
  const settle = async ({ letters, action, left }: Batch): Promise<{ made: Handled; result: BatchResult }> => {
    forget();
    context = Object.create(shared) as TaskContext;
    now = options.now();
    const before = streamTime;
    const failed = new Map<string, SpoolError>();
    const settled: Letter[] = [];
    const remain = new Map(left);
    for (const letter of letters) {
      const { lane } = letter;
      if (!failed.has(lane) && action === 'retry') {
        const pending = attempt(
          () => again(letter),
          (cause) => failed.set(lane, cause),
        );
        if (pending !== undefined) await pending;
      }
      if (failed.has(lane)) remain.set(lane, (remain.get(lane) ?? 0) + 1);
      else settled.push(letter);
    }
    if ((timers.next('stream') ?? Number.POSITIVE_INFINITY) <= streamTime) await fire('stream', streamTime);
    for (const { lane, last } of settled) {
      const row = parked.get(lane);
      if (row === undefined) continue;
      const count = remain.get(lane) ?? 0;
      // What is discarded out of the middle leaves those before it where they are.
      if (count > 0) parked.put(lane, action === 'retry' ? { ...row, count, from: String(last + 1n) } : { ...row, count });
      else parked.delete(lane);
    }
    return { made: finish(before, false), result: { settled, failed } };
  };
  /** What fails for the moment leaves nothing behind. */
  const orNothing = async <T>(work: () => Promise<T>, cautious: boolean): Promise<T> => {
    careful = cautious;
    try {
      await transaction?.begin();
      return await work();
    } catch (error) {
      discard();
      if (error instanceof Again) return orNothing(work, true);
      throw error;
    }
  };

  return {
    table: (name) => staged.table(name),
    clear() {
      forget();
      const last = stores.clear(maxCleared) < maxCleared;
      streamTime = -1;
      putStreamTime((name) => staged.table(name), streamTime);
      return { outputs: changelog === undefined ? [] : stores.changes(changelog), last };
    },
    run: (records, parkAll) => orNothing(() => run(records, parkAll), false),
    settle: (batch) => orNothing(() => settle(batch), true),
    commit(checkpoint) {
      const kept = (): void => {
        stores.settle(false);
        timers.settle(false);
        forget();
      };
      const pending = staged.commit(checkpoint);
      if (pending === undefined) kept();
      return pending?.then(kept);
    },
    discard,
    get nextTimer() {
      return earliest(timers.next('wall'), stores.nextDeadline);
    },
  };
}

const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
