import { SpoolError, toSpoolError, type Reply } from '@spool/schemas';
import { WebSocket } from 'ws';
import type { Call, CallTransport, StreamCall, StreamLink, StreamSink } from './call.js';
import { errorOf, fromServer, maxFrameBytes, path, protocol, toFrame, type Asked, type Told } from './frames.js';

export interface SocketOptions {
  /** Of the endpoint. */
  readonly url: string;
  /** Asked for at each connection. */
  readonly token: () => Promise<string>;
  /** Calls under way; more are refused with OVERLOADED. @default 512 */
  readonly maxInFlight?: number;
  /** What may wait to be sent, in bytes; beyond it calls are refused with OVERLOADED. @default 8 MiB */
  readonly maxBufferedBytes?: number;
  /** How long a connection may take, in milliseconds. @default 2000 */
  readonly connectMs?: number;
  /** How often the other side is pinged; one that has not answered by the next time is given up. Milliseconds. @default 5000 */
  readonly pingEveryMs?: number;
}

interface Waiting {
  /** It may have been carried out. */
  readonly sent: boolean;
  take(frame: Exclude<Told, { t: 'error' }>): void;
  reject(error: SpoolError): void;
}

/** Calls to one instance, many over one socket. It connects at the first call, and again at the first after it broke. */
export function socketTransport(options: SocketOptions): CallTransport {
  const { maxInFlight = 512, maxBufferedBytes = 8 * 1024 * 1024, connectMs = 2000, pingEveryMs = 5000 } = options;
  const waiting = new Map<number, Waiting>();
  let calls = 0;
  let connection: Promise<WebSocket> | undefined;
  let closing: Promise<void> | undefined;

  const broke = (why: string): void => {
    connection = undefined;
    for (const each of [...waiting.values()]) each.reject(each.sent ? lost(options.url, why) : unreached(options.url, why));
  };
  const take = (frame: Told): void => {
    if (frame.call === undefined) return;
    const caller = waiting.get(frame.call);
    if (frame.t === 'error') caller?.reject(errorOf(frame));
    else caller?.take(frame);
  };
  const connect = async (): Promise<WebSocket> => {
    const authorization = `Bearer ${await options.token()}`;
    const ws = new WebSocket(`${options.url.replace(/^http/, 'ws')}${path}`, protocol, {
      ...{ headers: { authorization }, handshakeTimeout: connectMs, perMessageDeflate: false, maxPayload: maxFrameBytes },
    });
    await new Promise<void>((resolve, reject) => {
      ws.once('open', resolve);
      ws.once('error', (cause) => {
        reject(unreached(options.url, cause.message));
      });
      ws.once('unexpected-response', (request, { statusCode }) => {
        reject(statusCode === 401 ? unknownKey(options.url) : unreached(options.url, `it answered ${statusCode}`));
        request.destroy();
      });
    });
    let alive = true;
    const pinging = setInterval(() => {
      if (!alive) ws.terminate();
      alive = false;
      ws.ping();
    }, pingEveryMs);
    ws.on('pong', () => (alive = true));
    ws.on('message', (data) => {
      try {
        take(fromServer(data as Buffer));
      } catch {
        ws.close(1002, 'no frame of this protocol');
      }
    });
    ws.on('error', () => undefined);
    ws.once('close', () => {
      clearInterval(pinging);
      broke('broke');
    });
    return ws;
  };
  const connected = (): Promise<WebSocket> => {
    if (closing !== undefined) throw new SpoolError('UNAVAILABLE', 'the transport is closed');
    if (connection !== undefined) return connection;
    const made = connect();
    made.catch(() => {
      if (connection === made) connection = undefined;
    });
    return (connection = made);
  };
  /** @returns why it was not sent */
  const put = (ws: WebSocket, type: string, frame: Asked): SpoolError | undefined => {
    if (ws.readyState !== WebSocket.OPEN) return unreached(options.url, 'the connection broke');
    if (ws.bufferedAmount > maxBufferedBytes) {
      return new SpoolError('OVERLOADED', `more than ${maxBufferedBytes} bytes wait for ${options.url}`, { retryAfterMs: 1000 });
    }
    const message = toFrame(frame);
    if (message.length > maxFrameBytes) {
      return new SpoolError('RECORD_TOO_LARGE', `${type} has ${message.length} bytes, ${maxFrameBytes} is the most`);
    }
    ws.send(message);
    return undefined;
  };
  const full = (): SpoolError | undefined =>
    waiting.size < maxInFlight
      ? undefined
      : new SpoolError('OVERLOADED', `${maxInFlight} calls to ${options.url} are under way`, { retryAfterMs: 1000 });
  const link = (call: StreamCall, sink: StreamSink): StreamLink => {
    const number = ++calls;
    let socket: WebSocket | undefined;
    const end = (last: () => void): void => {
      if (waiting.delete(number)) last();
    };
    const fail = (thrown: unknown): void => end(() => sink.failed(toSpoolError(thrown)));
    const refused = full();
    waiting.set(number, {
      get sent() {
        return socket !== undefined;
      },
      take(frame) {
        if (frame.t === 'next') sink.next(frame.number, frame.type, frame.value);
        else if (frame.t === 'completed') end(() => sink.completed(frame.last));
      },
      reject: fail,
    });
    const open = async (): Promise<void> => {
      if (refused !== undefined) throw refused;
      const ws = await connected();
      if (!waiting.has(number)) return;
      const unsent = put(ws, call.type, { t: 'stream', call: number, ...call, meta: { ...call.meta }, events: [...call.events] });
      if (unsent !== undefined) throw unsent;
      socket = ws;
    };
    open().catch(fail);
    const say = (frame: Asked): void => {
      if (socket?.readyState === WebSocket.OPEN) socket.send(toFrame(frame));
    };
    return {
      grant: (upTo, has) => say({ t: 'credit', call: number, upTo, has }),
      cancel() {
        // The other side keeps what is completed until it hears that it has come.
        say({ t: 'cancel', call: number });
        end(() => undefined);
      },
    };
  };
  const exchange = (call: Call, signal: AbortSignal | undefined): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const number = ++calls;
      const until = performance.now() + call.timeoutMs;
      let socket: WebSocket | undefined;
      const end = (): void => {
        waiting.delete(number);
        clearTimeout(late);
        signal?.removeEventListener('abort', aborted);
      };
      const fail = (error: SpoolError): void => {
        end();
        reject(error);
      };
      const giveUp = (why: string): void => {
        if (socket?.readyState === WebSocket.OPEN) socket.send(toFrame({ t: 'cancel', call: number }));
        if (socket === undefined) return fail(unreached(options.url, why));
        fail(new SpoolError('INDETERMINATE', `${call.type}: ${why}; whether it was carried out is not known`));
      };
      const aborted = (): void => giveUp('it was given up');
      const late = setTimeout(() => giveUp(`no answer in ${call.timeoutMs} ms`), call.timeoutMs);
      signal?.addEventListener('abort', aborted, { once: true });
      waiting.set(number, {
        get sent() {
          return socket !== undefined;
        },
        take(frame) {
          if (frame.t !== 'reply') return;
          const { t: _, call: __, view, ...reply } = frame;
          end();
          resolve({ ...reply, view: view === null ? null : Buffer.from(view) });
        },
        reject: fail,
      });
      const send = (ws: WebSocket): void => {
        if (!waiting.has(number)) return;
        const refused = put(ws, call.type, frameOf(number, { ...call, timeoutMs: Math.max(0, until - performance.now()) }));
        if (refused !== undefined) return fail(refused);
        socket = ws;
      };
      if (signal?.aborted === true) return aborted();
      try {
        connected().then(send, (thrown: unknown) => fail(toSpoolError(thrown)));
      } catch (thrown) {
        fail(toSpoolError(thrown));
      }
    });
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      const ws = await connection?.catch(() => undefined);
      broke('was closed');
      if (ws === undefined || ws.readyState === WebSocket.CLOSED) return;
      const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()));
      ws.close(1000);
      const cut = setTimeout(() => ws.terminate(), connectMs);
      await closed;
      clearTimeout(cut);
    })());
  return {
    get inFlight() {
      return waiting.size;
    },
    async call(call, signal) {
      const refused = full();
      if (refused !== undefined) throw refused;
      return exchange(call, signal);
    },
    link,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Nothing was sent. */
const unreached = (url: string, why: string): SpoolError =>
  new SpoolError('UNAVAILABLE', `${url} was not reached: ${why}`, { retryAfterMs: 1000, facts: { unreached: true } });
/** As good as not reached: another instance may hold the same key. */
const unknownKey = (url: string): SpoolError =>
  new SpoolError('UNAUTHENTICATED', `${url} does not take the token of this instance: set SPOOL_CLUSTER_KEY to the same key in both`, {
    facts: { unreached: true },
  });
/** Sent, and no answer can come: the same call may be sent elsewhere. */
const lost = (url: string, why: string): SpoolError =>
  new SpoolError('INDETERMINATE', `the connection to ${url} ${why}; whether the call was carried out is not known`, {
    facts: { lost: true },
  });

function frameOf(number: number, { kind, key, after, refuseReuse, priority, ...rest }: Call): Asked {
  const of = { ...rest, meta: { ...rest.meta }, call: number };
  return kind === 'query' ? { t: kind, ...of, after } : { t: kind, ...of, key, refuseReuse, priority };
}
