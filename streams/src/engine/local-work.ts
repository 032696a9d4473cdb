import { toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, Offset, Producer, ProducerRecord } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import { partitionKey, type Store, type StoreCheckpoint, type StoredReplay, type Table } from '../store/store.js';
import { countParked, deadLetter, isParked, isTransient, parkedTable, toTransient } from './parking.js';
import type { Group, Rewind, TaskWork } from './work.js';

export interface LocalContext {
  table<V>(name: string): Table<V>;
  /** Set while the record lies below the target of a replay. */
  readonly replayId: string | undefined;
}

export interface LocalWorkOptions {
  readonly consumer: string;
  readonly store: Store;
  /** Takes what is parked. */
  readonly deadLetters: Producer;
  readonly now: () => number;
  readonly handle: (record: ConsumedRecord, context: LocalContext) => void | Promise<void>;
  /** Called when the group is durable, with the positions it reflects. */
  readonly onCommitted?: (positions: ReadonlyMap<string, Offset>, records: readonly ConsumedRecord[]) => void;
}

/**
 * Work whose effects live in its own store: rows and input position commit together in the store, so each record counts once and no
 * Kafka transaction is needed. Projectors and indexes are made of it.
 */
export function localWork(options: LocalWorkOptions): TaskWork {
  const { store, consumer } = options;
  const staged = stage(store);
  const parked = staged.table<number>(parkedTable);
  const table = <V>(name: string): Table<V> => staged.table<V>(name);

  const handleOne = async (record: ConsumedRecord, context: LocalContext, letters: ProducerRecord[]): Promise<void> => {
    if (isParked(parked, record)) {
      letters.push(deadLetter(consumer, record, 'follows', options.now()));
      countParked(parked, record);
      return;
    }
    const mark = staged.mark();
    try {
      const pending = options.handle(record, context);
      if (pending !== undefined) await pending;
    } catch (thrown) {
      staged.undo(mark);
      if (isTransient(thrown)) throw toTransient(thrown);
      letters.push(deadLetter(consumer, record, toSpoolError(thrown), options.now()));
      countParked(parked, record);
    }
  };

  return {
    positions: store.checkpoint.positions,
    get epoch() {
      return store.checkpoint.epoch;
    },
    get replay() {
      return store.checkpoint.replay;
    },
    async process(group) {
      const { checkpoint } = store;
      const live: LocalContext = { table, replayId: undefined };
      const replaying: LocalContext = { table, replayId: checkpoint.replay?.id };
      const letters: ProducerRecord[] = [];
      try {
        for (const record of group.records) {
          const context = isReplay(checkpoint.replay, record) ? replaying : live;
          await handleOne(record, context, letters);
        }
        // Before the commit: a crash between the two parks twice and loses nothing; the other order would lose.
        if (letters.length > 0) await options.deadLetters.sendAll(letters);
      } catch (error) {
        staged.discard();
        throw error;
      }
      const next = advance(checkpoint, group);
      staged.commit(next);
      options.onCommitted?.(next.positions, group.records);
    },
    rewind(order) {
      const positions = new Map(store.checkpoint.positions);
      const fresh = positions.size === 0;
      if (!fresh) for (const [key, at] of order.starts) positions.set(key, at);
      const next = { positions, epoch: order.epoch, replay: replayOf(order) };
      // An empty store rebuilds from the start anyway: it takes the replay's name and targets, and keeps its place.
      if (order.reset && !fresh) store.clear(next);
      else store.commit(new Map(), next);
    },
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
