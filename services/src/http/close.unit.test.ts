import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEventStream } from './event-stream.js';
import { route } from './route.js';
import { startTestServer } from './testing.js';

const responses = { 204: { description: 'x' } };
const base = { path: '/x', summary: 's', role: 'public', responses } as const;

describe('close', () => {
  it('tells who waits for an answer that the connection ends with it', async () => {
    const server = await startTestServer({
      routes: [route({ ...base, method: 'GET', handler: async () => (await sleep(500), { status: 204 }) })],
    });
    const agent = new Agent({ keepAlive: true });
    const pending = new Promise<string | undefined>((resolve) =>
      request({ port: server.port, host: '127.0.0.1', path: '/x', agent }, ({ headers }) => resolve(headers.connection)).end(),
    );
    await sleep(200);
    await server.close();
    expect(await pending).toBe('close');
    agent.destroy();
  });

  it('waits for handlers, refuses new connections, and may be called again', async () => {
    const server = await startTestServer({
      routes: [route({ ...base, method: 'GET', handler: async () => (await sleep(500), { status: 204 }) })],
    });
    const pending = server.send({ path: '/x' });
    await sleep(200);
    const closing = server.close();
    expect(server.close()).toBe(closing);
    await expect(server.send({ path: '/x' })).rejects.toThrow(/ECONNREFUSED/);
    expect((await pending).status).toBe(204);
    await closing;
  });

  it('refuses what comes over a connection that is kept, and ends it', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const server = await startTestServer({
      routes: [
        route({ ...base, method: 'GET', handler: async () => (await held, { status: 204 }) }),
        route({ ...base, path: '/y', method: 'GET', handler: () => ({ status: 204 }) }),
      ],
    });
    const pending = server.send({ path: '/x' });
    const socket = connect(server.port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    // Half a request keeps the connection from being idle.
    socket.write('GET /y HTTP/1.1\r\nHost: localhost\r\n');
    await sleep(200);
    const closing = server.close();
    socket.write('\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(text).toMatch(/^HTTP\/1.1 503 /);
    expect(text).toMatch(/Connection: close/);
    release();
    expect((await pending).status).toBe(204);
    await closing;
  });

  it('still reads what is sent over a connection that is kept, and refuses it', async () => {
    const server = await startTestServer({ routes: [route({ ...base, method: 'GET', handler: () => ({ status: 204 }) })] });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const get = () =>
      new Promise<readonly [number | undefined, string | undefined]>((resolve, reject) => {
        const sent = request({ port: server.port, host: '127.0.0.1', path: '/x', agent }, (response) => {
          response.resume().on('end', () => resolve([response.statusCode, response.headers.connection]));
        });
        sent.on('error', reject).end();
      });
    await get();
    const closing = server.close();
    expect(await get()).toEqual([503, 'close']);
    await closing;
    agent.destroy();
  });

  it('ends idle connections soon', async () => {
    const server = await startTestServer({
      routes: [route({ ...base, method: 'GET', handler: () => ({ status: 204 }) })],
      limits: { closeWithinMs: 60_000 },
    });
    const agent = new Agent({ keepAlive: true });
    await new Promise((resolve) =>
      request({ port: server.port, host: '127.0.0.1', path: '/x', agent }, (response) => response.resume().on('end', resolve)).end(),
    );
    await server.close();
    agent.destroy();
  });

  it('aborts handlers that take longer than the bound, answers for those that do not listen, and cuts what has begun', async () => {
    const reasons: unknown[] = [];
    const listening = route({
      ...base,
      method: 'POST',
      handler: ({ signal }) =>
        new Promise<never>((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            reject(signal.reason as Error);
          });
        }),
    });
    const deaf = route({ ...base, path: '/deaf', method: 'GET', handler: () => new Promise<never>(() => undefined) });
    const torn = route({
      ...base,
      path: '/torn',
      method: 'GET',
      stream: true,
      handler: async ({ response }) => {
        response.write('half');
        await new Promise<never>(() => undefined);
      },
    });
    const server = await startTestServer({ routes: [listening, deaf, torn], limits: { closeWithinMs: 100 } });
    const answer = server.send({ method: 'POST', path: '/x' });
    const unheard = server.send({ path: '/deaf' });
    const cut = server.send({ path: '/torn' }).catch((error: unknown) => error);
    await sleep(200);
    await server.close();
    expect((await answer).problem()).toMatchObject({ code: 'INDETERMINATE' });
    expect(reasons).toHaveLength(1);
    expect((await unheard).problem()).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await cut).toMatchObject({ code: 'ECONNRESET' });
  });

  it('ends streams at once', async () => {
    const stream = route({
      ...base,
      method: 'GET',
      stream: true,
      responses: { 200: { description: 'x' } },
      handler: async (context) => {
        const events = openEventStream(context);
        events.send({ data: 'hello' });
        await events.ended;
      },
    });
    const server = await startTestServer({ routes: [stream], limits: { closeWithinMs: 60_000 } });
    const answer = server.send({ path: '/x' });
    await sleep(200);
    await server.close();
    expect(await answer).toMatchObject({ status: 200, text: 'data: hello\n\n' });
  });

  it('disposes', async () => {
    let port = 0;
    {
      await using server = await startTestServer({ routes: [] });
      port = server.port;
    }
    const again = await startTestServer({ routes: [], port });
    await again.close();
  });
});
