import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { SpoolError } from '@spool/schemas';
import { Registry } from 'prom-client';
import { z } from 'zod';
import type { Auth } from './auth/auth.js';
import { createAuth } from './auth/auth.js';
import type { HttpLimits } from './limits.js';
import { createLog } from './log.js';
import type { Principal, Role } from './roles.js';
import { route, type RequestContext, type Route } from './route.js';
import { startHttp, type HttpOptions } from './start-http.js';
import { send, startTestServer, type TestServer } from './testing.js';

const thing = z.strictObject({ name: z.string().max(20), count: z.int().min(0).default(1) });
let last: RequestContext | undefined;

const echo = route({
  method: 'POST',
  path: '/api/v1/things/{id}',
  summary: 'Echoes',
  role: 'operator',
  params: z.object({ id: z.string().max(10) }),
  query: z.object({ limit: z.coerce.number().int().optional(), tag: z.union([z.string(), z.array(z.string())]).optional() }),
  headers: z.object({ 'if-match': z.string().max(5).optional() }),
  body: thing,
  responses: { 200: { description: 'What came', schema: z.record(z.string(), z.unknown()), headers: { ETag: 'the version' } } },
  handler: (context) => {
    last = context;
    const { body, params, query, headers } = context;
    return { status: 200, body: { body, params, query, headers, principal: context.principal.name }, headers: { ETag: '"1"' } };
  },
});
const failing = (path: string, thrown: unknown, more: Partial<Route> = {}): Route => ({
  ...route({
    method: 'GET',
    path,
    summary: 'Fails',
    role: 'public',
    responses: { 204: { description: 'never' } },
    handler: () => {
      throw thrown;
    },
  }),
  ...more,
});
const empty = (path: string, role: Route['role'], more: Partial<Route> = {}): Route => ({
  ...route({
    method: 'GET',
    path,
    summary: 'Nothing',
    role,
    responses: { 204: { description: 'nothing' } },
    handler: () => ({ status: 204 }),
  }),
  ...more,
});

let server: TestServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
  last = undefined;
});
async function start(
  routes: readonly Route[] = [echo],
  options: Partial<HttpOptions> & { limits?: Partial<HttpLimits> } = {},
): Promise<TestServer> {
  server = await startTestServer({ routes, ...options });
  return server;
}
const post = (body: unknown, more: { path?: string; headers?: Record<string, string> } = {}) =>
  server!.send({ method: 'POST', path: '/api/v1/things/a', body, ...more });

