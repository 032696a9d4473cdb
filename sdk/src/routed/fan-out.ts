import type { Log } from '@spool/streams';
import { createPatternTrie } from './pattern-trie.js';
import type { CarriedEvent, EventPattern } from './transport.js';

type Deliver = (event: CarriedEvent) => void | Promise<void>;

/** From one stream of events to those who want them: each has a queue of its own, so that none waits for another's work. */
export interface FanOut {
  subscribe(pattern: EventPattern, deliver: Deliver): { close(): Promise<void> };
  /** Resolves when all who want it have room for more: whoever reads waits for it. */
  publish(event: CarriedEvent): Promise<void>;
  /** Resolves when what was published has been handled. */
  settle(): Promise<void>;
}

interface Subscriber {
  readonly deliver: Deliver;
  readonly waiting: CarriedEvent[];
  working: Promise<void> | undefined;
  closed: boolean;
}

export interface FanOutOptions {
  readonly log: Log;
  /** Events that may wait for one subscriber before the reader waits for it. @default 1000 */
  readonly maxWaiting?: number;
}

export function createFanOut({ log, maxWaiting = 1000 }: FanOutOptions): FanOut {
  const trie = createPatternTrie<Subscriber>();
  const room: (() => void)[] = [];
  const working = new Set<Promise<void>>();

  const work = async (subscriber: Subscriber): Promise<void> => {
    for (let event = subscriber.waiting.shift(); event !== undefined; event = subscriber.waiting.shift()) {
      try {
        await subscriber.deliver(event);
      } catch (error) {
        log('warn', 'a subscriber failed at an event', { routing: event.routing, event: event.id, error: String(error) });
      }
      for (const go of room.splice(0)) go();
    }
    subscriber.working = undefined;
  };
  return {
    subscribe(pattern, deliver) {
      const subscriber: Subscriber = { deliver, waiting: [], working: undefined, closed: false };
      const forget = trie.add(pattern, subscriber);
      return {
        async close() {
          forget();
          subscriber.closed = true;
          subscriber.waiting.length = 0;
          await subscriber.working;
        },
      };
    },
    async publish(event) {
      const { host, kind, id } = event.emitter;
      const wanted = trie.match(event.routing, `${host}.${kind}.${id}`);
      for (const subscriber of wanted) {
        subscriber.waiting.push(event);
        if (subscriber.working === undefined) {
          const began = (subscriber.working = work(subscriber));
          working.add(began);
          void began.finally(() => working.delete(began));
        }
      }
      for (const subscriber of wanted) {
        while (subscriber.waiting.length >= maxWaiting && !subscriber.closed) await new Promise<void>((resolve) => room.push(resolve));
      }
    },
    async settle() {
      while (working.size > 0) await Promise.all(working);
    },
  };
}
