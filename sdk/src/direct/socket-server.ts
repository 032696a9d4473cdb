import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Log } from '@spool/streams';
import { WebSocketServer, type WebSocket } from 'ws';
import type { EndpointUpgrade } from '../endpoint/endpoint.js';
import type { Caller } from '../endpoint/tokens.js';
import type { Answering } from './answering.js';
import type { Sessions } from './sessions.js';
import { errorFrame, fromCaller, maxFrameBytes, protocol, toFrame, type Asked, type Told } from './frames.js';

export interface SocketServerOptions {
  /** Calls of one socket under way; more are refused with OVERLOADED. @default 512 */
  readonly maxCallsOfSocket?: number;
  /** What may wait for a caller to read it, in bytes; who has more is cut off. @default 8 MiB */
  readonly maxBufferedBytes?: number;
  /** How often a caller is pinged; one that has not answered by the next time is cut off. Milliseconds. @default 15000 */
  readonly pingEveryMs?: number;
}

/** Takes the sockets of callers. */
export function createSocketServer(
  answering: Answering,
  sessions: Sessions,
  log: Log,
  options: SocketServerOptions = {},
): { take(upgrade: EndpointUpgrade): void; close(): Promise<void> } {
  const server = new WebSocketServer({
    ...{ noServer: true, perMessageDeflate: false, maxPayload: maxFrameBytes },
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });
  server.on('wsClientError', (error) => {
    throw new SpoolError('INVALID_REQUEST', `this is no handshake of a WebSocket: ${error.message}`);
  });
  const stop = new AbortController();
  return {
    take({ request, socket, head, caller, signal }) {
      server.handleUpgrade(request, socket, head, (ws) => {
        serve(ws, caller, AbortSignal.any([signal, stop.signal]), answering, sessions, log, options);
      });
    },
    async close() {
      const closed = [...server.clients].map((ws) => new Promise<void>((resolve) => ws.once('close', () => resolve())));
      stop.abort();
      // Those who do not answer the close are not waited for.
      const cut = setTimeout(() => server.clients.forEach((ws) => ws.terminate()), 1000);
      await Promise.all(closed);
      clearTimeout(cut);
      server.close();
    },
  };
}

function serve(
  ws: WebSocket,
  caller: Caller,
  stopping: AbortSignal,
  answering: Answering,
  sessions: Sessions,
  log: Log,
  options: SocketServerOptions,
): void {
  const { maxCallsOfSocket = 512, maxBufferedBytes = 8 * 1024 * 1024, pingEveryMs = 15_000 } = options;
  const underWay = new Map<number, AbortController>();
  const streams = new Map<number, ReturnType<Sessions['open']>>();

  const tell = (frame: Told): void => {
    if (ws.readyState !== ws.OPEN) return;
    ws.send(toFrame(frame));
    // Whoever asks and asks and reads no answer.
    if (ws.bufferedAmount > maxBufferedBytes) ws.terminate();
  };
  const refuse = (of: number | undefined, thrown: unknown): void => {
    const error = toSpoolError(thrown);
    if (error.code === 'INTERNAL') log('error', 'a call of another instance failed', { caller: caller.instance, error: error.message });
    tell(errorFrame(of, error));
  };
  const admit = (): void => {
    if (underWay.size + streams.size < maxCallsOfSocket) return;
    throw new SpoolError('OVERLOADED', `${maxCallsOfSocket} calls of this socket are under way`, { retryAfterMs: 1000 });
  };
  const stream = (frame: Extract<Asked, { t: 'stream' }>): void => {
    const { call } = frame;
    try {
      admit();
      const link = sessions.open(caller, frame, {
        next: (number, type, value) => tell({ t: 'next', call, number, type, value }),
        completed: (last) => tell({ t: 'completed', call, last }),
        failed: (error) => refuse(call, error),
      });
      // Until its caller says that it has all of it, or is gone.
      streams.set(call, link);
    } catch (thrown) {
      refuse(call, thrown);
    }
  };
  const answer = async (frame: Extract<Asked, { t: 'query' | 'command' }>): Promise<void> => {
    const { t: kind, call, ...rest } = frame;
    const given = new AbortController();
    try {
      admit();
      underWay.set(call, given);
      const reply = await answering.answer(caller, { key: null, ...rest, kind }, given.signal);
      if (!given.signal.aborted) tell({ t: 'reply', call, ...reply });
    } catch (thrown) {
      if (!given.signal.aborted) refuse(call, thrown);
    } finally {
      underWay.delete(call);
    }
  };
  const take = async (message: Buffer, isBinary: boolean): Promise<void> => {
    if (!isBinary) throw new SpoolError('INVALID_REQUEST', 'a frame is binary, and this message is text');
    const frame = fromCaller(message);
    const known = underWay.has(frame.call) || streams.has(frame.call);
    switch (frame.t) {
      case 'cancel':
        underWay.get(frame.call)?.abort();
        streams.get(frame.call)?.cancel();
        streams.delete(frame.call);
        return;
      case 'credit':
        streams.get(frame.call)?.grant(frame.upTo, frame.has);
        return;
      default:
        if (known) throw new SpoolError('INVALID_REQUEST', `there is a call ${frame.call} already`);
        if (frame.t === 'stream') stream(frame);
        else await answer(frame);
    }
  };

  let alive = true;
  const pinging = setInterval(() => {
    if (!alive) ws.terminate();
    alive = false;
    ws.ping();
  }, pingEveryMs);
  const leave = (): void => ws.close(1001, 'this instance is stopping');
  ws.on('pong', () => (alive = true));
  ws.on('message', (data, isBinary) => {
    take(data as Buffer, isBinary).catch((thrown: unknown) => {
      // What it means cannot be known any more, nor whom it concerns.
      refuse(undefined, thrown);
      ws.close(1002, 'no frame of this protocol');
    });
  });
  // What is no WebSocket frame has a close code of its own, which ws has sent already.
  ws.on('error', () => undefined);
  ws.once('close', () => {
    clearInterval(pinging);
    stopping.removeEventListener('abort', leave);
    for (const each of underWay.values()) each.abort();
    for (const each of streams.values()) each.detach();
  });
  stopping.addEventListener('abort', leave, { once: true });
  if (stopping.aborted) leave();
}