describe('a request that is well formed', () => {
  it('reaches its handler, parsed', async () => {
    await start();
    const answer = await post({ name: 'x' }, { path: '/api/v1/things/a%2Fb?limit=5&tag=1&tag=2', headers: { 'if-match': '"1"' } });
    expect(answer.status).toBe(200);
    expect(answer.json()).toEqual({
      body: { name: 'x', count: 1 },
      params: { id: 'a/b' },
      query: { limit: 5, tag: ['1', '2'] },
      headers: { 'if-match': '"1"' },
      principal: 'local',
    });
    expect(answer.headers).toMatchObject({ 'content-type': 'application/json', etag: '"1"' });
    expect(last).toMatchObject({ path: '/api/v1/things/a%2Fb' });
    expect(last!.deadline - Date.now()).toBeGreaterThan(20_000);
    expect(last!.signal.aborted).toBe(false);
  });

  it('may be compressed, or a cloud event, or say its charset', async () => {
    await start();
    const zipped = gzipSync('{"name":"x"}');
    const answer = await fetch(`${server!.url}/api/v1/things/a`, {
      method: 'POST',
      body: zipped,
      headers: { 'content-type': 'application/cloudevents+json', 'content-encoding': 'gzip' },
    });
    expect(answer.status).toBe(200);
    expect((await post('{"name":"x"}', { headers: { 'content-type': 'Application/JSON; charset=utf-8' } })).status).toBe(200);
  });

  it("carries on the caller's trace", async () => {
    await start();
    await post({ name: 'x' }, { headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } });
    expect(last!.traceId).toBe('0af7651916cd43dd8448eb211c80319c');
    expect(last!.traceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
  });

  it('gets security headers, and nothing that names the server', async () => {
    await start([empty('/x', 'public')]);
    const { headers, status } = await server!.send({ path: '/x' });
    expect(status).toBe(204);
    expect(headers).toMatchObject({
      'content-security-policy': expect.stringContaining("default-src 'none'") as string,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
    expect(headers).not.toHaveProperty('x-powered-by');
    expect(headers).not.toHaveProperty('strict-transport-security');
    expect(headers).not.toHaveProperty('access-control-allow-origin');
  });
});

describe('a request that is refused', () => {
  const cases: readonly [
    string,
    { method?: string; path?: string; headers?: Record<string, string>; body?: unknown },
    number,
    string,
    object?,
  ][] = [
    ['nothing there', { path: '/nowhere' }, 404, 'NOT_FOUND'],
    ['another case', { path: '/API/v1/things/a' }, 404, 'NOT_FOUND'],
    ['another method', { method: 'DELETE' }, 405, 'METHOD_NOT_ALLOWED'],
    ['a path that cannot be decoded', { path: '/api/v1/things/%zz' }, 400, 'INVALID_REQUEST'],
    ['no content type', { body: '{"name":"x"}' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['what a form can send', { body: '{"name":"x"}', headers: { 'content-type': 'text/plain' } }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['a form', { body: 'name=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [
      'an unknown encoding',
      { body: '{}', headers: { 'content-type': 'application/json', 'content-encoding': 'zip' } },
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    ['an unknown charset', { body: '{}', headers: { 'content-type': 'application/json; charset=ebcdic' } }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [
      'a body that is not gzip',
      { body: '{}', headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } },
      400,
      'INVALID_REQUEST',
    ],
    ['another answer wanted', { body: { name: 'x' }, headers: { accept: 'text/html' } }, 406, 'NOT_ACCEPTABLE'],
    [
      'JSON that breaks',
      { body: '{"name":\n "x",}', headers: { 'content-type': 'application/json' } },
      400,
      'MALFORMED_JSON',
      { detail: 'Unexpected "}" at line 2, column 6', line: 2, column: 6 },
    ],
    [
      'a body too large',
      { body: JSON.stringify({ name: 'x'.repeat(3_000) }), headers: { 'content-type': 'application/json' } },
      413,
      'BODY_TOO_LARGE',
      { limitBytes: 2_000 },
    ],
    [
      'a body too large, in pieces',
      {
        body: JSON.stringify({ name: 'x'.repeat(3_000) }),
        headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
      },
      413,
      'BODY_TOO_LARGE',
    ],
    ['no body', {}, 400, 'INVALID_REQUEST', { errors: [{ pointer: '', detail: 'Missing; expected object' }] }],
    [
      'a field that is wrong',
      { body: { name: 'x', count: -1 } },
      400,
      'INVALID_REQUEST',
      { errors: [{ pointer: '/count', detail: expect.stringContaining('>=0') as string }] },
    ],
    [
      'a parameter of the path that is wrong',
      { path: '/api/v1/things/12345678901', body: { name: 'x' } },
      400,
      'INVALID_REQUEST',
      { errors: [{ pointer: 'path:id', detail: expect.any(String) as string }] },
    ],
    [
      'a parameter that is misspelt',
      { path: '/api/v1/things/a?limt=1', body: { name: 'x' } },
      400,
      'INVALID_REQUEST',
      { errors: [{ pointer: 'query:limt', detail: 'Not a known field' }] },
    ],
    [
      'a header that is wrong',
      { body: { name: 'x' }, headers: { 'if-match': '"123456"' } },
      400,
      'INVALID_REQUEST',
      { errors: [{ pointer: 'header:if-match', detail: expect.any(String) as string }] },
    ],
    ['another host', { headers: { host: 'evil.example' } }, 421, 'HOST_REFUSED'],
    ['another origin', { headers: { origin: 'http://evil.example' } }, 403, 'CROSS_ORIGIN'],
  ];
  it.each(cases)('for %s', async (_what, request, status, code, members = {}) => {
    await start([echo], { limits: { bodyBytes: 2_000 } });
    const answer = await server!.send({ method: 'POST', path: '/api/v1/things/a', ...request });
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
    const problem = answer.problem();
    expect(problem).toMatchObject({
      type: `urn:spool:problem:${code}`,
      code,
      status,
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      ...members,
    });
    for (const text of [problem.title, problem.detail, problem.remedy]) expect(text.length).toBeGreaterThan(5);
    expect(problem.instance).toBe((request.path ?? '/api/v1/things/a').split('?')[0]);
    expect(last).toBeUndefined();
  });

  it('names the methods that there are, of every path that fits', async () => {
    await start([
      empty('/things/{id}', 'public', { params: z.object({ id: z.string() }) }),
      empty('/things/special', 'public', { method: 'PUT' }),
    ]);
    const answer = await server!.send({ method: 'DELETE', path: '/things/special' });
    expect(answer.headers['allow']).toBe('GET, HEAD, PUT, OPTIONS');
    const options = await server!.send({ method: 'OPTIONS', path: '/things/special' });
    expect([options.status, options.headers['allow']]).toEqual([204, 'GET, HEAD, PUT, OPTIONS']);
    expect((await server!.send({ method: 'HEAD', path: '/things/1' })).status).toBe(204);
  });

  it('for a body that is not UTF-8', async () => {
    await start();
    const body = Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]);
    const answer = await fetch(`${server!.url}/api/v1/things/a`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    expect(await answer.json()).toMatchObject({ code: 'MALFORMED_JSON', detail: 'The body is not UTF-8' });
  });

  it('for a body that says it will be too large, before it is sent', async () => {
    await start([echo]);
    const socket = connect(server!.port, '127.0.0.1');
    const answered = new Promise<string>((resolve) =>
      socket.once('data', (chunk) => {
        resolve(chunk.toString());
      }),
    );
    socket.write(
      'POST /api/v1/things/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000000\r\n\r\n',
    );
    expect(await answered).toMatch(/^HTTP\/1.1 413 /);
    socket.destroy();
  });

  it('for a bomb that is small until it is unpacked', async () => {
    await start([echo], { limits: { bodyBytes: 2_000 } });
    const body = gzipSync(JSON.stringify({ name: 'x'.repeat(1_000_000) }));
    const answer = await fetch(`${server!.url}/api/v1/things/a`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
    });
    expect(await answer.json()).toMatchObject({ code: 'BODY_TOO_LARGE' });
  });

  it.each([
    ['headers too large', `GET / HTTP/1.1\r\nHost: localhost\r\nX-Big: ${'x'.repeat(9_000)}\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
    ['what is no HTTP', 'HELLO\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['headers that never end', 'GET / HTTP/1.1\r\nHost: localhost\r\n', 408, 'REQUEST_TIMEOUT'],
    [
      'a body that never ends',
      'POST /api/v1/things/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
      408,
      'REQUEST_TIMEOUT',
    ],
  ])('for %s, and the connection ends', async (_what, sent, status, code) => {
    await start([echo], { limits: { headerBytes: 8_192, headersTimeoutMs: 200, requestTimeoutMs: 400 } });
    const text = await raw(server!.port, sent);
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text).toContain('Connection: close');
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as unknown).toMatchObject({ code, status });
  });
});

/** Sends bytes and gives all that comes back until the other side ends. */
function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => {
      resolve(text);
    });
  });
}

describe('an error of the handler', () => {
  it('that is in the catalogue is told with its facts, and Retry-After where it helps', async () => {
    const conflict = new SpoolError('VERSION_CONFLICT', 'Expected version 3, found 5', { facts: { actualVersion: 5, status: 999 } });
    await start([
      failing('/conflict', conflict, { errors: ['VERSION_CONFLICT'] }),
      failing('/busy', new SpoolError('OVERLOADED', 'Full', { retryAfterMs: 1_200 })),
    ]);
    const answer = await server!.send({ path: '/conflict' });
    expect(answer.status).toBe(409);
    expect(answer.problem()).toEqual({
      type: 'urn:spool:problem:VERSION_CONFLICT',
      title: 'Version conflict',
      status: 409,
      detail: 'Expected version 3, found 5',
      instance: '/conflict',
      code: 'VERSION_CONFLICT',
      retryable: 'never',
      remedy: expect.any(String) as string,
      traceId: expect.any(String) as string,
      actualVersion: 5,
    });
    const busy = await server!.send({ path: '/busy' });
    expect([busy.status, busy.headers['retry-after'], busy.problem().retryAfter]).toEqual([503, '2', 2]);
  });

  it.each([
    ['is unknown', new Error('secret plan at /etc/passwd')],
    ['is no error', 'secret plan'],
    [
      'is INTERNAL',
      new SpoolError('INTERNAL', 'secret plan', { facts: { plan: 'secret' }, violations: [{ pointer: '/x', message: 'secret' }] }),
    ],
  ])('that %s says nothing but a trace id, which the log has too', async (_what, thrown) => {
    await start([failing('/x', thrown)]);
    const answer = await server!.send({ path: '/x' });
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('secret');
    const { traceId, code } = answer.problem();
    expect(code).toBe('INTERNAL');
    expect(server!.logged.find((line) => line['traceId'] === traceId)).toMatchObject({ level: 50 });
    expect(server!.logText()).toContain('secret plan');
  });

  it('holds no secret, in the answer nor in the log', async () => {
    const problem = new SpoolError('KAFKA_UNAVAILABLE', 'No broker at kafka://spool:hunter2@broker:9092 (password=hunter2)', {
      facts: { address: 'https://u:hunter2@host' },
      violations: [{ pointer: 'KAFKA_BROKERS', message: 'kafka://spool:hunter2@broker:9092' }],
      cause: new Error('sasl.password=hunter2'),
    });
    await start([failing('/x', problem)]);
    const answer = await server!.send({
      path: '/x?token=hunter2',
      headers: { authorization: 'Bearer hunter2hunter2', 'x-api-key': 'hunter2', cookie: 'a=hunter2' },
    });
    expect(answer.problem()).toMatchObject({
      detail: 'No broker at kafka://***@broker:9092 (password=***',
      address: 'https://***@host',
      errors: [{ detail: 'kafka://***@broker:9092' }],
    });
    expect(answer.text + JSON.stringify(answer.headers)).not.toContain('hunter2');
    expect(server!.logged).not.toHaveLength(0);
    expect(server!.logText()).not.toContain('hunter2');
  });

  it('leaves a line for each request, where that is asked for', async () => {
    await start([empty('/things/{id}', 'analyst', { params: z.object({ id: z.string() }) })]);
    await server!.send({ path: '/things/1?token=hunter2' });
    expect(server!.logged).toEqual([
      expect.objectContaining({
        level: 20,
        method: 'GET',
        path: '/things/1',
        route: '/things/{id}',
        status: 204,
        principal: 'local',
        ms: expect.any(Number) as number,
      }),
    ]);
  });

  it('that it does not declare is answered, and logged', async () => {
    await start([failing('/x', new SpoolError('UNKNOWN_TOPIC', 'No such topic'))]);
    expect((await server!.send({ path: '/x' })).status).toBe(404);
    expect(server!.logged).toContainEqual(
      expect.objectContaining({ code: 'UNKNOWN_TOPIC', route: '/x', msg: expect.stringContaining('does not declare') as string }),
    );
  });

  it('is made of a reply that its own declaration refuses', async () => {
    const lying = route({
      method: 'GET',
      path: '/lie',
      summary: 's',
      role: 'public',
      responses: { 200: { description: 'x', schema: z.object({ n: z.number() }) } },
      handler: () => ({ status: 200, body: { n: 'x' } }) as never,
    });
    const undeclared = route({
      method: 'GET',
      path: '/other',
      summary: 's',
      role: 'public',
      responses: { 200: { description: 'x' } },
      handler: () => ({ status: 201 }) as never,
    });
    await start([lying, undeclared]);
    expect((await server!.send({ path: '/lie' })).problem().code).toBe('INTERNAL');
    expect((await server!.send({ path: '/other' })).problem().code).toBe('INTERNAL');
    expect(server!.logText()).toContain('answered 201');
  });
});

describe('the deadline', () => {
  const slow = (method: 'GET' | 'POST', act: (signal: AbortSignal) => Promise<void>) =>
    route({
      method,
      path: '/slow',
      summary: 's',
      role: 'public',
      timeoutMs: 50,
      responses: { 204: { description: 'x' } },
      handler: async ({ signal }) => (await act(signal), { status: 204 }),
    });
  const whenAborted = (signal: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });

  it('aborts the handler, and what it throws then is the answer', async () => {
    await start([slow('GET', whenAborted)]);
    expect((await server!.send({ path: '/slow' })).problem()).toMatchObject({ code: 'EXPIRED', status: 504 });
  });

  it('leaves the outcome open for what may have changed something', async () => {
    await start([slow('POST', whenAborted)]);
    expect((await server!.send({ method: 'POST', path: '/slow' })).problem()).toMatchObject({ code: 'INDETERMINATE', status: 504 });
  });

  it('gives the handler a moment to answer for itself', async () => {
    await start([slow('GET', (signal) => whenAborted(signal).catch(() => undefined))]);
    expect((await server!.send({ path: '/slow' })).status).toBe(204);
  });

  it('is kept by the edge if the handler does not listen', async () => {
    let release: () => void = () => undefined;
    await start([slow('GET', () => new Promise((resolve) => (release = resolve)))]);
    expect((await server!.send({ path: '/slow' })).problem()).toMatchObject({ code: 'EXPIRED' });
    release();
  });
});

it('the signal fires when the client goes away', async () => {
  let reason: unknown;
  const aborted = new Promise<void>((resolve) => {
    const hang = route({
      method: 'GET',
      path: '/hang',
      summary: 's',
      role: 'public',
      responses: { 204: { description: 'x' } },
      handler: async ({ signal }) => {
        await new Promise((settled) => {
          signal.addEventListener('abort', settled);
        });
        reason = signal.reason;
        resolve();
        return { status: 204 };
      },
    });
    void start([hang]).then(({ port }) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n');
        setTimeout(() => socket.destroy(), 200);
      });
    });
  });
  await aborted;
  expect(reason).toMatchObject({ message: 'The client has gone away' });
  const metrics = async (): Promise<string> => (await server!.send({ path: '/metrics' })).text;
  expect(await metrics()).toContain('spool_http_request_duration_seconds_count{service="test",method="GET",route="/hang",status="499"} 1');
});

describe('who may come in', () => {
  const authOf = (known: Record<string, Role[]>): Auth => ({
    configured: true,
    authenticate: (headers) => {
      const key = headers['x-api-key'];
      if (key === undefined) return Promise.resolve(undefined);
      const held = known[String(key)];
      if (held === undefined) return Promise.reject(new SpoolError('UNAUTHENTICATED', 'The API key is not known'));
      return Promise.resolve<Principal>({ id: String(key), name: String(key), roles: held, via: 'api-key' });
    },
  });
  const auth = authOf({ ada: ['admin'], otto: ['operator'], anna: ['analyst'], bob: ['bundle'], nemo: [] });
  const routes = [
    empty('/public', 'public'),
    empty('/admin', 'admin'),
    empty('/operator', 'operator'),
    empty('/analyst', 'analyst'),
    empty('/bundle', 'bundle'),
    empty('/either', ['bundle', 'analyst']),
  ];

  it('is decided by the role that the route declares', async () => {
    await start(routes, { auth });
    const statuses: Record<string, number[]> = {};
    for (const who of ['ada', 'otto', 'anna', 'bob', 'nemo', 'eve', undefined]) {
      const headers = who === undefined ? {} : { 'x-api-key': who };
      const answers = await Promise.all(routes.map(({ path }) => server!.send({ path, headers })));
      statuses[who ?? 'nobody'] = answers.map(({ status }) => status);
    }
    expect(statuses).toEqual({
      //        public admin operator analyst bundle either
      ada: [204, 204, 204, 204, 204, 204],
      otto: [204, 403, 204, 204, 403, 204],
      anna: [204, 403, 403, 204, 403, 204],
      bob: [204, 403, 403, 403, 204, 204],
      nemo: [204, 403, 403, 403, 403, 403],
      eve: [204, 401, 401, 401, 401, 401],
      nobody: [204, 401, 401, 401, 401, 401],
    });
  });

  it('is told what is missing', async () => {
    await start(routes, { auth });
    const unknown = await server!.send({ path: '/either' });
    expect(unknown.headers['www-authenticate']).toMatch(/^Bearer/);
    expect((await server!.send({ path: '/either', headers: { 'x-api-key': 'nemo' } })).problem().detail).toBe(
      'This needs the role bundle or analyst; nemo has none',
    );
  });

  it('is checked before the body is looked at', async () => {
    await start([echo], { auth });
    const answer = await server!.send({
      method: 'POST',
      path: '/api/v1/things/a',
      body: '{broken',
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.status).toBe(401);
  });

  it('may not read metrics without a role, but may see whether the service is alive', async () => {
    await start([], { auth });
    const status = async (path: string): Promise<number> => (await server!.send({ path })).status;
    expect(await Promise.all(['/metrics', '/livez', '/readyz', '/openapi.json', '/docs'].map(status))).toEqual([401, 200, 200, 200, 200]);
  });

  it('is nobody, beyond loopback, until authentication is set up', async () => {
    for (const host of ['0.0.0.0', '::']) {
      const attempt = startHttp({
        host,
        port: 0,
        routes: [],
        auth: await createAuth(),
        info: { name: 'x', title: 'x', version: '1' },
        metrics: new Registry(),
        log: createLog({ name: 'x', level: 'silent' }),
      });
      await expect(attempt).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
        message: expect.stringMatching(/SPOOL_API_KEYS_FILE.*SPOOL_JWT_ISSUER.*listen on 127\.0\.0\.1/) as string,
      });
    }
  });
});

describe('the rate limit', () => {
  const limits = { rates: { standard: { limit: 3, windowMs: 60_000 }, costly: { limit: 1, windowMs: 60_000 } } };
  const auth: Auth = {
    configured: true,
    authenticate: ({ 'x-api-key': key }) =>
      key === undefined
        ? Promise.reject(new SpoolError('UNAUTHENTICATED', 'no'))
        : Promise.resolve({ id: String(key), name: 'x', roles: ['admin'], via: 'api-key' }),
  };
  const status = async (path: string, key?: string): Promise<number> =>
    (await server!.send({ path, headers: key === undefined ? {} : { 'x-api-key': key } })).status;

  it('counts each principal by itself, each class by itself, and no probes', async () => {
    await start([empty('/a', 'analyst'), empty('/b', 'analyst', { rateClass: 'costly' })], { limits, auth });
    expect([await status('/a', 'x'), await status('/a', 'x'), await status('/a', 'x'), await status('/a', 'x')]).toEqual([
      204, 204, 204, 429,
    ]);
    expect(await status('/a', 'y')).toBe(204);
    expect([await status('/b', 'x'), await status('/b', 'x')]).toEqual([204, 429]);
    for (let index = 0; index < 5; index += 1) expect(await status('/livez')).toBe(200);
  });

  it('tells where one stands and when to come back', async () => {
    await start([empty('/a', 'analyst')], { limits, auth });
    const first = await server!.send({ path: '/a', headers: { 'x-api-key': 'x' } });
    expect(first.headers).toMatchObject({ ratelimit: 'limit=3, remaining=2, reset=60', 'ratelimit-policy': '3;w=60' });
    await status('/a', 'x');
    await status('/a', 'x');
    const refused = await server!.send({ path: '/a', headers: { 'x-api-key': 'x' } });
    expect(refused.problem()).toMatchObject({ code: 'RATE_LIMITED', retryAfter: Number(refused.headers['retry-after']) });
    expect(refused.problem().retryAfter).toBeGreaterThan(50);
  });

  it('stops those who try credentials', async () => {
    await start([empty('/a', 'analyst')], { limits, auth });
    expect([await status('/a'), await status('/a'), await status('/a'), await status('/a')]).toEqual([401, 401, 401, 429]);
  });
});

it('refuses at once what is more than it may have in flight', async () => {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const hold = route({
    method: 'GET',
    path: '/hold',
    summary: 's',
    role: 'public',
    responses: { 204: { description: 'x' } },
    handler: async () => (await released, { status: 204 }),
  });
  await start([hold], { limits: { maxInFlight: 2 } });
  const held = [server!.send({ path: '/hold' }), server!.send({ path: '/hold' })];
  await new Promise((resolve) => setTimeout(resolve, 200));
  const third = await server!.send({ path: '/hold' });
  expect(third.problem()).toMatchObject({ code: 'OVERLOADED', retryAfter: 1 });
  release();
  expect((await Promise.all(held)).map(({ status }) => status)).toEqual([204, 204]);
  expect((await server!.send({ path: '/hold' })).status).toBe(204);
});

describe('pages of other origins', () => {
  const allowedOrigins = ['https://console.example'];
  it('that are allowed may ask and read', async () => {
    await start([echo], { allowedOrigins });
    const headers = { origin: 'https://console.example' };
    const preflight = await server!.send({
      method: 'OPTIONS',
      path: '/api/v1/things/a',
      headers: { ...headers, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': 'https://console.example',
      'access-control-allow-methods': expect.stringContaining('POST') as string,
      vary: 'Origin',
    });
    const answer = await post({ name: 'x' }, { headers });
    expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([200, 'https://console.example']);
  });
  it('that are not allowed get no leave', async () => {
    await start([echo], { allowedOrigins });
    const preflight = await server!.send({
      method: 'OPTIONS',
      path: '/api/v1/things/a',
      headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.headers).not.toHaveProperty('access-control-allow-origin');
  });
});

describe('the service itself', () => {
  it('is alive, and ready when all its checks pass', async () => {
    await start([], { readiness: [{ name: 'kafka', check: () => undefined }] });
    expect((await server!.send({ path: '/livez' })).json()).toEqual({ status: 'alive' });
    expect((await server!.send({ path: '/readyz' })).json()).toEqual({ status: 'ready', checks: [{ name: 'kafka', ready: true }] });
  });

  it('says why it is not ready, without secrets', async () => {
    await start([], {
      readiness: [
        { name: 'kafka', check: () => Promise.reject(new Error('no broker at kafka://u:hunter2@b')) },
        { name: 'store', check: () => 'restoring, 40 %' },
        {
          name: 'clickhouse',
          check: (signal) =>
            new Promise((resolve) => {
              signal.addEventListener('abort', () => {
                resolve('late');
              });
            }),
        },
        { name: 'http', check: async () => undefined },
      ],
    });
    const answer = await server!.send({ path: '/readyz' });
    expect(answer.status).toBe(503);
    expect(answer.json()).toEqual({
      status: 'not ready',
      checks: [
        { name: 'kafka', ready: false, reason: 'no broker at kafka://***@b' },
        { name: 'store', ready: false, reason: 'restoring, 40 %' },
        { name: 'clickhouse', ready: false, reason: 'no answer within 2000 ms' },
        { name: 'http', ready: true },
      ],
    });
  });

  it('counts requests by the template of their route, so that ids make no series', async () => {
    await start([empty('/things/{id}', 'public', { params: z.object({ id: z.string() }) })]);
    await server!.send({ path: '/things/1' });
    await server!.send({ path: '/things/2' });
    await server!.send({ path: '/nowhere/3' });
    const { text, headers } = await server!.send({ path: '/metrics' });
    expect(headers['content-type']).toMatch(/^text\/plain/);
    expect(text).toContain('spool_http_request_duration_seconds_count{service="test",method="GET",route="/things/{id}",status="204"} 2');
    expect(text).toContain('route="unmatched",status="404"} 1');
  });
});

describe('start', () => {
  it('names the port that is in use', async () => {
    const { port } = await start();
    await expect(startTestServer({ routes: [], port })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `Port ${port} on 127.0.0.1 is in use`,
      facts: { port },
    });
  });
  it('refuses a host that cannot be resolved, and routes that are not declared well', async () => {
    await expect(startTestServer({ routes: [], host: 'no-such-host.invalid' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    await expect(startTestServer({ routes: [empty('/x', undefined as never)] })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('GET /x: declares no role') as string,
    });
  });
  it('listens on localhost by name', async () => {
    const { port } = await start([empty('/x', 'public')], { host: 'localhost' });
    expect((await fetch(`http://localhost:${port}/x`)).status).toBe(204);
  });
  it('shares one registry between servers', async () => {
    const metrics = new Registry();
    await start([], { metrics });
    const other = await startTestServer({ routes: [], metrics, info: { name: 'other', title: 'Other', version: '1' } });
    await send(other.port, { path: '/livez' });
    await other.close();
    expect((await server!.send({ path: '/metrics' })).text).toContain('{service="other",method="GET",route="/livez",status="200"} 1');
  });
});
