import { SpoolError, toSpoolError } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { WebSocketServer, type WebSocket } from 'ws';
import { z } from 'zod';
import type { Delivery, Tails } from '../event-store/index.js';
import { continueTrace, parseInput, problemOf, type SocketContext, type SocketRoute } from '../http/index.js';
import { eventFilter, tailFilter, tailFrom } from './event-filter.js';
import { positionToken } from './messages.js';

export interface StreamSocketOptions {
  readonly tails: Tails;
  readonly topics: TopicCatalogue;
  /** What may wait for one client, whatever it has subscribed to; what waits for many is the same bytes. @default 256 KiB */
  readonly maxBufferedBytes?: number;
  /** Of one socket. @default 50 */
  readonly maxSubscriptions?: number;
  /** How often a client is pinged; one that has not answered by the next time is cut off. Milliseconds. @default 30000 */
  readonly pingEveryMs?: number;
}

const protocol = 'spool.v1';
const path = '/api/v1/stream';
/** Of one message of a client, in bytes. */
const maxPayload = 64 * 1024;

const id = z.string().min(1).max(64);
const request = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('subscribe'),
    id,
    filter: z.strictObject(eventFilter).default({}),
    from: tailFrom,
    after: positionToken.optional(),
  }),
  z.strictObject({ type: z.literal('unsubscribe'), id }),
  z.strictObject({ type: z.literal('ping') }),
]);
type Request = z.output<typeof request>;

/** Events over a WebSocket, several subscriptions on one. */
export function streamSocket(options: StreamSocketOptions): SocketRoute {
  const server = new WebSocketServer({
    ...{ noServer: true, clientTracking: false, perMessageDeflate: false, maxPayload },
    // Never the one that carries credentials.
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });
  // Thrown within `handleUpgrade`, and so answered as a problem.
  server.on('wsClientError', (error) => {
    throw new SpoolError('INVALID_REQUEST', `this is no handshake of a WebSocket: ${error.message}`);
  });
  return {
    path,
    summary: 'Events as they happen, several subscriptions over one WebSocket',
    description: [
      `Subprotocol \`${protocol}\`; each message is one JSON text. A client sends \`{"type":"subscribe","id","filter","from","after"}\` (the filter has the`,
      'parameters of GET /api/v1/events; `from` is `now`, `earliest`, a time or a position; `after` is the position of the last item it has, and goes before',
      '`from`), `{"type":"unsubscribe","id"}` and `{"type":"ping"}`. It gets `{"type":"subscribed","id","position"}`, then `event` (with `position` and',
      '`event`) and `position` (with the position alone) for each subscription, `unsubscribed`, `pong`, and `{"type":"error","id","problem"}` with a problem',
      'document: an error that names a subscription has ended it. A client that is too slow for the present gets `{"type":"resync","id","position"}`; that',
      'subscription has ended, and is taken up again by subscribing with `after` when the client has read what it was sent.',
    ].join(' '),
    tag: 'events',
    role: ['bundle', 'analyst'],
    errors: ['INVALID_REQUEST'],
    handler(context) {
      server.handleUpgrade(context.request, context.socket, context.head, (socket) => {
        serve(socket, context, options);
      });
    },
  };
}

