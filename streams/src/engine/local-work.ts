import type { ConsumedRecord, Kafka, Offset, Producer, TopicPartition } from '../kafka/port.js';
import { partitionKey, splitPartitionKey, type LocalStore, type StoreCheckpoint, type StoredReplay } from '../store/store.js';
import { handling, type HandlingOptions, type TaskContext } from './handling.js';
import { rebuiltMarker, resolutionOf } from './letters.js';
import { beginsAt, deadLetterTopicOf, parkedTable, type Parked } from './parking.js';
import type { StoredFilter } from '../store/stored-filter.js';
import { isPassedOver, storedFilter } from './replay-filter.js';
import { settleLetters, type Batch, type BatchResult } from './settling.js';
import type { Group, Rewind, Seek, Settling, TaskWork } from './work.js';

export interface GroupContext extends Omit<TaskContext, 'emit' | 'committed'> {
  /** The replay of which a record is a part: it lies below the target. */
  replayOf(record: ConsumedRecord): string | undefined;
}
export interface LocalContext extends GroupContext {
  /** Set while the record lies below the target of a replay. */
  readonly replayId: string | undefined;
}

export interface LocalWorkOptions extends Omit<
  HandlingOptions<LocalStore>,
  'handle' | 'handleGroup' | 'onExpired' | 'stores' | 'beforeCommit'
> {
  /** Those of the task: orders move no others. @default all that an order names */
  readonly partitions?: readonly TopicPartition[];
  /** Takes what is parked. */
  readonly deadLetters: Producer;
  /** Reads it back when it is to be handled again. @default what is parked stays parked */
  readonly kafka?: Kafka;
  readonly handle: (record: ConsumedRecord, context: LocalContext) => void | Promise<void>;
  /** See `HandlingOptions`. */
  readonly handleGroup?: (records: readonly ConsumedRecord[], context: GroupContext) => void | Promise<void>;
  /** Called when the group is durable, with the positions it reflects. */
  readonly onCommitted?: (positions: ReadonlyMap<string, Offset>, records: readonly ConsumedRecord[]) => void;
}

/**
 * Work whose effects live in its own store: rows and input position commit together in the store, so each record counts once and no
 * Kafka transaction is needed. Projectors and indexes are made of it.
 */
