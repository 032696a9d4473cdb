import { lookup } from 'node:dns/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { isIPv6, Server as NetServer, type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { answerProblem } from './answer.js';
import { createApp } from './app.js';
import type { Auth } from './auth/auth.js';
import { authSettingsHint } from './auth/settings.js';
import { checkDeclarations } from './declarations.js';
import { Traffic, type Edge } from './edge.js';
import { createGuard, isLoopback } from './guards.js';
import { createIntake, type Intake } from './intake.js';
import { defaultLimits, type HttpLimits } from './limits.js';
import { describeApi, type ApiInfo, type OpenApiDocument } from './openapi/document.js';
import { renderPage } from './openapi/page.js';
import { ownRoutes, type OwnRoutesOptions } from './own-routes.js';
import { createRates } from './rates.js';
import { writeRawProblem } from './raw-problem.js';
import { createReadiness, type ReadinessCheck } from './readiness.js';
import { requestMetrics } from './request-metrics.js';
import type { RequiredRole } from './roles.js';
import type { Route } from './route.js';
import type { SocketRoute } from './socket-route.js';
import { continueTrace } from './trace.js';
import { acceptUpgrades, type Upgrades } from './upgrades.js';

export interface HttpOptions {
  /** A name or an address. Beyond loopback it is refused unless `auth` is configured. @default '127.0.0.1' */
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly routes: readonly Route[];
  readonly sockets?: readonly SocketRoute[];
  readonly auth: Auth;
  readonly info: ApiInfo;
  /** What is to stand in the description besides the routes, and is not the same for ever. @default nothing */
  readonly described?: {
    with(document: OpenApiDocument): OpenApiDocument;
    onChange(changed: () => void): void;
  };
  readonly readiness?: readonly ReadinessCheck[];
  /** Gets `spool_http_request_duration_seconds`; may be shared by several servers. */
  readonly metrics: Registry;
  /** Who may read /metrics. @default 'analyst' */
  readonly metricsRole?: RequiredRole;
  readonly log: Logger;
  readonly limits?: Partial<HttpLimits>;
  /** PEM texts. Without them answers are in clear: put TLS before the server, or stay on loopback. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
  /** Names that the Host header may have, besides the address and, on loopback, localhost. @default beyond loopback: all */
  readonly allowedHosts?: readonly string[];
  /** Origins whose pages may call this and read the answers (CORS), as `https://console.example`. @default none */
  readonly allowedOrigins?: readonly string[];
  /** Addresses of the proxies whose X-Forwarded-For is believed. @default none */
  readonly trustProxy?: readonly string[];
  /** For tests: a reply that does not fit its schema becomes INTERNAL. @default false */
  readonly checkReplies?: boolean;
}

export interface HttpServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /**
   * Stops accepting, ends streams and idle connections, waits for handlers up to `closeWithinMs`, then aborts what is left. Ends within
   * `closeWithinMs` and a second. It may be called again.
   */
  close(): Promise<void>;
}