function serve(ws: WebSocket, { socket, signal }: SocketContext, options: StreamSocketOptions): void {
  const { tails, topics, maxBufferedBytes = 256 * 1024, maxSubscriptions = 50, pingEveryMs = 30_000 } = options;
  const { traceId } = continueTrace(undefined);
  const subscriptions = new Map<string, AbortController>();
  const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()));

  let answering = 0;
  const tell = (message: object): void => {
    if (ws.readyState !== ws.OPEN) return;
    const text = JSON.stringify(message);
    answering += text.length;
    ws.send(text, () => (answering -= text.length));
    // Whoever asks and asks and reads no answer.
    if (answering > maxBufferedBytes) ws.terminate();
  };
  const refuse = (thrown: unknown, of?: string): void => {
    tell({ type: 'error', ...(of === undefined ? {} : { id: of }), problem: problemOf(toSpoolError(thrown), { path, traceId }) });
  };
  let drained: Promise<void> | undefined;
  let flow: () => void = () => undefined;
  const goOn = (): void => {
    drained = undefined;
    flow();
  };
  socket.on('drain', goOn);
  const ready = async (): Promise<void> => {
    while (ws.readyState === ws.OPEN && socket.writableNeedDrain && socket.writableLength > maxBufferedBytes / 2) {
      // One for all subscriptions that wait.
      drained ??= new Promise((resolve) => (flow = resolve));
      await drained;
    }
  };
  const subscribe = async ({ id, filter, from, after }: Extract<Request, { type: 'subscribe' }>): Promise<void> => {
    if (subscriptions.has(id)) throw new SpoolError('INVALID_REQUEST', `there is a subscription ${id} already`);
    if (subscriptions.size >= maxSubscriptions)
      throw new SpoolError('OVERLOADED', `${maxSubscriptions} subscriptions are the most of one socket`);
    const ending = new AbortController();
    subscriptions.set(id, ending);
    try {
      const tail = await tails.open({
        ...tailFilter(filter, topics),
        from,
        resume: after === '' ? undefined : after,
        signal: ending.signal,
      });
      tell({ type: 'subscribed', id, position: tail.position });
      let last = tail.position;
      await tail.follow({
        ready,
        deliver(item) {
          if (ws.readyState !== ws.OPEN) return false;
          if (socket.writableLength > maxBufferedBytes) {
            tell({ type: 'resync', id, position: last });
            return false;
          }
          last = item.position;
          ws.send(
            item.encoded(`ws ${id}`, (each) => bytesOf(each, id)),
            { binary: false },
          );
          return true;
        },
      });
    } catch (thrown) {
      if (!ending.signal.aborted) refuse(thrown, id);
    } finally {
      if (ending.signal.aborted) tell({ type: 'unsubscribed', id });
      subscriptions.delete(id);
    }
  };
  const take = async (data: Buffer, isBinary: boolean): Promise<void> => {
    try {
      if (isBinary) throw new SpoolError('INVALID_REQUEST', 'a message is one JSON text, and this one is binary');
      const message = parseInput(request, parsed(data.toString()), 'body');
      switch (message.type) {
        case 'subscribe':
          await subscribe(message);
          return;
        case 'unsubscribe':
          if (!subscriptions.has(message.id)) throw new SpoolError('NOT_FOUND', `there is no subscription ${message.id}`);
          subscriptions.get(message.id)!.abort();
          return;
        case 'ping':
          tell({ type: 'pong' });
      }
    } catch (thrown) {
      refuse(thrown);
    }
  };

  let alive = true;
  const pinging = setInterval(() => {
    if (!alive) ws.terminate();
    alive = false;
    ws.ping();
  }, pingEveryMs);
  const leave = (): void => {
    if ((signal.reason as SpoolError | undefined)?.code === 'UNAUTHENTICATED') ws.close(1008, 'the credentials have expired');
    else ws.close(1001, 'this instance is stopping');
  };
  ws.on('pong', () => (alive = true));
  ws.on('message', (data, isBinary) => void take(data as Buffer, isBinary));
  // What is no WebSocket frame has a close code of its own, which ws has sent already.
  ws.on('error', () => undefined);
  void closed.then(() => {
    clearInterval(pinging);
    goOn();
    signal.removeEventListener('abort', leave);
    for (const each of subscriptions.values()) each.abort();
  });
  signal.addEventListener('abort', leave, { once: true });
  if (signal.aborted) leave();
}

const bytesOf = ({ position, data }: Delivery, id: string): Buffer =>
  Buffer.from(
    data === ''
      ? JSON.stringify({ type: 'position', id, position })
      : `{"type":"event","id":${JSON.stringify(id)},"position":${JSON.stringify(position)},"event":${data}}`,
  );

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SpoolError('INVALID_REQUEST', 'the message is not JSON', { cause });
  }
}