export function localWork(options: LocalWorkOptions): TaskWork {
  const { store } = options;
  const { handle, handleGroup, ...rest } = options;
  const replayOf = (record: ConsumedRecord): string | undefined => {
    const { replay } = store.checkpoint;
    return isReplay(replay, record) ? replay?.id : undefined;
  };
  let group: TaskContext | undefined;
  let context: LocalContext & { replayId: string | undefined };
  const handled = handling({
    ...rest,
    handle(record, task) {
      if (task !== group) context = Object.assign(Object.create((group = task)) as TaskContext, { replayId: undefined, replayOf });
      context.replayId = replayOf(record);
      return handle(record, context);
    },
    ...(handleGroup === undefined
      ? {}
      : {
          handleGroup: (records: readonly ConsumedRecord[], task: TaskContext) =>
            handleGroup(records, Object.assign(Object.create(task) as TaskContext, { replayOf })),
        }),
  });
  const { kafka, owner } = options;
  /** Of the dead-letter topic: those of the numbers that this store reads. */
  const partitions = (): TopicPartition[] =>
    [...new Set([...store.checkpoint.positions.keys()].map((key) => splitPartitionKey(key).partition))].map((partition) => ({
      topic: deadLetterTopicOf(options),
      partition,
    }));
  /**
   * The markers follow the commit, since they cannot be in it. A crash between the two is harmless: what the row of a lane does not hold any more
   * has been handled, and gets its marker when it is met again.
   */
  const write = async (batch: Batch): Promise<BatchResult> => {
    const rows = handled.table<Parked>(parkedTable);
    const over = new Set(
      batch.letters.filter(({ lane, last, source }) => {
        const row = rows.get(lane);
        return source !== undefined && (row === undefined || last < beginsAt(row));
      }),
    );
    const { result } = await handled.settle({ ...batch, letters: batch.letters.filter((letter) => !over.has(letter)) });
    await handled.commit(store.checkpoint);
    const settled = [...over, ...result.settled];
    const resolution = batch.action === 'retry' ? 'retried' : 'discarded';
    await options.deadLetters.sendAll(settled.map((letter) => resolutionOf(deadLetterTopicOf(options), letter, resolution, options.now())));
    options.onCommitted?.(
      store.checkpoint.positions,
      result.settled.flatMap(({ record }) => record ?? []),
    );
    return { settled, failed: result.failed };
  };
  const finish = async (epoch: bigint): Promise<void> => {
    await store.commit(new Map(), { ...store.checkpoint, epoch });
  };
  const owned = options.partitions === undefined ? undefined : new Set(options.partitions.map(partitionKey));
  const own = (offsets: ReadonlyMap<string, Offset>): ReadonlyMap<string, Offset> =>
    owned === undefined ? offsets : new Map([...offsets].filter(([key]) => owned.has(key)));
  /** An empty store is built from the start anyway: it takes note of the order, and keeps its place. */
  const move = async ({ starts, reset, epoch }: Seek, replay: StoredReplay | undefined): Promise<ReadonlyMap<string, Offset>> => {
    const { checkpoint } = store;
    const moves = checkpoint.positions.size === 0 ? new Map<string, Offset>() : own(starts);
    const positions = new Map([...checkpoint.positions, ...moves]);
    const next = { positions, epoch, replay: replay && ended(replay, positions) };
    const voidLetters = async (): Promise<void> => {
      const numbers = new Set([...store.checkpoint.positions.keys(), ...starts.keys()].map((key) => splitPartitionKey(key).partition));
      const topic = deadLetterTopicOf(options);
      await options.deadLetters.sendAll([...numbers].map((partition) => rebuiltMarker(topic, partition, owner, options.now())));
    };
    // Before the store is emptied: a crash between the two obeys the order again.
    if (reset && store.transaction === undefined && store.count(parkedTable) > 0) await voidLetters();
    if (reset && moves.size > 0) await store.clear(next, { starts, voidLetters });
    else await store.commit(new Map(), next);
    handled.discard();
    // Another task may have emptied it, and this one have come further since.
    return new Map([...moves].map(([key, start]) => [key, store.checkpoint.positions.get(key) ?? start]));
  };
  return {
    positions: store.checkpoint.positions,
    get epoch() {
      return store.checkpoint.epoch;
    },
    get replay() {
      return store.checkpoint.replay;
    },
    get nextTimer() {
      return handled.nextTimer;
    },
    async process(group) {
      const { replay } = store.checkpoint;
      const records = replay?.filter === undefined ? group.records : group.records.filter((record) => !isPassedOver(replay, record));
      const { outputs, begun } = await handled.run(records);
      try {
        // Before the commit: a crash between the two parks twice and loses nothing; the other order would lose.
        if (outputs.length > 0) {
          const places = await options.deadLetters.sendAll(outputs);
          const rows = handled.table<Parked>(parkedTable);
          for (const [lane, index] of begun) rows.put(lane, { ...rows.get(lane)!, from: places[index]!.offset.toString() });
        }
        await handled.commit(advance(store.checkpoint, group, records));
      } catch (error) {
        handled.discard();
        throw error;
      }
      options.onCommitted?.(store.checkpoint.positions, records);
    },
    rewind(order) {
      const { positions, replay } = store.checkpoint;
      const filter = order.filter === undefined || order.reset ? undefined : storedFilter(order.filter, positions, replay);
      return move(order, replayAt({ ...order, starts: own(order.starts), targets: own(order.targets) }, filter));
    },
    // Whoever moves it by hand means every record from there on.
    seek: (order) => move(order, unfiltered(store.checkpoint.replay)),
    ...(kafka === undefined
      ? {}
      : {
          settle: (order: Settling) =>
            settleLetters({ kafka, partitions: partitions(), owner, order, write, finish: () => finish(order.epoch) }),
        }),
    async cancelReplay(replayId) {
      const { replay } = store.checkpoint;
      if (replay?.id !== replayId || replay.state !== 'running') return;
      await store.commit(new Map(), { ...store.checkpoint, replay: { ...replay, state: 'cancelled' } });
    },
    close: () => store.close(),
  };
}

const replayAt = (order: Rewind, filter: StoredFilter | undefined): StoredReplay => ({
  id: order.replayId,
  state: 'running',
  starts: order.starts,
  targets: order.targets,
  startedAt: order.now,
  records: 0,
  ...(filter === undefined ? {} : { filter }),
});
function unfiltered(replay: StoredReplay | undefined): StoredReplay | undefined {
  if (replay === undefined) return undefined;
  const { filter: _, ...rest } = replay;
  return rest;
}

/** One comparison tells a replayed record from a new one. */
function isReplay(replay: StoredReplay | undefined, record: ConsumedRecord): boolean {
  if (replay?.state !== 'running') return false;
  const target = replay.targets.get(partitionKey(record));
  return target !== undefined && record.offset < target;
}

function advance(checkpoint: StoreCheckpoint, group: Group, taken: readonly ConsumedRecord[]): StoreCheckpoint {
  const positions = new Map(checkpoint.positions);
  for (const [key, at] of group.positions) positions.set(key, at);
  const { replay } = checkpoint;
  if (replay?.state !== 'running') return { ...checkpoint, positions };
  const replayed = taken.filter((record) => isReplay(replay, record)).length;
  const skipped = group.records.length - taken.length;
  return {
    ...checkpoint,
    positions,
    replay: ended(
      { ...replay, ...(skipped === 0 ? {} : { skipped: (replay.skipped ?? 0) + skipped }), records: replay.records + replayed },
      positions,
    ),
  };
}

/** Of a log that is empty there is nothing to wait for. */
function ended(replay: StoredReplay, positions: ReadonlyMap<string, Offset>): StoredReplay {
  const done = [...replay.targets].every(([key, target]) => (positions.get(key) ?? 0n) >= target);
  return replay.state === 'running' && done ? { ...replay, state: 'completed' } : replay;
}
