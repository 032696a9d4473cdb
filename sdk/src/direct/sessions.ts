import { readMeta, SpoolError, toSpoolError } from '@spool/schemas';
import type { Caller } from '../endpoint/tokens.js';
import type { StreamElement } from '../host/hosting.js';
import type { RunningBundle } from '../host/start-bundle.js';
import type { StreamCall, StreamLink, StreamSink } from './call.js';
import { maxWindow } from './frames.js';

export interface SessionsOptions {
  /** Streams under way; more are refused with OVERLOADED. @default 256 */
  readonly maxStreams?: number;
  /** How long a stream whose socket broke waits to be taken up again, in milliseconds. @default 10000 */
  readonly resumeMs?: number;
}
/** The streams that this instance gives. */
export interface Sessions {
  readonly size: number;
  /** Begins a stream, or goes on with one that is known by its id. @throws SpoolError FORBIDDEN, UNKNOWN_COMMAND, OVERLOADED, INDETERMINATE */
  open(caller: Caller, call: StreamCall, sink: StreamSink): StreamLink & { detach(): void };
  close(): Promise<void>;
}

/** Of one stream; less than what a caller confirms at the latest would stop it. */
const maxKeptBytes = 4 * 1024 * 1024;

interface Session {
  readonly of: string;
  attach(sink: StreamSink, after: number, upTo: number): StreamLink & { detach(): void };
  end(): Promise<void>;
}
type Kept = StreamElement & { readonly number: number };

export function createSessions({ here, instance }: Pick<RunningBundle, 'here' | 'instance'>, options: SessionsOptions = {}): Sessions {
  const { maxStreams = 256, resumeMs = 10_000 } = options;
  const sessions = new Map<string, Session>();

  const begin = (caller: Caller, { id, type, events, value, meta, after }: StreamCall): Session => {
    const streaming = here.streams.get(type);
    if (streaming === undefined || !events.every((each) => streaming.events.has(each))) {
      throw new SpoolError('UNKNOWN_COMMAND', `instance ${instance.id} does not answer ${type} with a stream of ${events.join(', ')}`);
    }
    if (after > 0 && !streaming.resumable) {
      throw new SpoolError('INDETERMINATE', `the stream ${type} broke after ${after} elements, and nobody knows how it goes on`);
    }
    if (sessions.size >= maxStreams) throw new SpoolError('OVERLOADED', `${maxStreams} streams are under way here`, { retryAfterMs: 1000 });
    const stop = new AbortController();
    const asked = { ...readMeta({}), ...meta, id, type, source: caller.bundle, correlationId: meta.correlationId ?? id };
    const source = streaming.open({ value: Buffer.from(value), meta: asked, after }, stop.signal);
    return createSession(caller.instance, source, { stop, after, resumeMs, onEnd: () => sessions.delete(id) });
  };
  return {
    get size() {
      return sessions.size;
    },
    open(caller, call, sink) {
      if (!caller.payloads.includes(call.type)) {
        throw new SpoolError('FORBIDDEN', `bundle ${caller.bundle} does not declare that it sends ${call.type}`);
      }
      const known = sessions.get(call.id);
      if (known !== undefined && known.of !== caller.instance) throw new SpoolError('FORBIDDEN', 'this stream is of another instance');
      const session = known ?? begin(caller, call);
      sessions.set(call.id, session);
      return session.attach(sink, call.after, call.upTo);
    },
    async close() {
      await Promise.all([...sessions.values()].map((each) => each.end()));
    },
  };
}

interface SessionOptions {
  readonly stop: AbortController;
  readonly after: number;
  readonly resumeMs: number;
  readonly onEnd: () => void;
}

/** One stream. The handler is asked for the next element when the caller has granted it and when there is room to keep it. */
function createSession(of: string, source: AsyncGenerator<StreamElement, undefined>, options: SessionOptions): Session {
  const { stop, resumeMs, onEnd } = options;
  const kept: Kept[] = [];
  let keptBytes = 0;
  let made = options.after;
  let confirmed = options.after;
  let sink: StreamSink | undefined;
  let sent = 0;
  let upTo = 0;
  let finished: { readonly error?: SpoolError } | undefined;
  let asking = false;
  let over = false;
  let forgotten: NodeJS.Timeout | undefined;

  const end = async (): Promise<void> => {
    if (over) return;
    over = true;
    clearTimeout(forgotten);
    stop.abort();
    onEnd();
    // A handler that hangs is not waited for.
    const closed = source.return(undefined).catch(() => undefined);
    if (!asking) await closed;
  };
  const ask = (): void => {
    asking = true;
    source
      .next()
      .then(
        (given) => {
          if (given.done === true) finished = {};
          else {
            kept.push({ ...given.value, number: ++made });
            keptBytes += given.value.value.length;
          }
        },
        (thrown: unknown) => (finished = { error: toSpoolError(thrown) }),
      )
      .finally(() => {
        asking = false;
        go();
      })
      .catch(() => undefined);
  };
  const go = (): void => {
    while (sink !== undefined && !over) {
      if (sent < made) {
        if (sent >= upTo) return;
        const next = kept[sent - confirmed]!;
        sent = next.number;
        sink.next(next.number, next.type, next.value);
      } else if (finished !== undefined) {
        const last = sink;
        sink = undefined;
        if (finished.error === undefined) last.completed(made);
        else last.failed(finished.error);
        // It may be on its way when the socket breaks, and then be asked for once more.
        forgotten ??= later();
        return;
      } else {
        if (!asking && made < upTo && kept.length < maxWindow && keptBytes < maxKeptBytes) ask();
        return;
      }
    }
  };
  const later = (): NodeJS.Timeout => setTimeout(() => void end(), resumeMs).unref();
  const confirm = (number: number): void => {
    if (number > sent) throw new SpoolError('INVALID_REQUEST', `element ${number} is confirmed, and ${sent} was the last`);
    if (number <= confirmed) return;
    for (const { value } of kept.splice(0, number - confirmed)) keptBytes -= value.length;
    confirmed = number;
  };
  return {
    of,
    end,
    attach(taker, after, granted) {
      if (after < confirmed || after > made) {
        throw new SpoolError('INDETERMINATE', `elements ${confirmed + 1} to ${made} are kept, and ${after + 1} is asked for`);
      }
      clearTimeout(forgotten);
      forgotten = undefined;
      sink = taker;
      sent = after;
      upTo = granted;
      confirm(after);
      go();
      return {
        grant(number, has) {
          if (sink !== taker) return;
          confirm(has);
          upTo = Math.max(upTo, number);
          go();
        },
        cancel: () => void end(),
        detach() {
          if (sink !== taker || over) return;
          sink = undefined;
          forgotten ??= later();
        },
      };
    },
  };
}