/** @throws SpoolError INVALID_CONFIG (routes, host without authentication, TLS), PORT_IN_USE */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  // 1. Everything that can be refused is refused before the port is open.
  const { host = '127.0.0.1', sockets = [], auth, info, log, tls, allowedOrigins = [] } = options;
  const limits: HttpLimits = { ...defaultLimits, ...options.limits };
  const { address } = await lookup(host).catch((cause: unknown) => {
    throw new SpoolError('INVALID_CONFIG', `The host ${host} cannot be resolved`, { cause });
  });
  if (!auth.configured && !isLoopback(address)) {
    throw new SpoolError('INVALID_CONFIG', `Listening on ${host} would let everybody in: set ${authSettingsHint}, or listen on 127.0.0.1`);
  }
  const declared = onlyOnce((): OpenApiDocument => describeApi(info, routes, sockets));
  let described: ReturnType<OwnRoutesOptions['pages']> | undefined;
  const pages: OwnRoutesOptions['pages'] = () => {
    if (described !== undefined) return described;
    const document = options.described?.with(declared()) ?? declared();
    return (described = { document: JSON.stringify(document), ...renderPage(document) });
  };
  options.described?.onChange(() => (described = undefined));
  const readiness = createReadiness(options.readiness ?? []);
  const routes = [
    ...ownRoutes({ readiness, metrics: options.metrics, metricsRole: options.metricsRole ?? 'analyst', pages }),
    ...options.routes,
  ];
  checkDeclarations(routes, sockets);
  pages();

  // 2. The server.
  const traffic = new Traffic(limits);
  const rates = createRates(limits.rates);
  const edge: Edge = { auth, limits, rates, log, traffic, checkReplies: options.checkReplies ?? false };
  const guard = createGuard({ address, host, allowedHosts: options.allowedHosts ?? [], allowedOrigins });
  const app = createApp({
    edge,
    routes,
    sockets,
    guard,
    allowedOrigins,
    trustProxy: options.trustProxy ?? [],
    secure: tls !== undefined,
    observe: requestMetrics(options.metrics, info.name),
  });
  const open = new Set(routes.filter(({ rateClass }) => rateClass === 'unlimited').map(({ path }) => path));
  const intake = createIntake(app, { open, most: limits.maxInFlight, allowedOrigins, metrics: options.metrics });
  const { listener } = intake;
  const timeouts = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs),
  };
  const server = tls === undefined ? createServer(timeouts, listener) : createTls(timeouts, tls, listener);
  server.maxConnections = limits.maxConnections;
  server.on('connection', intake.connected);
  server.on('clientError', answerBrokenRequest);
  const upgrades = sockets.length === 0 ? undefined : acceptUpgrades(server, sockets, edge, guard);
  try {
    await listen(server, address, options.port);
  } catch (error) {
    rates.close();
    throw error;
  }
  if (tls === undefined && !isLoopback(address))
    log.warn({ host }, 'credentials and data travel in clear: set a certificate, or put TLS before this server');

  const { port } = server.address() as AddressInfo;
  const close = onlyOnce(async () => {
    await closeServer(server, intake, traffic, upgrades, limits.closeWithinMs);
    rates.close();
  });
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${isIPv6(address) ? `[${address}]` : address}:${port}`,
    port,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function createTls(timeouts: object, tls: NonNullable<HttpOptions['tls']>, listener: RequestListener): Server {
  try {
    return createSecureServer({ ...timeouts, cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' }, listener);
  } catch (cause) {
    // OpenSSL's message names the kind of the fault, not the key.
    throw new SpoolError('INVALID_CONFIG', `The TLS certificate or key cannot be used: ${(cause as Error).message}`, { cause });
  }
}

/** Connections that wait to be accepted; beyond, callers are not heard and try again after a second. The system may allow fewer. */
const backlog = 4096;

function listen(server: Server, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new SpoolError('PORT_IN_USE', `Port ${port} on ${address} is in use`, { cause: error, facts: { port } })
          : new SpoolError('INVALID_CONFIG', `Cannot listen on ${address}:${port}: ${error.message}`, { cause: error }),
      );
    });
    server.listen({ port, host: address, backlog }, resolve);
  });
}

/** Requests that Node gives up on: headers that are too large, what is no HTTP, what does not arrive in time. */
function answerBrokenRequest(failure: NodeJS.ErrnoException, socket: Duplex): void {
  const error =
    failure.code === 'HPE_HEADER_OVERFLOW'
      ? new SpoolError('HEADERS_TOO_LARGE', 'The headers of the request are larger than this server takes')
      : failure.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new SpoolError('REQUEST_TIMEOUT', 'The request did not arrive in time')
        : new SpoolError('INVALID_REQUEST', 'This is not HTTP/1.1');
  if (failure.code === 'ECONNRESET') socket.destroy();
  else writeRawProblem(socket, error, { path: '/', traceId: continueTrace(undefined).traceId });
}

/** What was sent before it stopped listening is read within this time, and refused or answered. Milliseconds. */
const lingerMs = 250;

async function closeServer(
  server: Server,
  intake: Intake,
  traffic: Traffic,
  upgrades: Upgrades | undefined,
  withinMs: number,
): Promise<void> {
  traffic.closing = true;
  // Who gets these answers sends nothing more over a connection that is about to end.
  for (const { response } of traffic.handling) if (!response.headersSent) response.setHeader('Connection', 'close');
  // Listens no more. The server's own `close` would also cut the connections whose next request has been sent and not been read yet.
  const closed = new Promise<void>((resolve) => {
    NetServer.prototype.close.call(server, () => resolve());
  });
  for (const stream of traffic.streaming) stream.abort('UNAVAILABLE', 'This instance is stopping');
  upgrades?.abort();
  await sleep(Math.min(lingerMs, withinMs));
  server.close();
  const quiet = (): boolean =>
    intake.waiting === 0 && traffic.handling.size === 0 && traffic.streaming.size === 0 && (upgrades?.size ?? 0) === 0;
  await until(quiet, withinMs, server);
  for (const exchange of traffic.handling) exchange.abort(exchange.safe ? 'UNAVAILABLE' : 'INDETERMINATE', 'This instance is stopping');
  await until(quiet, 500, server);
  for (const exchange of traffic.handling) answerProblem(exchange, exchange.aborted!);
  await sleep(traffic.handling.size > 0 ? 50 : 0);
  upgrades?.destroy();
  server.closeAllConnections();
  await closed;
}

async function until(done: () => boolean, withinMs: number, server: Server): Promise<void> {
  const end = performance.now() + withinMs;
  while (!done() && performance.now() < end) {
    server.closeIdleConnections();
    await sleep(10);
  }
}

function onlyOnce<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
