import { setMaxListeners } from 'node:events';
import { toSpoolError, type SpoolError } from '@spool/schemas';
import type { ConsumedRecord } from '../kafka/port.js';
import type { TaskContext } from './handling.js';
import { Lanes } from './lanes.js';
import { isTransient, laneOf, parkedTable, toTransient } from './parking.js';
import { backOffMs, pause } from './retry.js';
import { transactionalWork, type TransactionalWorkOptions } from './transactional-work.js';
import type { Seek, Settling, TaskWork } from './work.js';

/** Writes down what came of a record: events, outcomes, rows. It belongs to a transaction; it does no I/O and may run again. */
export type Effect = (context: TaskContext) => void;

export interface EffectsWorkOptions extends Omit<TransactionalWorkOptions, 'handle' | 'onTimer' | 'outOfOrder'> {
  /**
   * Acts on the outside world, in no transaction: for different keys side by side, and for those of one key only when what came of the one before is
   * committed. What it throws for the moment is tried again while other keys go on; what it throws for good parks the record.
   * @param signal fires when the task is to end, or may lose its partition, and the time to finish by itself is over
   */
  readonly act: (record: ConsumedRecord, signal: AbortSignal) => Effect | Promise<Effect>;
  /** Told of a record that is parked behind an earlier one of its key, and not acted on. */
  readonly onFollows?: (record: ConsumedRecord) => void;
  /** Handlers that run at the same time. */
  readonly concurrency: number;
  /** Records of one class taken and not committed. After a crash as many may be given again. @default 1000 */
  readonly maxInFlight?: number;
  /** How long a rebalance or the end waits for handlers that run; their signal fires after three quarters of it. Milliseconds. @default 4000 */
  readonly drainMs?: number;
  /** The share of each class of topics, the most urgent first, and the class of each. @default one class */
  readonly classes?: { readonly shares: readonly number[]; readonly of: (topic: string) => number };
}

interface Finished {
  readonly record: ConsumedRecord;
  readonly done: () => void;
  readonly failed: (error: SpoolError) => void;
}

/** As many listen to it as handlers run. */
function openEnding(): AbortController {
  const ending = new AbortController();
  setMaxListeners(0, ending.signal);
  return ending;
}

/** In one transaction; while it commits the next ones gather. */
const maxGroup = 1000;

/**
 * Exactly-once work over lanes, for handlers that take their time and touch the world. Handlers run outside any transaction; those that have finished
 * are committed together, each with what came of it, and the position is the lowest record that is not among them. What was finished above the
 * position is given again after a crash: `act` has to know it by what it wrote down.
 */
export async function effectsWork(options: EffectsWorkOptions): Promise<TaskWork> {
  const { act, onFollows, store, concurrency, maxInFlight = 1000, drainMs = 4000, classes } = options;
  const effects = new WeakMap<ConsumedRecord, Effect>();
  let ending = openEnding();
  const inner = await transactionalWork({
    ...options,
    outOfOrder: true,
    async handle(record, context) {
      // What was parked is acted on when it is tried again.
      const effect = effects.get(record) ?? (await act(record, ending.signal));
      effect(context);
    },
  });
  let closed = false;

  // 1. The transactions: one at a time, and none while an order is obeyed.
  let turns: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = turns.then(work);
    turns = turn.catch(() => undefined);
    return turn;
  };
  const finished: Finished[] = [];
  const stop = new AbortController();
  const commit = async (): Promise<void> => {
    const group = finished.slice(0, maxGroup);
    const records = group.map(({ record }) => record);
    await inner.process({ records, positions: lanes.reachedWith(records) });
    finished.splice(0, group.length);
    for (const { done } of group) done();
  };
  let committing = false;
  const commitAll = async (): Promise<void> => {
    committing = true;
    let failures = 0;
    while (finished.length > 0 && !closed && lanes.fatal === undefined) {
      // Those that finish in the same turn go together, and those of the group before have left their lanes.
      await new Promise((resolve) => setImmediate(resolve));
      try {
        await inTurn(() => (closed ? Promise.resolve() : commit()));
        if (failures > 0) lanes.error = undefined;
        failures = 0;
      } catch (thrown) {
        const error = toSpoolError(thrown);
        if (error.entry.retryable !== 'backoff') {
          lanes.fail(error);
          for (const { failed } of finished.splice(0)) failed(error);
          break;
        }
        lanes.error = error;
        await pause(backOffMs(failures++), stop.signal);
      }
    }
    committing = false;
  };

  // 2. One record.
  const handle = async (record: ConsumedRecord, free: () => void): Promise<void> => {
    if (record.key !== null && store.get(parkedTable, laneOf(record)) !== undefined) onFollows?.(record);
    else effects.set(record, await actOn(record));
    free();
    await new Promise<void>((done, failed) => {
      finished.push({ record, done, failed });
      if (!committing) void commitAll();
    });
  };
  const actOn = async (record: ConsumedRecord): Promise<Effect> => {
    try {
      return await act(record, ending.signal);
    } catch (thrown) {
      if (isTransient(thrown)) throw toTransient(thrown);
      return () => {
        throw thrown as SpoolError;
      };
    }
  };
  const lanes = new Lanes(
    {
      concurrency,
      maxInFlight,
      drainMs,
      handle,
      onOverdue() {
        ending.abort();
        ending = openEnding();
      },
      ...(classes === undefined ? {} : { shares: classes.shares, classOf: classes.of }),
    },
    inner.positions,
  );

  const { seek, settle } = inner;
  return {
    positions: inner.positions,
    get epoch() {
      return inner.epoch;
    },
    replay: undefined,
    lanes,
    process(group) {
      lanes.accept(group);
      return Promise.resolve();
    },
    ...(seek === undefined
      ? {}
      : {
          seek: (order: Seek) =>
            inTurn(async () => {
              const next = new Map([...lanes.reached, ...(await seek(order))]);
              lanes.moveTo(next);
              for (const { done } of finished.splice(0)) done();
              return next;
            }),
        }),
    ...(settle === undefined ? {} : { settle: (order: Settling) => inTurn(() => settle(order)) }),
    async close() {
      await lanes.close();
      closed = true;
      stop.abort();
      ending.abort();
      await turns;
      await inner.close();
    },
  };
}
