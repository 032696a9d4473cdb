import type { ConsumedRecord, Offset, Producer } from '../kafka/port.js';
import { partitionKey, type StoreCheckpoint, type StoredReplay } from '../store/store.js';
import { handling, type HandlingOptions, type TaskContext } from './handling.js';
import type { Group, Rewind, TaskWork } from './work.js';

export interface LocalContext extends Omit<TaskContext, 'emit' | 'committed'> {
  /** Set while the record lies below the target of a replay. */
  readonly replayId: string | undefined;
}

export interface LocalWorkOptions extends Omit<HandlingOptions, 'handle' | 'onExpired' | 'stores' | 'beforeCommit'> {
  /** Takes what is parked. */
  readonly deadLetters: Producer;
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
      const { outputs } = await handled.run(group.records);
      try {
        // Before the commit: a crash between the two parks twice and loses nothing; the other order would lose.
        if (outputs.length > 0) await options.deadLetters.sendAll(outputs);
      } catch (error) {
        handled.discard();
        throw error;
      }
      const next = advance(store.checkpoint, group);
      handled.commit(next);
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
      handled.discard();
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
