import { SpoolError } from '@spool/schemas';
import type { StreamContext } from './route.js';

export interface EventStreamOptions {
  /** A comment is sent this often, so that proxies keep a quiet connection. Milliseconds. @default 15000 */
  readonly heartbeatMs?: number;
  /** What may wait for a slow client; beyond it the client gets `resync` and is cut off. @default 1 MiB */
  readonly maxBufferedBytes?: number;
  /** How long a client that was cut off may take to read what is left, in milliseconds. @default 5000 */
  readonly farewellMs?: number;
}

export interface ServerEvent {
  /** Comes back as Last-Event-ID after a lost connection. One line. */
  readonly id?: string;
  /** The type. One line. @default 'message' */
  readonly event?: string;
  readonly data: string;
  /** Milliseconds after which the client may connect again. */
  readonly retry?: number;
}

/** One client's server-sent events. */
export interface EventStream {
  /** What the client saw last, from its Last-Event-ID header. */
  readonly lastEventId: string | undefined;
  /**
   * Queues an event. @returns false once the stream has ended: stop producing
   * @throws SpoolError INTERNAL if id or event hold a line break
   */
  send(event: ServerEvent): boolean;
  /** Queues an event that was written out by `eventBytes`, the same bytes for many clients. @returns as `send` */
  write(bytes: Buffer): boolean;
  /** Resolves when at most half of the buffer is full, or the stream has ended. A source that can wait (a read of history) awaits it after each send. */
  ready(): Promise<void>;
  /** Ends the stream after what is queued. */
  close(): Promise<void>;
  /** Resolves when the stream has ended, for whatever reason. */
  readonly ended: Promise<void>;
}

/**
 * Begins to answer with server-sent events. The stream ends by `close`, when the client goes, the server closes, or the credentials
 * expire. A client that reads too slowly is told `event: resync` (it has missed events: read the state anew) and cut off; what it was
 * sent never takes more than `maxBufferedBytes` and one event of memory.
 */
export function openEventStream(context: StreamContext, options: EventStreamOptions = {}): EventStream {
  const { response, request, signal } = context;
  const { heartbeatMs = 15_000, maxBufferedBytes = 1024 * 1024, farewellMs = 5_000 } = options;
  let open = true;
  const ended = new Promise<void>((resolve) => response.once('close', resolve));
  const end = (last: string): void => {
    if (!open) return;
    open = false;
    clearInterval(heartbeat);
    signal.removeEventListener('abort', endQuietly);
    response.end(last);
    const cut = setTimeout(() => response.destroy(), farewellMs);
    void ended.then(() => {
      clearTimeout(cut);
    });
  };
  const endQuietly = (): void => {
    end('');
  };
  const write = (text: string | Buffer): boolean => {
    if (!open) return false;
    if (response.writableLength > maxBufferedBytes) end('event: resync\ndata: {}\n\n');
    else response.write(text);
    return open;
  };

  response.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-cache, no-transform',
    // nginx would hold events back.
    'X-Accel-Buffering': 'no',
  });
  response.flushHeaders();
  const heartbeat = setInterval(() => write(':\n\n'), heartbeatMs);
  signal.addEventListener('abort', endQuietly, { once: true });
  void ended.then(endQuietly);
  if (signal.aborted) endQuietly();

  const lastEventId = request.headers['last-event-id'];
  return {
    lastEventId: typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : undefined,
    send: (event) => write(format(event)),
    write,
    ready: async () => {
      while (open && response.writableNeedDrain && response.writableLength > maxBufferedBytes / 2) {
        await Promise.race([new Promise((resolve) => response.once('drain', resolve)), ended]);
      }
    },
    close: () => {
      endQuietly();
      return ended;
    },
    ended,
  };
}

/** An event as bytes. @throws SpoolError INTERNAL if id or event hold a line break */
export const eventBytes = (event: ServerEvent): Buffer => Buffer.from(format(event));

function format({ id, event, data, retry }: ServerEvent): string {
  if (/[\r\n\0]/.test(`${id ?? ''}${event ?? ''}`))
    throw new SpoolError('INTERNAL', 'An id or a type of a server-sent event is to be one line');
  const head = `${id === undefined ? '' : `id: ${id}\n`}${event === undefined ? '' : `event: ${event}\n`}${retry === undefined ? '' : `retry: ${retry}\n`}`;
  return `${head}${data
    .split(/\r\n|[\r\n]/)
    .map((line) => `data: ${line}\n`)
    .join('')}\n`;
}
