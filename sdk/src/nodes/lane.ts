import { SpoolError, toSpoolError } from '@spool/schemas';
import type { CarriedEvent } from '../routed/transport.js';
import type { Arrival, Taken } from './arrival.js';

/** A node, as the cluster sees it. */
export interface Peer {
  /** It works, as far as is known. */
  readonly up: boolean;
  /** Tells its runs apart. */
  readonly run: string;
  /** Where it takes requests; undefined: it takes none. */
  readonly location: string | undefined;
}

export interface LaneOptions {
  readonly node: string;
  readonly self: { readonly node: string; readonly run: string };
  readonly peer: () => Peer | undefined;
  /** Whether to try the direct way first. */
  readonly direct: () => boolean;
  /** Resolves when the log holds them, in order. */
  readonly toLog: (arrivals: readonly Arrival[]) => Promise<unknown>;
  /** @throws SpoolError when it is not known what became of them */
  readonly post: (peer: Peer & { readonly location: string }, arrivals: readonly Arrival[]) => Promise<Taken>;
  /** More durable events that wait are refused, and more transient ones dropped. */
  readonly maxWaiting: number;
  readonly now: () => number;
}

/** What one node has for another. */
export interface LaneStatus {
  readonly node: string;
  readonly waiting: number;
  /** Events that left it: durable ones are safe, transient ones on their way. */
  readonly sent: number;
  /** Transient events that were not sent. */
  readonly dropped: number;
  /** Transient events of this run that were sent directly, and of which the node says that they never came. */
  readonly missed: number;
  /** When it was last known to work, in milliseconds since the epoch. */
  readonly lastSeen: number | undefined;
  /** The way of the last events. */
  readonly way: 'kafka' | 'http';
}

/** The events for one other node, in order; no lane waits for another. */
export interface Lane {
  readonly status: LaneStatus;
  /** Resolves when a durable event is safe. @throws SpoolError OVERLOADED, KAFKA_UNAVAILABLE, UNAVAILABLE */
  send(event: CarriedEvent): Promise<void>;
  /** Resolves when nothing waits any more; what comes from then on is refused. */
  close(): Promise<void>;
}

interface Waiting {
  readonly arrival: Arrival;
  readonly resolve?: () => void;
  readonly reject?: (error: SpoolError) => void;
}

const maxBatch = 200;
/** After the direct way has failed. */
const retryDirectMs = 500;

export function openLane({ node, self, peer, direct, toLog, post, maxWaiting, now }: LaneOptions): Lane {
  const queue: Waiting[] = [];
  const numbers = { durable: 0, transient: 0 };
  let sent = 0;
  let dropped = 0;
  let missed = 0;
  let lastSeen: number | undefined;
  let way: 'kafka' | 'http' = 'kafka';
  let directAfter = 0;
  let pumping: Promise<void> | undefined;
  let closed = false;

  const arrivalOf = (event: CarriedEvent, to: string | undefined): Arrival => ({
    ...{ event, sender: self.node, run: self.run, number: ++numbers[event.delivery], to },
  });
  const wanted = (): (Peer & { readonly location: string }) | undefined => {
    if (!direct() || performance.now() < directAfter) return undefined;
    const there = peer();
    return there?.up === true && there.location !== undefined ? { ...there, location: there.location } : undefined;
  };
  /** @returns what is still to go */
  const tryDirect = async (batch: readonly Waiting[]): Promise<readonly Waiting[]> => {
    const there = wanted();
    if (there === undefined) return batch;
    try {
      const { taken, had } = await post(
        there,
        batch.map(({ arrival }) => arrival),
      );
      lastSeen = now();
      missed = Math.max(0, had.transient - had.transients);
      for (const { resolve } of batch.slice(0, taken)) resolve?.();
      sent += taken;
      if (taken > 0) way = 'http';
      if (taken < batch.length) directAfter = performance.now() + retryDirectMs;
      return batch.slice(taken);
    } catch {
      directAfter = performance.now() + retryDirectMs;
      // Transient ones may have come: if not, their numbers will be missed.
      return batch.filter(({ arrival }) => arrival.event.delivery === 'durable');
    }
  };
  const pump = async (): Promise<void> => {
    while (queue.length > 0) {
      const batch = await tryDirect(queue.splice(0, maxBatch));
      if (batch.length === 0) continue;
      try {
        await toLog(batch.map(({ arrival }) => arrival));
        way = 'kafka';
        sent += batch.length;
        for (const { resolve } of batch) resolve?.();
      } catch (thrown) {
        const error = toSpoolError(thrown);
        for (const { arrival, reject } of batch) {
          reject?.(error);
          if (arrival.event.delivery === 'transient') dropped += 1;
        }
      }
    }
    pumping = undefined;
  };
  const enqueue = (waiting: Waiting): void => {
    queue.push(waiting);
    pumping ??= Promise.resolve().then(pump);
  };
  return {
    get status() {
      const seen = peer()?.up === true ? now() : lastSeen;
      return { node, waiting: queue.length, sent, dropped, missed, lastSeen: seen, way };
    },
    send(event) {
      if (closed) return Promise.reject(new SpoolError('UNAVAILABLE', `the lane to ${node} is closed`));
      if (event.delivery === 'transient') {
        const there = peer();
        if (there?.up === true && queue.length < maxWaiting) enqueue({ arrival: arrivalOf(event, there.run) });
        else dropped += 1;
        return Promise.resolve();
      }
      if (queue.length >= maxWaiting) {
        return Promise.reject(new SpoolError('OVERLOADED', `${queue.length} events wait for ${node} already`, { retryAfterMs: 1000 }));
      }
      return new Promise((resolve, reject) => enqueue({ arrival: arrivalOf(event, undefined), resolve, reject }));
    },
    async close() {
      closed = true;
      await pumping;
    },
  };
}
