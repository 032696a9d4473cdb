import { SpoolError, toSpoolError } from '@spool/schemas';
import express, { type ErrorRequestHandler, type Express, type Request, type RequestHandler, type Response } from 'express';
import helmet from 'helmet';
import { answerProblem } from './answer.js';
import type { Edge } from './edge.js';
import { Exchange } from './exchange.js';
import { answerCrossOrigin } from './guards.js';
import type { Arrived } from './intake.js';
import type { Route } from './route.js';
import { serveRoute } from './serve-route.js';
import type { SocketRoute } from './socket-route.js';

export interface AppOptions {
  readonly edge: Edge;
  readonly routes: readonly Route[];
  readonly sockets: readonly SocketRoute[];
  readonly guard: (request: Request) => void;
  readonly allowedOrigins: readonly string[];
  readonly trustProxy: readonly string[];
  readonly secure: boolean;
  readonly observe: (exchange: Exchange) => void;
}

/** The express application: guards, one handler for each declared route, and problem documents for all that is left. */
export function createApp(options: AppOptions): Express {
  const { edge, guard, allowedOrigins, observe } = options;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.set('trust proxy', [...options.trustProxy]);

  app.use(securityHeaders(options.secure));
  app.use((request, response, next) => {
    const exchange = new Exchange(request, response, locals(response).arrivedAt, edge.log);
    locals(response).exchange = exchange;
    if (edge.traffic.closing) response.setHeader('Connection', 'close');
    response.once('close', () => {
      if (!response.writableFinished) {
        exchange.gone = true;
        exchange.abort('UNAVAILABLE', 'The client has gone away');
      }
      observe(exchange);
      if (edge.log.isLevelEnabled('debug')) logRequest(exchange);
    });
    guard(request);
    if (!answerCrossOrigin(request, response, allowedOrigins)) next();
  });

  for (const each of options.routes) {
    const serve = serveRoute(each, edge);
    app[each.method.toLowerCase() as 'get'](expressPath(each.path), (request, response, next) => {
      // Express takes a GET for a HEAD too; of a stream there is no head without the stream.
      if (each.stream !== true || request.method !== 'HEAD') return serve(locals(response).exchange);
      next();
      return undefined;
    });
  }
  for (const { path } of options.sockets) app.get(expressPath(path), askForUpgrade);
  for (const [path, methods] of methodsByPath(options.routes)) {
    app.all(expressPath(path), (_request, response, next) => {
      (locals(response).allowed ??= []).push(...methods);
      next();
    });
  }
  app.use(unmatched);
  // Express knows by the number of parameters that this one takes errors.
  // eslint-disable-next-line @typescript-eslint/no-unused-vars
  const failed: ErrorRequestHandler = (thrown, request, response, next) => {
    const { exchange } = locals(response);
    const error = problemOfExpress(thrown);
    if (error.code === 'INTERNAL')
      edge.log.error({ err: error.cause, path: exchange.path, traceId: exchange.traceId }, 'request failed unexpectedly');
    answerProblem(exchange, error);
  };
  app.use(failed);
  return app;
}

function logRequest({ log, request, response, path, gone, arrivedAt, principal }: Exchange): void {
  const ms = performance.now() - arrivedAt;
  log.debug({ method: request.method, path, status: gone ? 499 : response.statusCode, ms, principal: principal.name }, 'request');
}

/** `/a/{b}` as express writes it: `/a/:b`. */
const expressPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ':$1');

function methodsByPath(routes: readonly Route[]): ReadonlyMap<string, readonly string[]> {
  const methods = new Map<string, string[]>();
  for (const { method, path, stream } of routes)
    methods.set(path, [...(methods.get(path) ?? []), ...(method === 'GET' && stream !== true ? ['GET', 'HEAD'] : [method])]);
  return methods;
}

/** What travels with a request. Not in a WeakMap: with a short-lived key for each request they make the collector's work a fifth of the whole. */
interface Locals extends Arrived {
  exchange: Exchange;
  /** The methods that the paths which fit the request have; several paths may fit. */
  allowed?: string[];
}
const locals = (response: Response): Locals => response.locals as Locals;

const askForUpgrade: RequestHandler = (_request, response) => {
  response.setHeader('Upgrade', 'websocket');
  throw new SpoolError('UPGRADE_REQUIRED', 'There is a WebSocket at this path, and the request asks for no upgrade');
};

const unmatched: RequestHandler = (request, response) => {
  const methods = [...new Set(locals(response).allowed)];
  if (methods.length === 0) throw new SpoolError('NOT_FOUND', 'There is nothing at this path');
  response.setHeader('Allow', [...methods, 'OPTIONS'].join(', '));
  if (request.method !== 'OPTIONS')
    throw new SpoolError('METHOD_NOT_ALLOWED', `${request.method} is not possible here; ${methods.join(', ')} is`);
  response.writeHead(204).end();
};

/** Express itself throws errors with a `status` for paths that it cannot decode. */
function problemOfExpress(thrown: unknown): SpoolError {
  const status = (thrown as { readonly status?: unknown } | null)?.status;
  if (!(thrown instanceof SpoolError) && status === 400)
    return new SpoolError('INVALID_REQUEST', 'The path is not percent-encoded well', { cause: thrown });
  return toSpoolError(thrown);
}

function securityHeaders(secure: boolean): RequestHandler {
  return helmet({
    // Answers are data; the one page (/docs) sets its own policy.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"] },
    },
    strictTransportSecurity: secure ? { maxAge: 31_536_000, includeSubDomains: false } : false,
  });
}
