import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import type { Duplex } from 'node:stream';
import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Log } from '@spool/streams';
import { clusterKey } from './cluster-key.js';
import { closeServer, listen, problem, readBody } from './serving.js';
import { createTokens, type Caller, type Tokens } from './tokens.js';

/** Where an instance takes calls from others, and how they prove who they are. */
export interface EndpointSettings {
  /** Address to listen on. @default '127.0.0.1': this machine alone */
  readonly host?: string;
  /** @default 0: any that is free */
  readonly port?: number;
  /** What others are told to call, where it is not host and port. @default those; for all addresses of the machine, its host name */
  readonly url?: string;
  /** Key of the cluster, 32 bytes at least, the same in all instances. @default one in the data folder, as long as the host is this machine */
  readonly key?: string;
}
export interface EndpointOptions extends EndpointSettings {
  readonly self: Caller;
  readonly dataDir: string;
  readonly now: () => number;
  readonly log: Log;
  /** Told where it is as soon as it listens, and null at its end. */
  readonly onLocation: (url: string | null) => void;
  /** A longer body gets BODY_TOO_LARGE. @default 1 MiB */
  readonly maxBodyBytes?: number;
  /** Requests under way; more get OVERLOADED. @default 256 */
  readonly maxInFlight?: number;
  /** Of a request, and of the end, in milliseconds. @default 10000 */
  readonly timeoutMs?: number;
}

export interface EndpointRequest {
  readonly caller: Caller;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}
export interface EndpointResponse {
  /** @default 200, or 204 without a body */
  readonly status?: number;
  readonly body?: string | Uint8Array;
  /** @default 'application/octet-stream' */
  readonly contentType?: string;
}
/** A request to become a WebSocket, of a caller who has proved who it is. */
export interface EndpointUpgrade {
  readonly caller: Caller;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** Fires when the endpoint closes; sockets that are open some time later are cut. */
  readonly signal: AbortSignal;
}

/** One small HTTP server of an instance, for calls between instances. It listens from the first route on. */
export interface Endpoint extends AsyncDisposable {
  /** Where others reach it; undefined as long as it has no route. */
  readonly url: string | undefined;
  /** Who calls from here, and with what. */
  readonly self: Caller;
  /** Tokens for calls to others. @throws SpoolError INVALID_CONFIG without a key of the cluster */
  tokens(): Promise<Tokens>;
  /** Takes POST requests; what the handler throws becomes a problem document. @throws SpoolError INVALID_CONFIG, PORT_IN_USE */
  route(path: string, handler: (request: EndpointRequest) => Promise<EndpointResponse>): Promise<void>;
  /** Takes WebSockets. @throws SpoolError INVALID_CONFIG, PORT_IN_USE */
  upgrade(path: string, handler: (upgrade: EndpointUpgrade) => void): Promise<void>;
  close(): Promise<void>;
}

const loopback = new Set(['127.0.0.1', '::1', 'localhost']);
const anyAddress = new Set(['0.0.0.0', '::']);
const maxConnections = 1024;

