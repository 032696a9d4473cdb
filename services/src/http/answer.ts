import type { ServerResponse } from 'node:http';
import { SpoolError } from '@spool/schemas';
import type { Exchange } from './exchange.js';
import { problemMediaType, problemOf, retryAfterSeconds } from './problem.js';
import type { AnyReply, Route } from './route.js';

/** Writes what a handler returned. @throws SpoolError INTERNAL if the route does not declare the status */
export function answer(response: ServerResponse, route: Route, reply: AnyReply): void {
  const spec = route.responses[reply.status];
  if (spec === undefined)
    throw new SpoolError('INTERNAL', `${route.method} ${route.path} answered ${reply.status}, which it does not declare`);
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value);
  if (spec.schema !== undefined) {
    const json = JSON.stringify(reply.body);
    write(response, reply.status, spec.contentType ?? 'application/json', json);
  } else if (reply.body === undefined) {
    response.writeHead(reply.status).end();
  } else {
    write(response, reply.status, spec.contentType ?? 'text/plain; charset=utf-8', reply.body as string | Uint8Array);
  }
}

function write(response: ServerResponse, status: number, contentType: string, body: string | Uint8Array): void {
  response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': Buffer.byteLength(body) }).end(body);
}

/** Writes the problem document of an error; if the answer has begun already, cuts it off, so that nobody takes it for whole. */
export function answerProblem(exchange: Exchange, error: SpoolError): void {
  const { response } = exchange;
  if (response.headersSent) {
    if (!response.writableEnded) response.destroy();
    return;
  }
  if (response.destroyed) return;
  const seconds = retryAfterSeconds(error);
  if (seconds !== undefined) response.setHeader('Retry-After', seconds);
  if (error.code === 'UNAUTHENTICATED') response.setHeader('WWW-Authenticate', 'Bearer realm="spool"');
  response.setHeader('Cache-Control', 'no-store');
  write(response, error.entry.status, problemMediaType, JSON.stringify(problemOf(error, exchange)));
}
