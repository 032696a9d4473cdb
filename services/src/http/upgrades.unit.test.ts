import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import type { Auth } from './auth/auth.js';
import type { SocketContext, SocketRoute } from './socket-route.js';
import { startTestServer, type TestServer } from './testing.js';

const auth: Auth = {
  configured: true,
  authenticate: ({ authorization, 'x-api-key': key }) => {
    const who = key ?? authorization?.replace('Bearer ', '');
    if (who === undefined) return Promise.resolve(undefined);
    if (who !== 'anna' && who !== 'bob' && who !== 'soon') return Promise.reject(new SpoolError('UNAUTHENTICATED', 'no'));
    return Promise.resolve({
      id: who,
      name: who,
      roles: [who === 'bob' ? 'bundle' : 'analyst'],
      via: 'jwt',
      ...(who === 'soon' ? { expiresAt: Date.now() + 200 } : {}),
    });
  },
};

let seen: SocketContext[];
const live: SocketRoute = {
  path: '/api/v1/live/{topic}',
  summary: 'Live',
  role: 'analyst',
  params: z.object({ topic: z.string() }),
  handler: (context) => {
    seen.push(context);
    context.socket.resume();
    const accept = createHash('sha1')
      .update(`${String(context.request.headers['sec-websocket-key'])}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    context.socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    context.signal.addEventListener('abort', () => context.socket.end('bye'));
  },
};
const failing: SocketRoute = {
  path: '/fails',
  summary: 'Fails',
  role: 'public',
  handler: () => {
    throw new SpoolError('UNKNOWN_TOPIC', 'No topic x');
  },
};

let server: TestServer;
beforeEach(() => {
  seen = [];
});
afterEach(() => server.close());
const start = async (limits = {}): Promise<void> => {
  server = await startTestServer({ routes: [], sockets: [live, failing], auth, limits });
};

/** Asks for an upgrade; `first` is the first that comes back, `all` everything until the end. */
function upgrade(
  path: string,
  headers: Record<string, string> = {},
): { readonly socket: Socket; readonly first: Promise<string>; readonly all: Promise<string> } {
  const sent = {
    Host: 'localhost',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const socket = connect(server.port, '127.0.0.1', () => {
    socket.write(
      `GET ${path} HTTP/1.1\r\n${Object.entries(sent)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}\r\n`,
    );
  });
  let text = '';
  const first = new Promise<string>((resolve) =>
    socket.once('data', (chunk) => {
      resolve(chunk.toString());
    }),
  );
  const all = new Promise<string>((resolve, reject) => {
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => {
      resolve(text);
    });
  });
  return { socket, first, all };
}

describe('a web socket', () => {
  it('is handed to its handler with who asks and for what', async () => {
    await start();
    const { socket, first } = upgrade('/api/v1/live/evt.Flight%2F1?from=5', { 'X-API-Key': 'anna' });
    expect(await first).toMatch(/^HTTP\/1.1 101 /);
    expect(seen).toMatchObject([{ params: { topic: 'evt.Flight/1' }, principal: { name: 'anna' } }]);
    expect(seen[0]!.url.searchParams.get('from')).toBe('5');
    socket.destroy();
  });

  it('takes the credentials of a browser from the subprotocols', async () => {
    await start();
    const { socket, first } = upgrade('/api/v1/live/x', {
      'Sec-WebSocket-Protocol': 'spool.v1, spool.bearer.anna',
      Origin: 'http://localhost',
    });
    expect(await first).toMatch(/^HTTP\/1.1 101 /);
    socket.destroy();
  });

  it.each<[string, string, Record<string, string>, number, string]>([
    ['without credentials', '/api/v1/live/x', {}, 401, 'UNAUTHENTICATED'],
    ['with wrong credentials', '/api/v1/live/x', { 'X-API-Key': 'eve' }, 401, 'UNAUTHENTICATED'],
    ['without the role', '/api/v1/live/x', { 'X-API-Key': 'bob' }, 403, 'FORBIDDEN'],
    ['to a path that is not declared', '/api/v1/live', { 'X-API-Key': 'anna' }, 404, 'NOT_FOUND'],
    ['to a path of a plain route', '/livez', { 'X-API-Key': 'anna' }, 404, 'NOT_FOUND'],
    ['to a path that cannot be decoded', '/api/v1/live/%zz', { 'X-API-Key': 'anna' }, 400, 'INVALID_REQUEST'],
    ['from a page of another origin', '/api/v1/live/x', { 'X-API-Key': 'anna', Origin: 'http://evil.example' }, 403, 'CROSS_ORIGIN'],
    ['to another host', '/api/v1/live/x', { 'X-API-Key': 'anna', Host: 'evil.example' }, 421, 'HOST_REFUSED'],
    ['that its handler refuses', '/fails', {}, 404, 'UNKNOWN_TOPIC'],
  ])('is refused %s', async (_what, path, headers, status, code) => {
    await start();
    const text = await upgrade(path, headers).all;
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as unknown).toMatchObject({ code, status });
    expect(seen).toHaveLength(0);
  });

  it('tells who asks for none what is there', async () => {
    await start();
    const { status, headers, problem } = await server.send({ path: '/api/v1/live/x' });
    expect([status, headers.upgrade, problem().code]).toEqual([426, 'websocket', 'UPGRADE_REQUIRED']);
  });

  it('is refused when there are too many, and let in again when one has gone', async () => {
    await start({ maxStreams: 1 });
    const { socket, first } = upgrade('/api/v1/live/x', { 'X-API-Key': 'anna' });
    await first;
    expect(await upgrade('/api/v1/live/x', { 'X-API-Key': 'anna' }).all).toMatch(/^HTTP\/1.1 503 [\s\S]*Retry-After: 1/);
    socket.destroy();
    for (let tries = 0; seen.length < 2 && tries < 100; tries += 1) {
      upgrade('/api/v1/live/x', { 'X-API-Key': 'anna' }).all.catch(() => undefined);
      await sleep(20);
    }
    expect(seen).toHaveLength(2);
  });

  it('is told to end when the credentials expire', async () => {
    await start();
    expect(await upgrade('/api/v1/live/x', { 'X-API-Key': 'soon' }).all).toMatch(/bye$/);
  });

  it('is told to end when the server closes', async () => {
    await start();
    const { all, first } = upgrade('/api/v1/live/x', { 'X-API-Key': 'anna' });
    await first;
    await server.close();
    expect(await all).toMatch(/bye$/);
  });
});