export function createEndpoint(options: EndpointOptions): Endpoint {
  const { host = '127.0.0.1', port = 0, self, now, log, maxBodyBytes = 1024 * 1024, maxInFlight = 256, timeoutMs = 10_000 } = options;
  const routes = new Map<string, (request: EndpointRequest) => Promise<EndpointResponse>>();
  const upgrades = new Map<string, (upgrade: EndpointUpgrade) => void>();
  const sockets = new Set<Duplex>();
  const stop = new AbortController();
  let url: string | undefined;
  let inFlight = 0;
  let closing: Promise<void> | undefined;
  let made: Promise<Tokens> | undefined;
  const tokens = (): Promise<Tokens> => {
    made ??= clusterKey(options.key, loopback.has(host), options.dataDir).then((key) => createTokens({ key, self, now }));
    made.catch(() => (made = undefined));
    return made;
  };

  const handle = async (message: IncomingMessage): Promise<EndpointResponse> => {
    const route = routes.get(pathOf(message));
    if (route === undefined) throw new SpoolError('NOT_FOUND', `there is nothing at ${pathOf(message)}`);
    if (message.method !== 'POST') throw new SpoolError('METHOD_NOT_ALLOWED', `${message.method} is not POST`);
    const caller = await (await tokens()).check(message.headers.authorization);
    return route({ caller, headers: message.headers, body: await readBody(message, maxBodyBytes) });
  };
  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      if (inFlight >= maxInFlight) throw new SpoolError('OVERLOADED', `${maxInFlight} requests are under way`, { retryAfterMs: 1000 });
      inFlight += 1;
      const { body, contentType = 'application/octet-stream', status } = await handle(message).finally(() => (inFlight -= 1));
      // A connection that is kept for more would hold up the end.
      if (closing !== undefined) response.setHeader('connection', 'close');
      response.writeHead(status ?? (body === undefined ? 204 : 200), body === undefined ? {} : { 'content-type': contentType }).end(body);
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.code === 'INTERNAL') log('error', 'a call of another instance failed', { path: pathOf(message), error: error.message });
      problem(message, response, error);
    }
  };
  const open = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    // Whoever waits for the upgrade may go meanwhile.
    const gone = (): void => void socket.destroy();
    socket.on('error', gone);
    try {
      const handler = upgrades.get(pathOf(request));
      if (handler === undefined) throw new SpoolError('NOT_FOUND', `there is nothing at ${pathOf(request)}`);
      const caller = await (await tokens()).check(request.headers.authorization);
      if (closing !== undefined) throw new SpoolError('UNAVAILABLE', 'this instance is stopping', { retryAfterMs: 1000 });
      socket.off('error', gone);
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      handler({ caller, request, socket, head, signal: stop.signal });
    } catch (thrown) {
      const { code, entry, message } = toSpoolError(thrown);
      const body = JSON.stringify({ type: `urn:spool:problem:${code}`, code, status: entry.status, title: entry.title, detail: message });
      const lines = [
        `HTTP/1.1 ${entry.status} ${STATUS_CODES[entry.status] ?? ''}`,
        'connection: close',
        'content-type: application/problem+json',
        `content-length: ${Buffer.byteLength(body)}`,
      ];
      socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
    }
  };

  let listening: Promise<void> | undefined;
  let server: Server | undefined;
  const start = async (): Promise<void> => {
    await tokens();
    server = createServer({ requestTimeout: timeoutMs, headersTimeout: timeoutMs }, (message, response) => void serve(message, response));
    server.maxConnections = maxConnections;
    server.on('upgrade', (request, socket, head) => void open(request, socket, head));
    const origin = await listen(server, { host, port }, 'calls between instances');
    url = (options.url ?? (anyAddress.has(host) ? `http://${hostname()}:${new URL(origin).port}` : origin)).replace(/\/$/, '');
    log('info', 'calls of other instances are taken', { url });
    options.onLocation(url);
  };
  const wanted = async (): Promise<void> => {
    if (closing !== undefined) throw new SpoolError('UNAVAILABLE', 'the endpoint is closed');
    listening ??= start();
    listening.catch(() => (listening = undefined));
    await listening;
  };
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      await listening?.catch(() => undefined);
      if (url === undefined || server === undefined) return;
      options.onLocation(null);
      stop.abort();
      const cut = setTimeout(() => sockets.forEach((socket) => socket.destroy()), timeoutMs);
      await closeServer(server, timeoutMs);
      clearTimeout(cut);
      url = undefined;
    })());
  return {
    get url() {
      return url;
    },
    self,
    tokens,
    async route(path, handler) {
      routes.set(path, handler);
      await wanted();
    },
    async upgrade(path, handler) {
      upgrades.set(path, handler);
      await wanted();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

const pathOf = ({ url = '/' }: IncomingMessage): string => url.split('?', 1)[0]!;
