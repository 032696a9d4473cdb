import { SpoolError, toSpoolError, type Reply } from '@spool/schemas';
import { refusal } from '../gateway/gateway.js';
import { roundRobin, type Balancer } from './balancing.js';
import type { Call, CallTransport, StreamCall, StreamLink, StreamSink } from './call.js';
import type { Discovery, Place } from './discovery.js';
import { takeStream, type NewStream, type ReceivedElement, type StreamOptions } from './stream.js';

export interface ExecutorOptions {
  readonly discovery: Discovery;
  readonly open: (place: Place) => CallTransport;
  readonly now: () => number;
  /** @default roundRobin() */
  readonly balancer?: Balancer;
  /** How many instances one call goes to at the most, one after the other. @default 3 */
  readonly attempts?: number;
  /** For how long an instance that was not reached, or was lost, is called only when there is no other. Milliseconds. @default 5000 */
  readonly ejectMs?: number;
}

/** Commands, queries and streams, to whoever handles them. */
export interface Executor extends Omit<CallTransport, 'link'> {
  /** The elements of a stream: from one instance as long as it is there, from another where the handler can go on with it. */
  stream(call: NewStream, options?: StreamOptions): AsyncGenerator<ReceivedElement, undefined>;
}

/** A stream that broke is taken up where it was for so long, in milliseconds. */
const sameMs = 2000;

interface Opened {
  readonly url: string;
  readonly transport: CallTransport;
  ejectedUntil: number;
}

/**
 * Calls one of those who handle the call. Where that fails for the moment the same call goes to another: a query changes nothing, and a command has the
 * same id there, so that it is applied once whatever became of it before.
 */
export function createExecutor(options: ExecutorOptions): Executor {
  const { discovery, open, now, balancer = roundRobin(), attempts = 3, ejectMs = 5000 } = options;
  const opened = new Map<string, Opened>();
  let inFlight = 0;
  let closing: Promise<void> | undefined;

  const at = (place: Place): Opened => {
    const before = opened.get(place.instance);
    if (before?.url === place.url) return before;
    // It was started anew elsewhere.
    void before?.transport.close();
    const made = { url: place.url, transport: open(place), ejectedUntil: 0 };
    opened.set(place.instance, made);
    return made;
  };
  const prune = (places: readonly Place[]): void => {
    if (opened.size <= 2 * places.length + 64) return;
    const wanted = new Set(places.map(({ instance }) => instance));
    for (const [instance, { transport }] of opened) {
      if (wanted.has(instance) || transport.inFlight > 0) continue;
      opened.delete(instance);
      void transport.close();
    }
  };
  const choose = (places: readonly Place[], tried: ReadonlySet<string>, call: Call): Place | undefined => {
    prune(places);
    const left = places.filter(({ instance }) => !tried.has(instance));
    const well = left.filter(({ instance }) => (opened.get(instance)?.ejectedUntil ?? 0) <= now());
    const candidates = (well.length > 0 ? well : left).map((place) => ({ ...place, inFlight: at(place).transport.inFlight }));
    return candidates.length === 0 ? undefined : balancer(candidates, call);
  };
  const once = async (place: Place, call: Call, signal: AbortSignal | undefined): Promise<Reply> => {
    const there = at(place);
    try {
      const reply = await there.transport.call(call, signal);
      const code = reply.outcome === 'failed' ? reply.problem?.code : undefined;
      if (code === 'UNAVAILABLE' || code === 'OVERLOADED') throw refusal(reply);
      return reply;
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (isAway(error)) there.ejectedUntil = now() + ejectMs;
      throw error;
    }
  };
  const call = async (wanted: Call, signal: AbortSignal | undefined): Promise<Reply> => {
    if (closing !== undefined) throw new SpoolError('UNAVAILABLE', 'the transport is closed');
    const until = performance.now() + wanted.timeoutMs;
    const tried = new Set<string>();
    let failed: SpoolError | undefined;
    for (;;) {
      const place = tried.size < attempts ? choose(discovery.find(wanted), tried, wanted) : undefined;
      if (place === undefined) throw failed ?? nobody(wanted.type);
      tried.add(place.instance);
      try {
        return await once(place, { ...wanted, timeoutMs: Math.max(0, until - performance.now()) }, signal);
      } catch (thrown) {
        const error = thrown as SpoolError;
        const elsewhere = error.code === 'OVERLOADED' || isAway(error);
        if (!elsewhere || signal?.aborted === true || performance.now() >= until)
          throw failed !== undefined && isLost(failed) ? failed : error;
        // Whatever comes later, it may have been carried out.
        if (failed === undefined || !isLost(failed)) failed = error;
      }
    }
  };
  const stream = (wanted: NewStream, streamOptions?: StreamOptions): AsyncGenerator<ReceivedElement, undefined> => {
    let home: Place | undefined;
    const connect = (call: StreamCall, sink: StreamSink, brokenMs: number): StreamLink => {
      const places = closing === undefined ? discovery.find({ kind: 'stream', ...wanted }) : [];
      const same = places.find(({ instance }) => instance === home?.instance);
      const elsewhere = (): Place | undefined =>
        choose(places, new Set(home === undefined ? [] : [home.instance]), { ...wanted, kind: 'command', key: null, timeoutMs: 0 });
      home = same !== undefined && brokenMs < sameMs ? same : (elsewhere() ?? same);
      if (home === undefined) {
        queueMicrotask(() => sink.failed(nobody(wanted.type)));
        return { grant: () => undefined, cancel: () => undefined };
      }
      const there = at(home);
      const failed = (error: SpoolError): void => {
        if (isLost(error) || error.facts.unreached === true) there.ejectedUntil = now() + ejectMs;
        sink.failed(error);
      };
      return there.transport.link(call, { next: sink.next, completed: sink.completed, failed });
    };
    return takeStream(connect, wanted, streamOptions);
  };
  const close = (): Promise<void> =>
    (closing ??= Promise.all([...opened.values()].map(({ transport }) => transport.close())).then(() => undefined));
  return {
    get inFlight() {
      return inFlight;
    },
    async call(wanted, signal) {
      inFlight += 1;
      try {
        return await call(wanted, signal);
      } finally {
        inFlight -= 1;
      }
    },
    stream,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Nothing is to be expected of the instance for a while. */
const isAway = (error: SpoolError): boolean => error.code === 'UNAVAILABLE' || error.facts.unreached === true || isLost(error);
const nobody = (type: string): SpoolError =>
  new SpoolError('UNAVAILABLE', `no instance takes calls for ${type}`, { retryAfterMs: 1000, facts: { unreached: true } });

const isLost = ({ facts }: SpoolError): boolean => facts.lost === true;
