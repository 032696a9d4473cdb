import { SpoolError } from '@spool/schemas';
import type { Log } from '@spool/streams';
import { createFanOut, type FanOut } from './fan-out.js';
import type { CarriedEvent, EventTransport } from './transport.js';

/** Nodes of one process: the twin of the transports between processes, for tests and programs that have no Kafka. */
export interface EventHub {
  connect(node: string): EventTransport;
  /** Transient events for nodes that were away. */
  readonly dropped: number;
}

/** Durable events for a node that is away; more are refused. */
const maxKept = 10_000;

export function createEventHub(log: Log): EventHub {
  const nodes = new Map<string, FanOut>();
  const kept = new Map<string, CarriedEvent[]>();
  let dropped = 0;

  const toNode = async (event: CarriedEvent, node: string): Promise<void> => {
    const there = nodes.get(node);
    if (there !== undefined) return there.publish(event);
    if (event.delivery === 'transient') {
      dropped += 1;
      return undefined;
    }
    const waiting = kept.get(node) ?? [];
    if (waiting.length >= maxKept)
      throw new SpoolError('OVERLOADED', `${waiting.length} events wait for ${node} already`, { retryAfterMs: 1000 });
    kept.set(node, [...waiting, event]);
    return undefined;
  };
  return {
    get dropped() {
      return dropped;
    },
    connect(node) {
      if (nodes.has(node)) throw new SpoolError('INVALID_REQUEST', `there is a node ${node} already`);
      const own = createFanOut({ log });
      nodes.set(node, own);
      let open = true;
      const close = (): Promise<void> => {
        if (open) nodes.delete(node);
        open = false;
        return Promise.resolve();
      };
      return {
        async send(event, to) {
          if (!open) throw new SpoolError('UNAVAILABLE', `${node} is closed`);
          if (to.scope === 'local') return own.publish(event);
          if (to.scope === 'node') return toNode(event, to.node);
          await Promise.all([...nodes.values()].map((each) => each.publish(event)));
        },
        async subscribe(pattern, deliver) {
          const subscription = own.subscribe(pattern, deliver);
          // What came while it was away finds its first subscriber.
          const waited = kept.get(node) ?? [];
          kept.delete(node);
          for (const event of waited) await own.publish(event);
          return subscription;
        },
        close,
        [Symbol.asyncDispose]: close,
      };
    },
  };
}
