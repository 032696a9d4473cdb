import { SpoolError, toSpoolError } from '@spool/schemas';
import { answer, answerProblem } from './answer.js';
import { bytesReader, jsonBodyReader } from './body.js';
import type { Edge } from './edge.js';
import type { Exchange } from './exchange.js';
import { parseInput } from './input.js';
import { checkAccept, checkBodyHeaders, jsonBodyTypes } from './media.js';
import { problemCodes } from './problem-codes.js';
import { mayAct, namedRoles, type Principal, type RequiredRole } from './roles.js';
import type { AnyReply, Route } from './route.js';

/** How long after its deadline a handler may still answer by itself, in milliseconds. */
const grace = 500;
/** setTimeout fires at once for more than this. */
const longestTimer = 2_147_483_647;

/** Everything between the router and the handler, in the order in which a refusal costs least. */
export function serveRoute(route: Route, edge: Edge): (exchange: Exchange) => Promise<void> {
  const { limits, traffic } = edge;
  const bodyBytes = route.bodyBytes ?? limits.bodyBytes;
  const readBody = jsonBodyReader(bodyBytes);
  const readBytes = bytesReader(bodyBytes);
  const bodyTypes = route.rawBody === undefined ? (route.bodyTypes ?? jsonBodyTypes) : Object.keys(route.rawBody);
  const offered = offeredTypes(route);
  const query = route.query?.strict();
  const safe = route.safe ?? route.method === 'GET';
  const declared = new Set(problemCodes(route));

  return async (exchange) => {
    const { request, response } = exchange;
    exchange.template = route.path;
    exchange.safe = safe;
    let timers: Timers | undefined;
    try {
      // 1. Who is it, how often, and may it?
      traffic.enter(exchange, route.stream === true);
      exchange.principal = await admit(exchange, route, edge);
      // 2. Is it what the route takes and gives?
      checkAccept(request, offered);
      if (route.method !== 'GET') checkBodyHeaders(request, bodyTypes, bodyBytes);
      if (route.params !== undefined) exchange.params = parseInput(route.params, request.params, 'path');
      if (query !== undefined) exchange.query = parseInput(query, request.query, 'query');
      if (route.headers !== undefined) exchange.headers = parseInput(route.headers, request.headers, 'header');
      if (route.body !== undefined) exchange.body = parseInput(route.body, await readBody(request, response), 'body');
      if (route.rawBody !== undefined) exchange.bytes = await readBytes(request, response);
      // 3. The handler, until its deadline.
      timers = startTimers(exchange, route, limits.handlerTimeoutMs);
      const reply = await route.handler(exchange);
      if (route.stream === true) endStream(exchange);
      else if (!response.headersSent && !response.destroyed) answer(response, route, edge.checkReplies ? checked(route, reply!) : reply!);
    } catch (thrown) {
      const error = toSpoolError(thrown);
      report(exchange, error, declared);
      answerProblem(exchange, error);
    } finally {
      timers?.stop();
      traffic.leave(exchange);
    }
  };
}

/** Credentials that are not valid are counted by address before they are refused, so that trying many of them runs into the limit. */
async function admit(exchange: Exchange, route: Route, edge: Edge): Promise<Principal> {
  const { request, response } = exchange;
  const rateClass = route.rateClass ?? 'standard';
  if (route.role === 'public') {
    await edge.rates.count(request, response, rateClass, undefined);
    return exchange.principal;
  }
  let refusal: unknown;
  const principal = await edge.auth.authenticate(request.headers).catch((error: unknown) => {
    refusal = error;
    return undefined;
  });
  await edge.rates.count(request, response, rateClass, principal);
  if (refusal !== undefined) throw refusal as Error;
  return checkRole(principal, route.role);
}

/** @throws SpoolError UNAUTHENTICATED, FORBIDDEN */
export function checkRole(principal: Principal | undefined, required: RequiredRole): Principal {
  if (principal === undefined)
    throw new SpoolError('UNAUTHENTICATED', 'No credentials were sent; send X-API-Key: <key> or Authorization: Bearer <token>');
  if (mayAct(principal, required)) return principal;
  throw new SpoolError(
    'FORBIDDEN',
    `This needs the role ${namedRoles(required).join(' or ')}; ${principal.name} has ${principal.roles.join(', ') || 'none'}`,
  );
}

interface Timers {
  stop(): void;
}

/** They keep no process alive: a handler that never ends must not. */
function startTimers(exchange: Exchange, route: Route, usualMs: number): Timers {
  if (route.stream === true) {
    const { expiresAt } = exchange.principal;
    if (expiresAt === undefined) return { stop: () => undefined };
    const expire = (): void => {
      exchange.abort('UNAUTHENTICATED', 'The credentials have expired');
    };
    const expiry = setTimeout(expire, Math.min(expiresAt - Date.now(), longestTimer)).unref();
    return {
      stop: () => {
        clearTimeout(expiry);
      },
    };
  }
  const timeoutMs = route.timeoutMs ?? usualMs;
  exchange.deadline = Date.now() + timeoutMs;
  const answerForIt = (): void => {
    answerProblem(exchange, exchange.aborted!);
  };
  let timer = setTimeout(() => {
    exchange.abort(exchange.safe ? 'EXPIRED' : 'INDETERMINATE', `There was no answer within ${timeoutMs} ms`);
    timer = setTimeout(answerForIt, grace).unref();
  }, timeoutMs).unref();
  return {
    stop: () => {
      clearTimeout(timer);
    },
  };
}

function endStream({ response, path }: Exchange): void {
  if (!response.headersSent && !response.destroyed) throw new SpoolError('INTERNAL', `The stream handler of ${path} wrote nothing`);
  if (!response.writableEnded) response.end();
}

/** For tests: a reply that its own schema refuses is a defect of the handler. */
function checked(route: Route, reply: AnyReply): AnyReply {
  const result = route.responses[reply.status]?.schema?.safeParse(reply.body);
  if (result?.success === false)
    throw new SpoolError('INTERNAL', `The reply of ${route.method} ${route.path} does not fit its schema: ${result.error.message}`);
  return reply;
}

function report(exchange: Exchange, error: SpoolError, declared: ReadonlySet<string>): void {
  if (exchange.gone) return;
  if (error.code === 'INTERNAL') exchange.log.error({ err: error.cause ?? error }, 'request failed unexpectedly');
  else if (!declared.has(error.code)) exchange.log.warn({ code: error.code }, 'the route answered a problem that it does not declare');
  else if (error.entry.status >= 500) exchange.log.warn({ err: error, code: error.code }, 'request failed');
}

function offeredTypes(route: Route): readonly string[] {
  const types = Object.values(route.responses).map(
    ({ schema, contentType }) =>
      contentType ?? (route.stream === true ? 'text/event-stream' : schema === undefined ? undefined : 'application/json'),
  );
  return [...new Set(types.filter((type) => type !== undefined).map((type) => type.split(';', 1)[0]!))];
}
