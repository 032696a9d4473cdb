import { setImmediate as yieldNow } from 'node:timers/promises';
import { SpoolError, type ReadMeta } from '@spool/schemas';
import type { SubscribeRequest } from '../gateway/messages.js';
import { problemOf, type Answered, type ReplySender } from '../host/replying.js';
import type { ReadModel } from '../projector/read-model.js';

export interface SubscriptionsOptions {
  readonly model: ReadModel;
  readonly replies: ReplySender;
  /** More are refused with OVERLOADED. */
  readonly limit: number;
}

/** Those who want an answer anew whenever it changes. */
export interface Subscriptions {
  readonly size: number;
  /**
   * Takes one, or renews its lease; it is answered either way.
   * @param evaluate answers the query as of now; its signal fires when the subscription ends
   * @throws SpoolError OVERLOADED
   */
  take(request: SubscribeRequest, meta: ReadMeta, evaluate: (signal: AbortSignal) => Promise<Answered>): Promise<Answered>;
  end(id: string): void;
  /** Tells all that somebody else is to serve them. */
  close(): Promise<void>;
}

interface Subscriber {
  readonly id: string;
  readonly ending: AbortController;
  /** Of the last request: where replies go. */
  meta: ReadMeta;
  evaluate: (signal: AbortSignal) => Promise<Answered>;
  /** What it was told last. */
  told: Answered | undefined;
  /** The read model has changed since it was evaluated. */
  stale: boolean;
  busy: boolean;
  expiry: NodeJS.Timeout;
}

/** However often the read model changes, queries are evaluated anew at most so often. Milliseconds. */
const everyMs = 50;
const atOnce = 50;

/** Evaluates after commits of the read model, and tells only what has changed: one update at a time to each, and then the latest. */
export function openSubscriptions({ model, replies, limit }: SubscriptionsOptions): Subscriptions {
  const byId = new Map<string, Subscriber>();
  let closed = false;
  let round: NodeJS.Timeout | undefined;
  let lastRound = Number.NEGATIVE_INFINITY;

  const end = (id: string): void => {
    const subscriber = byId.get(id);
    if (subscriber === undefined) return;
    byId.delete(id);
    clearTimeout(subscriber.expiry);
    subscriber.ending.abort();
  };
  /** @param always whoever asks is answered, though nothing has changed */
  const refresh = async (subscriber: Subscriber, always: boolean): Promise<Answered> => {
    subscriber.stale = false;
    const answered = await subscriber.evaluate(subscriber.ending.signal);
    const changed = !sameAnswer(subscriber.told, answered);
    if (byId.get(subscriber.id) !== subscriber) return answered;
    if (answered.outcome !== 'answered') end(subscriber.id);
    subscriber.told = answered;
    if (changed || always) await replies.update({ ...subscriber.meta, id: subscriber.id }, answered);
    return answered;
  };
  const update = async (subscriber: Subscriber): Promise<void> => {
    if (subscriber.busy || !subscriber.stale) return;
    subscriber.busy = true;
    await refresh(subscriber, false);
    subscriber.busy = false;
    if (byId.get(subscriber.id)?.stale === true) schedule();
  };
  const schedule = (): void => {
    round ??= setTimeout(() => void goRound(), Math.max(0, lastRound + everyMs - performance.now()));
  };
  const goRound = async (): Promise<void> => {
    let evaluated = 0;
    for (const subscriber of byId.values()) {
      void update(subscriber);
      // So that many of them do not keep the process from all else.
      if (++evaluated % atOnce === 0) await yieldNow();
    }
    lastRound = performance.now();
    round = undefined;
    if ([...byId.values()].some(({ stale, busy }) => stale && !busy)) schedule();
  };
  const forget = model.onCommit(() => {
    if (byId.size === 0) return;
    for (const subscriber of byId.values()) subscriber.stale = true;
    schedule();
  });

  return {
    get size() {
      return byId.size;
    },
    end,
    take({ id, leaseMs }, meta, evaluate) {
      if (closed) throw stops();
      const expiry = setTimeout(() => end(id), leaseMs);
      let subscriber = byId.get(id);
      if (subscriber === undefined) {
        if (byId.size >= limit) {
          clearTimeout(expiry);
          throw new SpoolError('OVERLOADED', `${limit} subscriptions are served here already`, { retryAfterMs: 1000 });
        }
        subscriber = { id, ending: new AbortController(), meta, evaluate, told: undefined, stale: false, busy: false, expiry };
        byId.set(id, subscriber);
      } else {
        clearTimeout(subscriber.expiry);
        Object.assign(subscriber, { meta, evaluate, expiry });
      }
      return refresh(subscriber, true);
    },
    async close() {
      closed = true;
      forget();
      clearTimeout(round);
      const moved = { outcome: 'failed', problem: problemOf(stops()) } as const;
      const told = [...byId.values()].map(({ id, meta }) => replies.update({ ...meta, id }, moved));
      for (const id of [...byId.keys()]) end(id);
      await Promise.all(told);
    },
  };
}

const stops = (): SpoolError => new SpoolError('UNAVAILABLE', 'the instance that serves the subscription stops');
const sameAnswer = (a: Answered | undefined, b: Answered): boolean =>
  a?.outcome === 'answered' && b.outcome === 'answered' && a.view != null && b.view != null && a.view.equals(b.view);
