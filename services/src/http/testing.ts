import { request as plainRequest, type IncomingHttpHeaders } from 'node:http';
import { Writable } from 'node:stream';
import { Registry } from 'prom-client';
import { createAuth } from './auth/auth.js';
import { createLog } from './log.js';
import type { Problem } from './problem.js';
import { startHttp, type HttpOptions, type HttpServer } from './start-http.js';

export interface TestServer extends HttpServer {
  /** What was logged, one parsed line each. */
  readonly logged: readonly Record<string, unknown>[];
  /** The same as text. */
  logText(): string;
  send(options: TestRequest): Promise<TestResponse>;
}

export interface TestRequest {
  /** @default 'GET' */
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** A text is sent as it is; anything else as JSON, with its content type unless `headers` has one. */
  readonly body?: unknown;
}

export interface TestResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body, parsed. */
  json(): unknown;
  problem(): Problem;
}

/** A server on a free port with everything checked, for tests of routes. Without `auth` whoever calls is admin. */
export async function startTestServer(options: Partial<HttpOptions> & Pick<HttpOptions, 'routes'>): Promise<TestServer> {
  let text = '';
  const to = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  const server = await startHttp({
    port: 0,
    auth: options.auth ?? (await createAuth()),
    info: { name: 'test', title: 'Test', version: '1.2.3' },
    metrics: new Registry(),
    log: createLog({ name: 'test', level: 'debug', to }),
    checkReplies: true,
    ...options,
  });
  return {
    ...server,
    logText: () => text,
    get logged() {
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    send: (request) => send(server.port, request),
  };
}

/** Sends one request on a connection of its own; unlike `fetch` it can set any header and follows nothing. */
export function send(port: number, { method = 'GET', path, headers = {}, body }: TestRequest): Promise<TestResponse> {
  const payload = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const type = body === undefined || typeof body === 'string' ? {} : { 'content-type': 'application/json' };
  const length = payload === undefined || 'transfer-encoding' in headers ? {} : { 'content-length': String(Buffer.byteLength(payload)) };
  return new Promise((resolve, reject) => {
    const request = plainRequest(
      { host: '127.0.0.1', port, method, path, agent: false, headers: { ...type, ...length, ...headers } as Record<string, string> },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => {
          const json = (): unknown => JSON.parse(text);
          resolve({ status: response.statusCode!, headers: response.headers, text, json, problem: () => json() as Problem });
        });
      },
    );
    request.on('error', reject);
    request.end(payload);
  });
}
