import { SpoolError, toSpoolError, type Reply } from '@spool/schemas';
import { WebSocket } from 'ws';
import type { Call, CallTransport } from './call.js';
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
  resolve(reply: Reply): void;
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
    else {
      const { t: _, call: __, view, ...reply } = frame;
      caller?.resolve({ ...reply, view: view === null ? null : Buffer.from(view) });
    }
  };
  const connect = async (): Promise<WebSocket> => {
    const authorization = `Bearer ${await options.token()}`;
    const ws = new WebSocket(`${options.url.replace(/^http/, 'ws')}${path}`, protocol, {
      ...{ headers: { authorization }, handshakeTimeout: connectMs, perMessageDeflate: false, maxPayload: maxFrameBytes },
    });
    await new Promise<void>((resolve, reject) => {
      ws.once('open', resolve);
      ws.once('error', (cause) => {
        reject(new SpoolError('UNAVAILABLE', `${options.url} cannot be called: ${cause.message}`, { cause, retryAfterMs: 1000 }));
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
        resolve(reply) {
          end();
          resolve(reply);
        },
        reject: fail,
      });
      const send = (ws: WebSocket): void => {
        if (!waiting.has(number)) return;
        if (ws.readyState !== WebSocket.OPEN) return fail(unreached(options.url, 'broke'));
        if (ws.bufferedAmount > maxBufferedBytes) {
          return fail(new SpoolError('OVERLOADED', `more than ${maxBufferedBytes} bytes wait for ${options.url}`, { retryAfterMs: 1000 }));
        }
        const frame = toFrame(frameOf(number, { ...call, timeoutMs: Math.max(0, until - performance.now()) }));
        if (frame.length > maxFrameBytes) {
          return fail(new SpoolError('RECORD_TOO_LARGE', `${call.type} has ${frame.length} bytes, ${maxFrameBytes} is the most`));
        }
        socket = ws;
        ws.send(frame);
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
      if (waiting.size < maxInFlight) return exchange(call, signal);
      throw new SpoolError('OVERLOADED', `${maxInFlight} calls to ${options.url} are under way`, { retryAfterMs: 1000 });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Nothing was sent. */
const unreached = (url: string, why: string): SpoolError =>
  new SpoolError('UNAVAILABLE', `${url} was not reached: ${why}`, { retryAfterMs: 1000 });
/** Sent, and no answer can come: the same call may be sent elsewhere. */
const lost = (url: string, why: string): SpoolError =>
  new SpoolError('INDETERMINATE', `the connection to ${url} ${why}; whether the call was carried out is not known`, {
    facts: { lost: true },
  });

function frameOf(number: number, { kind, key, after, refuseReuse, priority, ...rest }: Call): Asked {
  const of = { ...rest, meta: { ...rest.meta }, call: number };
  return kind === 'query' ? { t: kind, ...of, after } : { t: kind, ...of, key, refuseReuse, priority };
}
