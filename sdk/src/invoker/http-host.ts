import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { closeServer, listen, problem, readBody } from '../endpoint/serving.js';
import type { Gateway } from '../gateway/messages.js';
import { handled, type Hosting } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { newTraceparent } from '../host/traces.js';
import { bounded } from './bounded.js';
import { invokerContext } from './context.js';
import type { HttpInvoker, HttpRequest, HttpResponse } from './http.js';

/** Idle ones among them; more are turned away by the socket. */
const maxConnections = 1024;
const idempotencyKey = /^[\x21-\x7e]{1,200}$/;

/**
 * Serves the endpoint until the signal fires; then it takes no more requests and finishes those under way.
 * @returns what resolves when it has ended. @throws SpoolError PORT_IN_USE
 */
export async function hostHttp(
  hosting: Hosting,
  invoker: HttpInvoker,
  gateway: Gateway,
  stop: AbortSignal,
): Promise<{ readonly ended: Promise<void> }> {
  let inFlight = 0;
  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (inFlight >= invoker.maxInFlight) {
      problem(
        message,
        response,
        new SpoolError('OVERLOADED', `${invoker.maxInFlight} requests are under way already`, { retryAfterMs: 1000 }),
      );
      return;
    }
    inFlight += 1;
    try {
      const made = await handle(hosting, invoker, gateway, message);
      // A connection that is kept for more would hold up the end.
      if (stop.aborted) response.setHeader('connection', 'close');
      answer(response, made);
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.code === 'INTERNAL') hosting.instance.log('error', 'a request failed', { invoker: invoker.name, error: error.message });
      problem(message, response, error);
    } finally {
      inFlight -= 1;
    }
  };
  const server = createServer({ requestTimeout: invoker.timeoutMs, headersTimeout: invoker.timeoutMs }, (message, response) => {
    void serve(message, response);
  });
  server.maxConnections = maxConnections;
  const url = `${await listen(server, invoker, `the invoker ${invoker.name}`)}${invoker.path}`;
  hosting.instance.log('info', 'an invoker listens', { invoker: invoker.name, url });
  invoker.onListening(url);
  const ended = new Promise<void>((resolve) => {
    const close = (): void => resolve(closeServer(server, invoker.timeoutMs));
    if (stop.aborted) close();
    else stop.addEventListener('abort', close, { once: true });
  });
  return { ended };
}

async function handle(hosting: Hosting, invoker: HttpInvoker, gateway: Gateway, message: IncomingMessage): Promise<HttpResponse> {
  const { instance } = hosting;
  const { name, timeoutMs } = invoker;
  const began = performance.now();
  const url = new URL(message.url ?? '/', 'http://localhost');
  const { method = '' } = message;
  const { origin, traceparent = newTraceparent(), 'idempotency-key': key } = message.headers;
  if (url.pathname !== invoker.path) throw new SpoolError('NOT_FOUND', `there is nothing at ${url.pathname}`);
  if (!invoker.methods.includes(method)) throw new SpoolError('METHOD_NOT_ALLOWED', `${method} is not among ${invoker.methods.join(', ')}`);
  if (origin !== undefined && !invoker.origins.includes(origin)) throw new SpoolError('CROSS_ORIGIN', `pages of ${origin} may not call it`);
  if (key !== undefined && !(typeof key === 'string' && idempotencyKey.test(key)))
    throw new SpoolError('INVALID_REQUEST', 'the Idempotency-Key is not 1 to 200 visible characters');
  const id = key === undefined ? undefined : `${name}/${key}`;
  const meta = { traceparent: String(traceparent) };
  let errorClass: string | null = null;
  try {
    const late = (): Error => new SpoolError('INDETERMINATE', `the request took longer than ${timeoutMs} ms`);
    return await bounded({ timeoutMs, late }, async (signal) => {
      const body = await readBody(message, invoker.maxBodyBytes);
      const payload: HttpRequest = {
        method,
        path: url.pathname,
        query: url.searchParams,
        headers: message.headers,
        body,
        json: () => parsed(body),
      };
      const occasion = { signal, meta, ...(id === undefined ? {} : { id }) };
      return handled(hosting, { component: name, kind: 'invoker', messageKind: 'request', type: name, payload, meta }, () =>
        invoker.handle(payload, invokerContext(hosting, invoker, gateway, occasion) as never),
      );
    });
  } catch (thrown) {
    errorClass = toSpoolError(thrown).code;
    throw thrown;
  } finally {
    emitSpan(instance, {
      component: name,
      componentKind: 'invoker',
      messageKind: 'request',
      type: name,
      record: undefined,
      meta: { ...meta, ...(id === undefined ? {} : { id }) },
      handleUs: microsSince(began),
      commitUs: 0,
      outcome: null,
      errorClass,
      replayId: null,
    });
  }
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch (cause) {
    throw new SpoolError('MALFORMED_JSON', `the body is no JSON: ${(cause as Error).message}`, { cause });
  }
}

function answer(response: ServerResponse, { body, headers = {}, status = body === undefined ? 204 : 200 }: HttpResponse): void {
  const plain = typeof body === 'string' || body instanceof Uint8Array;
  const type = plain || body === undefined ? {} : { 'content-type': 'application/json' };
  response.writeHead(status, { ...type, ...headers }).end(body === undefined || plain ? body : JSON.stringify(body));
}
