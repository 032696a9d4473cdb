import type { SpoolError } from '@spool/schemas';
import { toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, Offset, ProducerRecord, RecordPosition, TopicPartition } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import type { Store, StoreCheckpoint, Table } from '../store/store.js';
import { countParked, deadLetter, deadTimer, isParked, isTransient, parkedTable, toTransient } from './parking.js';
import { checkStores, Stores, type StoreSpec } from './stores.js';
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

export interface HandlingOptions {
  readonly consumer: string;
  readonly store: Store;
  /** Tables that are kept in the changelog. @default none */
  readonly stores?: readonly StoreSpec[];
  readonly now: () => number;
  readonly handle: (record: ConsumedRecord, context: TaskContext) => void | Promise<void>;
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
  /** Neither records nor timers did anything. */
  readonly idle: boolean;
}

/** Runs a handler over groups of records, with its tables, timers and parking: the part of a task that knows nothing of Kafka. */
export interface Handling {
  /** For tables of the engine beside the handler's. */
  table<V>(name: string): Table<V>;
  /** @param parkAll the group's records go to the dead letters with this cause. @throws SpoolError `backoff`: nothing has happened, try again */
  run(records: readonly ConsumedRecord[], parkAll?: SpoolError): Promise<Handled>;
  /** Keeps what the last run did. */
  commit(checkpoint: StoreCheckpoint): void;
  /** Forgets what the last run did. */
  discard(): void;
  /** When `run` is due though no record comes, in milliseconds of the wall clock. */
  readonly nextTimer: number | undefined;
}

/** Where a task's stream time stands in its store. */
const taskTable = '$task';
const streamTimeRow = 'streamTime';
export const putStreamTime = (table: <V>(name: string) => Table<V>, at: number): void => table<number>(taskTable).put(streamTimeRow, at);

/** Timers and expired rows in one group, so that a crowd of them does not hold up the records. */
const maxDue = 2000;

/** @param changelog where the changes of declared stores go; without one they are local, as all other tables */
export function handling(options: HandlingOptions, changelog?: TopicPartition): Handling {
  const { store, consumer, onTimer, onExpired } = options;
  const specs = [...(options.stores ?? []), timersSpec];
  checkStores(consumer, specs);
  const staged = stage(store);
  let now = options.now();
  const stores = new Stores(specs, staged, store, () => now);
  const timers = new Timers(staged, store);
  const parked = staged.table<number>(parkedTable);
  const storedStreamTime = (): number => (store.get(taskTable, streamTimeRow) as number | undefined) ?? -1;
  let streamTime = storedStreamTime();
  let outputs: ProducerRecord[] = [];
  let callbacks: ((commit: Commit) => void)[] = [];

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

  /** Does it wholly, or leaves nothing behind and says why. */
  const attempt = (work: () => void | Promise<void>, otherwise: (cause: SpoolError) => void): void | Promise<void> => {
    const [mark, records, waiting, time] = [staged.mark(), outputs.length, callbacks.length, streamTime];
    const failed = (thrown: unknown): void => {
      staged.undo(mark);
      outputs.length = records;
      callbacks.length = waiting;
      streamTime = time;
      if (isTransient(thrown)) throw toTransient(thrown);
      otherwise(toSpoolError(thrown));
    };
    try {
      // A handler may return anything; a promise alone is waited for.
      const pending: unknown = work();
      return pending instanceof Promise ? pending.catch(failed) : undefined;
    } catch (thrown) {
      failed(thrown);
    }
  };
  const park = (record: ConsumedRecord, cause: SpoolError | 'follows'): void => {
    outputs.push(deadLetter(consumer, record, cause, now));
    countParked(parked, record);
  };
  const fire = async (clock: Timer['clock'], at: number): Promise<boolean> => {
    let fired = false;
    for (const deadline of timers.due(clock, at, maxDue)) {
      const timer = timers.take(clock, deadline);
      if (timer === undefined) continue;
      fired = true;
      const pending = attempt(
        () => onTimer?.(timer, context),
        (cause) => outputs.push(deadTimer(consumer, timer, cause, now)),
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
  };
  const discard = (): void => {
    forget();
    staged.discard();
    stores.settle(true);
    timers.settle(true);
    streamTime = storedStreamTime();
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
    for (const record of records) {
      if (parkAll !== undefined) park(record, parkAll);
      else {
        const pending = handleOne(record);
        if (pending !== undefined) await pending;
      }
      if ((timers.next('stream') ?? Number.POSITIVE_INFINITY) <= streamTime && (await fire('stream', streamTime))) fired = true;
    }
    if (streamTime !== before) putStreamTime((name) => staged.table(name), streamTime);
    // 3. what goes with every group
    const idle = records.length === 0 && !fired;
    const covered = idle ? null : (options.beforeCommit?.(context) ?? null);
    if (changelog !== undefined) for (const change of stores.changes(changelog)) outputs.push(change);
    return { outputs, callbacks, covered, streamTime, idle };
  };

  return {
    table: (name) => staged.table(name),
    async run(records, parkAll) {
      try {
        return await run(records, parkAll);
      } catch (error) {
        discard();
        throw error;
      }
    },
    commit(checkpoint) {
      staged.commit(checkpoint);
      stores.settle(false);
      timers.settle(false);
      forget();
    },
    discard,
    get nextTimer() {
      return earliest(timers.next('wall'), stores.nextDeadline);
    },
  };
}

const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
