import type { ConsumedRecord, Kafka, Offset, Producer, TopicPartition } from '../kafka/port.js';
import { partitionKey, splitPartitionKey, type StoreCheckpoint, type StoredReplay } from '../store/store.js';
import { handling, type HandlingOptions, type TaskContext } from './handling.js';
import { rebuiltMarker, resolutionOf } from './letters.js';
import { beginsAt, deadLetterTopicOf, parkedTable, type Parked } from './parking.js';
import { settleLetters, type Batch, type BatchResult } from './settling.js';
import type { Group, Rewind, Seek, Settling, TaskWork } from './work.js';

export interface LocalContext extends Omit<TaskContext, 'emit' | 'committed'> {
  /** Set while the record lies below the target of a replay. */
  readonly replayId: string | undefined;
}

export interface LocalWorkOptions extends Omit<HandlingOptions, 'handle' | 'onExpired' | 'stores' | 'beforeCommit'> {
  /** Takes what is parked. */
  readonly deadLetters: Producer;
  /** Reads it back when it is to be handled again. @default what is parked stays parked */
  readonly kafka?: Kafka;
  readonly handle: (record: ConsumedRecord, context: LocalContext) => void | Promise<void>;
  /** Called when the group is durable, with the positions it reflects. */
  readonly onCommitted?: (positions: ReadonlyMap<string, Offset>, records: readonly ConsumedRecord[]) => void;
}

/**
 * Work whose effects live in its own store: rows and input position commit together in the store, so each record counts once and no
 * Kafka transaction is needed. Projectors and indexes are made of it.
 */
export function localWork(options: LocalWorkOptions): TaskWork {
  const { store } = options;
  let group: TaskContext | undefined;
  let context: LocalContext & { replayId: string | undefined };
  const handled = handling({
    ...options,
    handle(record, task) {
      const { replay } = store.checkpoint;
      if (task !== group) context = Object.assign(Object.create((group = task)) as TaskContext, { replayId: undefined });
      context.replayId = isReplay(replay, record) ? replay?.id : undefined;
      return options.handle(record, context);
    },
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
    handled.commit(store.checkpoint);
    const settled = [...over, ...result.settled];
    const resolution = batch.action === 'retry' ? 'retried' : 'discarded';
    await options.deadLetters.sendAll(settled.map((letter) => resolutionOf(deadLetterTopicOf(options), letter, resolution, options.now())));
    options.onCommitted?.(
      store.checkpoint.positions,
      result.settled.flatMap(({ record }) => record ?? []),
    );
    return { settled, failed: result.failed };
  };
  const finish = (epoch: bigint): Promise<void> => {
    store.commit(new Map(), { ...store.checkpoint, epoch });
    return Promise.resolve();
  };
  /** An empty store is built from the start anyway: it takes note of the order, and keeps its place. */
  const move = async ({ starts, reset, epoch }: Seek, replay: StoredReplay | undefined): Promise<ReadonlyMap<string, Offset>> => {
    const { checkpoint } = store;
    const moves = checkpoint.positions.size === 0 ? new Map<string, Offset>() : starts;
    const next = { positions: new Map([...checkpoint.positions, ...moves]), epoch, replay };
    // Before the store is emptied: a crash between the two obeys the order again.
    if (reset && store.count(parkedTable) > 0) {
      await options.deadLetters.sendAll(partitions().map(({ topic, partition }) => rebuiltMarker(topic, partition, owner, options.now())));
    }
    if (reset && moves.size > 0) store.clear(next);
    else store.commit(new Map(), next);
    handled.discard();
    return moves;
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
      const { outputs, begun } = await handled.run(group.records);
      try {
        // Before the commit: a crash between the two parks twice and loses nothing; the other order would lose.
        if (outputs.length > 0) {
          const places = await options.deadLetters.sendAll(outputs);
          const rows = handled.table<Parked>(parkedTable);
          for (const [lane, index] of begun) rows.put(lane, { ...rows.get(lane)!, from: places[index]!.offset.toString() });
        }
      } catch (error) {
        handled.discard();
        throw error;
      }
      const next = advance(store.checkpoint, group);
      handled.commit(next);
      options.onCommitted?.(next.positions, group.records);
    },
    rewind: (order) => move(order, replayOf(order)),
    seek: (order) => move(order, store.checkpoint.replay),
    ...(kafka === undefined
      ? {}
      : {
          settle: (order: Settling) =>
            settleLetters({ kafka, partitions: partitions(), owner, order, write, finish: () => finish(order.epoch) }),
        }),
    cancelReplay(replayId) {
      const { replay } = store.checkpoint;
      if (replay?.id !== replayId || replay.state !== 'running') return;
      store.commit(new Map(), { ...store.checkpoint, replay: { ...replay, state: 'cancelled' } });
    },
    close: () => store.close(),
  };
}

const replayOf = (order: Rewind): StoredReplay => ({
  id: order.replayId,
  state: 'running',
  starts: order.starts,
  targets: order.targets,
  startedAt: order.now,
  records: 0,
});

/** One comparison tells a replayed record from a new one. */
function isReplay(replay: StoredReplay | undefined, record: ConsumedRecord): boolean {
  if (replay?.state !== 'running') return false;
  const target = replay.targets.get(partitionKey(record));
  return target !== undefined && record.offset < target;
}

function advance(checkpoint: StoreCheckpoint, group: Group): StoreCheckpoint {
  const positions = new Map(checkpoint.positions);
  for (const [key, at] of group.positions) positions.set(key, at);
  const { replay } = checkpoint;
  if (replay?.state !== 'running') return { ...checkpoint, positions };
  const done = [...replay.targets].every(([key, target]) => (positions.get(key) ?? 0n) >= target);
  const replayed = group.records.filter((record) => isReplay(replay, record)).length;
  return { ...checkpoint, positions, replay: { ...replay, records: replay.records + replayed, state: done ? 'completed' : 'running' } };
}
