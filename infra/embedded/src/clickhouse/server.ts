import { SpoolError } from '@spool/schemas';
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { authenticate, type User } from './access.js';
import { discard, openBody, uploadFile, withDecoded } from './body.js';
import type { Engine } from './engine.js';
import { EngineError, toEngineError } from './engine-error.js';
import { toRevision } from './native.js';
import { sendError, sendOutcome, sendText, type ReplyContext } from './reply.js';
import { isForm, readForm, readRequest, type QueryRequest } from './request.js';
import { insertFromFile, literal, outputFormat, readInsert } from './statement.js';

export interface ClickHouseServer {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Takes no more requests and resolves when the last answer is out, or after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/**
 * Serves the engine over ClickHouse's HTTP interface on loopback.
 * @param port 0 takes a free one
 * @throws SpoolError PORT_IN_USE
 */
export async function serveClickHouse(engine: Engine, users: readonly User[], port: number): Promise<ClickHouseServer> {
  // A query may stand in the URL, for which ClickHouse allows 1 MiB.
  const server = createServer({ maxHeaderSize: 1024 * 1024, keepAliveTimeout: 10_000, requestTimeout: 300_000 }, (request, response) => {
    void handle(engine, users, request, response);
  });
  server.maxConnections = 1024;
  await listen(server, port);
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    close: async (graceMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // A connection that is kept alive turns idle after its last answer, and would else be kept until its time-out.
      const sweep = setInterval(() => server.closeIdleConnections(), 50);
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearInterval(sweep);
      clearTimeout(timer);
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const isTaken = cause.code === 'EADDRINUSE';
      reject(
        new SpoolError(isTaken ? 'PORT_IN_USE' : 'UNAVAILABLE', `ClickHouse cannot listen on 127.0.0.1:${port}: ${cause.message}`, {
          cause,
        }),
      );
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

async function handle(engine: Engine, users: readonly User[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const base = 'http://127.0.0.1';
  if (!URL.canParse(request.url ?? '', base)) {
    sendText(response, 400, 'The URL cannot be read.\n');
    return;
  }
  const { pathname, searchParams } = new URL(request.url ?? '', base);
  const fixed = fixedAnswer(request.method ?? 'GET', pathname, searchParams.has('query'));
  if (fixed !== undefined) {
    sendText(response, ...fixed);
    return;
  }
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const exchange: Exchange = { engine, request, response, signal: gone.signal, url: searchParams };
  let context: ReplyContext = { queryId: randomUUID(), timezone: engine.timezone, version: engine.version, mayCompress: false };
  try {
    const user = authenticate(users, request.headers, searchParams);
    const decoding = {
      uploads: engine.files.uploads,
      most: engine.limits.maxBodyBytes,
      decode: user.role === 'writer' ? decoderOf(engine, user, gone.signal) : undefined,
    };
    await withDecoded(request, decoding, (source) =>
      answer(
        exchange,
        user,
        source,
        (asked) => (context = { ...context, queryId: asked.queryId ?? context.queryId, mayCompress: asked.mayCompress }),
      ),
    );
  } catch (thrown) {
    if (!request.complete) discard(request);
    sendError(response, context, toEngineError(thrown));
  }
}

/** Status, text and headers of what needs no user and no engine; undefined for a query. */
function fixedAnswer(method: string, path: string, hasQuery: boolean): readonly [number, string, Record<string, string>?] | undefined {
  const isRead = method === 'GET' || method === 'HEAD';
  if (isRead && (path === '/ping' || path === '/replicas_status' || (path === '/' && !hasQuery))) return [200, 'Ok.\n'];
  if (path !== '/') return [404, `There is no handle ${path}. Queries go to /, health checks to /ping.\n`];
  if (!isRead && method !== 'POST') return [405, 'Use GET or POST.\n', { Allow: 'GET, HEAD, POST' }];
  return undefined;
}

interface Exchange {
  readonly engine: Engine;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
  readonly url: URLSearchParams;
}

/** @param know is told of the request as soon as it is read, and gives what the answer carries. */
async function answer(exchange: Exchange, user: User, source: Readable, know: (asked: QueryRequest) => ReplyContext): Promise<void> {
  const { engine, request, response, signal } = exchange;
  const { limits, files } = engine;
  const mustOnlyRead = request.method !== 'POST';
  // 1. The URL, or the form, and the beginning of the body.
  const isInForm = !mustOnlyRead && isForm(request.headers);
  const form = async (): Promise<URLSearchParams> =>
    readForm(await (await openBody(source, '')).whole(limits.maxQueryBytes), request.headers, exchange.url);
  const asked = readRequest(isInForm ? await form() : exchange.url, request.headers);
  const context = know(asked);
  const body = await openBody(mustOnlyRead || isInForm ? Readable.from([]) : source, asked.query === '' ? '' : `${asked.query}\n`);
  const { database, format, settings, session } = asked;
  const statement = { user, database, format, settings, session, signal, mustOnlyRead };
  const text = body.head.toString('latin1'); // one character for each byte, so that positions hold
  const insert = readInsert(text);
  // 2. Anything but an INSERT with data is one text.
  if (insert === undefined) {
    const sql = (await body.whole(limits.maxQueryBytes)).toString();
    const outcome = await engine.run({ ...statement, sql, isTrusted: false });
    const given = outputFormat(sql) ?? format;
    const bytes = given === 'Native' && asked.revision > 0 ? await toRevision(outcome.bytes, asked.revision) : outcome.bytes;
    await sendOutcome(request, response, context, given, { ...outcome, bytes, isInsert: false });
    return;
  }
  if (insert.format === 'Native' && asked.revision > 0) {
    throw new EngineError(48, 'NOT_IMPLEMENTED', 'Rows in Native of a revision are not served; leave out client_protocol_version.');
  }
  // 3. Data goes to the engine through a file. Behind the statement it would end at the first empty line, and what follows would be run.
  if (mustOnlyRead || user.role === 'reader')
    throw new EngineError(164, 'READONLY', `${user.name}: Cannot execute query in readonly mode.`);
  const file = uploadFile(files.uploads);
  try {
    await body.spool(insert.dataStart, file, limits.maxBodyBytes);
    const sql = Buffer.from(insertFromFile(text, insert, Buffer.from(file).toString('latin1')), 'latin1').toString();
    const outcome = await engine.run({ ...statement, sql, isTrusted: true });
    await sendOutcome(request, response, context, format, { ...outcome, isInsert: true });
  } finally {
    await rm(file, { force: true });
  }
}

/** Decodes with the engine what Node cannot. */
const decoderOf =
  (engine: Engine, user: User, signal: AbortSignal) =>
  async (coding: string, from: string, to: string): Promise<void> => {
    const sql = `SELECT x FROM file(${literal(from)}, 'RawBLOB', 'x String', ${literal(coding)}) INTO OUTFILE ${literal(to)} COMPRESSION 'none' FORMAT RawBLOB`;
    const settings = new Map([['max_memory_usage', String(2 * engine.limits.maxBodyBytes)]]);
    const nothing = { database: undefined, settings, session: undefined };
    await engine.run({ user, sql, format: 'RawBLOB', ...nothing, signal, isTrusted: true, mustOnlyRead: false });
  };
