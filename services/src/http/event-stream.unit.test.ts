import { request, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { openEventStream, type EventStream, type EventStreamOptions } from './event-stream.js';
import type { Auth } from './auth/auth.js';
import { route, type StreamContext } from './route.js';
import { startTestServer, type TestServer } from './testing.js';

let server: TestServer;
afterEach(() => server.close());

async function start(handler: (context: StreamContext) => Promise<void>, auth?: Auth): Promise<void> {
  const stream = route({
    method: 'GET',
    path: '/events',
    summary: 's',
    role: 'analyst',
    stream: true,
    responses: { 200: { description: 'events' } },
    handler,
  });
  server = await startTestServer({ routes: [stream], ...(auth === undefined ? {} : { auth }) });
}
const streaming = (act: (events: EventStream, context: StreamContext) => Promise<void> | void, options: EventStreamOptions = {}) =>
  start(async (context) => {
    const events = openEventStream(context, options);
    await act(events, context);
    await events.close();
  });

async function until(happened: () => boolean): Promise<void> {
  for (let waited = 0; !happened() && waited < 10_000; waited += 20) await sleep(20);
}

/** Connects and does not read. */
function openSlowly(): Promise<IncomingMessage> {
  return new Promise((resolve) => {
    request({ port: server.port, host: '127.0.0.1', path: '/events', agent: false }, resolve).end();
  });
}
async function readAll(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += chunk as string;
  return text;
}

describe('an event stream', () => {
  it('writes id, type, data and retry as the browser reads them', async () => {
    await streaming((events) => {
      events.send({ id: '7', event: 'applied', data: 'a\nb\r\nc', retry: 500 });
      events.send({ data: '' });
    });
    const answer = await server.send({ path: '/events', headers: { accept: 'text/event-stream' } });
    expect(answer.headers).toMatchObject({ 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache, no-transform' });
    expect(answer.text).toBe('id: 7\nevent: applied\nretry: 500\ndata: a\ndata: b\ndata: c\n\ndata: \n\n');
  });

  it('gives what the client saw last', async () => {
    const seen: unknown[] = [];
    await streaming((events) => void seen.push(events.lastEventId));
    await server.send({ path: '/events', headers: { 'last-event-id': '42' } });
    await server.send({ path: '/events' });
    expect(seen).toEqual(['42', undefined]);
  });

  it('refuses an id or a type that would forge another event', async () => {
    await streaming((events) => {
      expect(() => events.send({ id: '1\ndata: forged', data: 'x' })).toThrow(/one line/);
      expect(() => events.send({ event: 'a\r', data: 'x' })).toThrow(/one line/);
      events.send({ data: 'fine' });
    });
    expect((await server.send({ path: '/events' })).text).toBe('data: fine\n\n');
  });

  it('keeps a quiet connection alive', async () => {
    let enough = (): void => undefined;
    const heard = new Promise<void>((resolve) => (enough = resolve));
    await streaming(() => heard, { heartbeatMs: 10 });
    let text = '';
    for await (const chunk of await openSlowly()) {
      text += String(chunk);
      if (text.length >= 3 * ':\n\n'.length) enough();
    }
    expect(text).toMatch(/^(:\n\n){3,}$/);
  });

  it('tells a slow client to begin anew and cuts it off, with what waits for it bounded', async () => {
    let most = 0;
    let refused = false;
    let ended = false;
    await streaming(
      async (events, { response }) => {
        for (let index = 0; index < 20_000 && !refused; index += 1) {
          refused = !events.send({ data: 'x'.repeat(1_000) });
          most = Math.max(most, response.writableLength);
          // Lets the kernel take what it can.
          if (index % 50 === 0) await sleep(1);
        }
        await events.ended;
        ended = true;
      },
      { maxBufferedBytes: 200_000, farewellMs: 2_000 },
    );
    const response = await openSlowly();
    await until(() => refused);
    expect(refused).toBe(true);
    expect(most).toBeGreaterThan(200_000);
    expect(most).toBeLessThan(202_500);
    expect((await readAll(response)).endsWith('event: resync\ndata: {}\n\n')).toBe(true);
    await until(() => ended);
    expect(ended).toBe(true);
  });

  it('does not wait for ever for a client that does not read at all', async () => {
    let ended = false;
    await streaming(
      async (events) => {
        while (events.send({ data: 'x'.repeat(10_000) })) await sleep(0);
        await events.ended;
        ended = true;
      },
      { maxBufferedBytes: 100_000, farewellMs: 100 },
    );
    const response = await openSlowly();
    await until(() => ended);
    expect(ended).toBe(true);
    response.destroy();
  });

  it('lets a source that can wait keep pace with the client', async () => {
    const count = 3_000;
    await streaming(
      async (events) => {
        for (let index = 0; index < count; index += 1) {
          await events.ready();
          expect(events.send({ id: String(index), data: 'x'.repeat(2_000) })).toBe(true);
        }
      },
      { maxBufferedBytes: 100_000 },
    );
    const response = await openSlowly();
    await sleep(100);
    const text = await readAll(response);
    expect(text.match(/^id: /gm)).toHaveLength(count);
    expect(text).not.toContain('resync');
  });

  it('ends when the client goes', async () => {
    let ended = false;
    await streaming(async (events, { signal }) => {
      await events.ended;
      expect(events.send({ data: 'x' })).toBe(false);
      ended = signal.aborted;
    });
    const response = await openSlowly();
    response.destroy();
    await until(() => ended);
    expect(ended).toBe(true);
  });

  it('ends when the credentials expire', async () => {
    const auth: Auth = {
      configured: true,
      authenticate: () => Promise.resolve({ id: 'x', name: 'x', roles: ['analyst'], via: 'jwt', expiresAt: Date.now() + 100 }),
    };
    await start(async (context) => {
      const events = openEventStream(context);
      events.send({ data: 'x' });
      await events.ended;
    }, auth);
    expect((await server.send({ path: '/events' })).text).toBe('data: x\n\n');
  });

  it('answers a problem document if it fails before it began, and is cut if it fails later', async () => {
    await start(() => Promise.reject(new SpoolError('UNKNOWN_REPLAY', 'No replay r-1')));
    expect((await server.send({ path: '/events' })).problem()).toMatchObject({ code: 'UNKNOWN_REPLAY', status: 404 });
    await server.close();
    await start(async (context) => {
      openEventStream(context).send({ data: 'x' });
      await sleep(20);
      throw new Error('later');
    });
    await expect(server.send({ path: '/events' })).rejects.toMatchObject({ code: 'ECONNRESET' });
    await server.close();
    await start(() => Promise.resolve());
    expect((await server.send({ path: '/events' })).status).toBe(500);
  });

  it('has no HEAD', async () => {
    await streaming(() => undefined);
    const answer = await server.send({ method: 'HEAD', path: '/events' });
    expect([answer.status, answer.headers['allow']]).toEqual([405, 'GET, OPTIONS']);
  });

  it('is asked for as what it is', async () => {
    await streaming(() => undefined);
    expect((await server.send({ path: '/events', headers: { accept: 'application/json' } })).problem().code).toBe('NOT_ACCEPTABLE');
  });
});
