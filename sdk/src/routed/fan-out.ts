import type { Log } from '@spool/streams';
import { createPatternTrie } from './pattern-trie.js';
import type { CarriedEvent, EventPattern } from './transport.js';

type Deliver = (event: CarriedEvent) => void | Promise<void>;

/** From one stream of events to those who want them: each has a queue of its own, so that none waits for another's work. */
export interface FanOut {
  /** Its end waits for what was handed to it, as long as `drainMs`. */
  subscribe(pattern: EventPattern, deliver: Deliver): { close(): Promise<void> };
  /**
   * Resolves when all who want it have room for more: whoever reads waits for it.
   * @param ended called once: all who want it have handled it, or one of them went before (false)
   */
  publish(event: CarriedEvent, ended?: (handled: boolean) => void): Promise<void>;
}

interface Waiting {
  readonly event: CarriedEvent;
  /** The first call counts. */
  readonly ended: (handled: boolean) => void;
}
interface Subscriber {
  readonly deliver: Deliver;
  readonly waiting: Waiting[];
  /** What it is at. */
  current: Waiting | undefined;
  working: Promise<void> | undefined;
  closed: boolean;
}

export interface FanOutOptions {
  readonly log: Log;
  /** Events that may wait for one subscriber before the reader waits for it. @default 1000 */
  readonly maxWaiting?: number;
  /** How long a subscriber that leaves may work at what it was handed, in milliseconds. @default 0: at the one that it is at alone */
  readonly drainMs?: number;
}

export function createFanOut({ log, maxWaiting = 1000, drainMs = 0 }: FanOutOptions): FanOut {
  const trie = createPatternTrie<Subscriber>();
  const room: (() => void)[] = [];

  const work = async (subscriber: Subscriber): Promise<void> => {
    for (let next = subscriber.waiting.shift(); next !== undefined; next = subscriber.waiting.shift()) {
      const { event, ended } = (subscriber.current = next);
      try {
        await subscriber.deliver(event);
      } catch (error) {
        log('warn', 'a subscriber failed at an event', { routing: event.routing, event: event.id, error: String(error) });
      }
      ended(true);
      for (const go of room.splice(0)) go();
    }
    subscriber.current = subscriber.working = undefined;
  };
  return {
    subscribe(pattern, deliver) {
      const subscriber: Subscriber = { deliver, waiting: [], current: undefined, working: undefined, closed: false };
      const forget = trie.add(pattern, subscriber);
      return {
        async close() {
          forget();
          subscriber.closed = true;
          if (drainMs > 0) await within(drainMs, subscriber.working);
          const left = subscriber.waiting.splice(0);
          if (drainMs === 0) await subscriber.working;
          subscriber.current?.ended(false);
          for (const { ended } of left) ended(false);
          for (const go of room.splice(0)) go();
        },
      };
    },
    async publish(event, ended) {
      const { host, kind, id } = event.emitter;
      const wanted = trie.match(event.routing, `${host}.${kind}.${id}`);
      let left = wanted.size;
      let all = true;
      const one = (): ((handled: boolean) => void) => {
        let over = false;
        return (handled) => {
          if (over) return;
          over = true;
          all &&= handled;
          if (--left === 0) ended?.(all);
        };
      };
      if (left === 0) ended?.(true);
      for (const subscriber of wanted) {
        subscriber.waiting.push({ event, ended: one() });
        subscriber.working ??= work(subscriber);
      }
      for (const subscriber of wanted) {
        while (subscriber.waiting.length >= maxWaiting && !subscriber.closed) await new Promise<void>((resolve) => room.push(resolve));
      }
    },
  };
}

/** Resolves when the work is done, and in so many milliseconds at the latest. */
export async function within(ms: number, work: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
