/** The API as an express application: media types, bounds, and errors in the form that clients of Confluent's registry parse. */
import type { Log } from '@spool/streams';
import express, { type ErrorRequestHandler, type Express, type Request, type RequestHandler, type Response } from 'express';
import { RegistryError } from '../errors.js';
import { routes, type Registry } from './routes.js';

export interface AppOptions {
  readonly registry: Registry;
  /** Runs before every route, health aside: authentication and authorisation of the platform. */
  readonly middleware: readonly RequestHandler[];
  /** Why the registry cannot serve, or undefined. */
  readonly problem: () => string | undefined;
  /** A longer body is refused with 413. */
  readonly maxBodyBytes: number;
  readonly log: Log;
}

const mediaTypes = ['application/vnd.schemaregistry.v1+json', 'application/vnd.schemaregistry+json', 'application/json'];

export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/livez', (_, response) => void response.json({ status: 'live' }));
  app.get('/readyz', (_, response) => {
    const problem = options.problem();
    response.status(problem === undefined ? 200 : 503).json(problem === undefined ? { status: 'ready' } : { status: 'not ready', problem });
  });
  app.use(negotiate, ...options.middleware);
  // Clients that name no type send application/octet-stream; Confluent's registry reads that as JSON too.
  app.use(express.json({ type: [...mediaTypes, 'application/octet-stream'], limit: options.maxBodyBytes }), refuseOtherBodies);
  for (const [path, answers] of Object.entries(routes)) {
    const route = app.route(path);
    for (const [method, answer] of Object.entries(answers)) {
      route[method as 'get']((request, response, next) => {
        Promise.resolve()
          .then(() => answer(request, options.registry))
          .then((body) => send(request, response, 200, body))
          .catch(next);
      });
    }
    route.all((_, response) => {
      response.setHeader('Allow', Object.keys(answers).join(', ').toUpperCase());
      throw new RegistryError(405, 405, 'HTTP 405 Method Not Allowed');
    });
  }
  app.use(() => {
    throw new RegistryError(404, 404, 'HTTP 404 Not Found');
  });
  app.use(errorHandler(options.log));
  return app;
}

const negotiate: RequestHandler = (request, response, next) => {
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (request.accepts(mediaTypes) === false) throw new RegistryError(406, 406, `HTTP 406 Not Acceptable: one of ${mediaTypes.join(', ')}`);
  next();
};

/** A body that the parser skipped would look like none at all. */
const refuseOtherBodies: RequestHandler = (request, _, next) => {
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
  if (hasBody && request.body === undefined) throw new RegistryError(415, 415, 'HTTP 415 Unsupported Media Type: send application/json');
  next();
};

function send(request: Request, response: Response, status: number, body: unknown): void {
  const type = request.accepts(mediaTypes) || mediaTypes[0]!;
  response.status(status).setHeader('Content-Type', type);
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

const errorHandler =
  (log: Log): ErrorRequestHandler =>
  (thrown: unknown, request, response, next) => {
    if (response.headersSent) {
      next(thrown);
      return;
    }
    const error = toRegistryError(thrown);
    if (error.status >= 500)
      log('error', `${request.method} ${request.path}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    if (error.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(error.retryAfterSeconds));
    send(request, response, error.status, { error_code: error.code, message: error.message });
  };

/** Express and its body parser mark what the client did wrong with `status`; everything else is ours, and its message stays here. */
function toRegistryError(thrown: unknown): RegistryError {
  if (thrown instanceof RegistryError) return thrown;
  const { status, type } = thrown as { readonly status?: unknown; readonly type?: unknown };
  if (typeof status !== 'number' || status < 400 || status > 499) return new RegistryError(500, 500, 'Internal Server Error');
  if (type === 'entity.too.large') return new RegistryError(413, 413, 'The request body is too large');
  return new RegistryError(status, status, thrown instanceof Error ? thrown.message : `HTTP ${status}`);
}
