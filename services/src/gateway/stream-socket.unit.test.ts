import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { toToken } from '@spool/sdk';
import { eventTails } from '../event-store/index.js';
import { Account, stage, until, type Stage } from '../event-store/testing.js';
import type { Auth } from '../http/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { streamSocket, type StreamSocketOptions } from './stream-socket.js';

const soon: Auth = {
  configured: true,
  authenticate: () => Promise.resolve({ id: 'x', name: 'x', roles: ['analyst'], via: 'jwt', expiresAt: Date.now() + 300 }),
};

let on: Stage;
let server: TestServer;
const sockets: WebSocket[] = [];
beforeEach(async () => {
  on = await stage();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  await server.close();
  await on[Symbol.asyncDispose]();
});
const start = async (options: Partial<StreamSocketOptions> = {}, auth?: Auth): Promise<void> => {
  const socket = streamSocket({ tails: eventTails(on.platform, on.registry), topics: on.topics, ...options });
  server = await startTestServer({ routes: [], sockets: [socket], ...(auth === undefined ? {} : { auth }) });
};

interface Told {
  readonly type: string;
  readonly id?: string;
  readonly position?: string;
  readonly event?: { readonly payload: { readonly amount: number }; readonly aggregateId: string };
  readonly problem?: { readonly code: string; readonly errors?: readonly unknown[] };
}
interface Client {
  readonly socket: WebSocket;
  readonly told: Told[];
  readonly closed: Promise<number>;
  say(message: unknown): void;
  /** The amounts that a subscription got. */
  amounts(id: string): number[];
  /** Waits for a message. */
  of(type: string, id?: string): Promise<Told>;
}
async function client(protocols: string[] = ['spool.v1']): Promise<Client> {
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/api/v1/stream`, protocols);
  sockets.push(socket);
  const told: Told[] = [];
  socket.on('message', (data: Buffer) => told.push(JSON.parse(data.toString()) as Told));
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const find = (type: string, id?: string) => told.find((each) => each.type === type && (id === undefined || each.id === id));
  return {
    ...{ socket, told, closed },
    say: (message) => {
      socket.send(JSON.stringify(message));
    },
    amounts: (id) => told.flatMap((each) => (each.type === 'event' && each.id === id ? [each.event!.payload.amount] : [])),
    async of(type, id) {
      await until(() => find(type, id) !== undefined);
      return find(type, id)!;
    },
  };
}
const put = (id: string, amount: number): Promise<unknown> => on.bank.gateway.send(Account, 'Put', id, { amount, note: '' });

describe('a stream over a WebSocket', () => {
  it('carries several subscriptions, each with what it asked for', async () => {
    await start();
    const { say, of, amounts, socket } = await client(['spool.v1', 'spool.bearer.secret']);
    expect(socket.protocol).toBe('spool.v1');
    say({ type: 'subscribe', id: 'all', filter: { topic: 'evt.Account' } });
    say({ type: 'subscribe', id: 'a', filter: { aggregateId: 'a', type: ['Paid', 'Closed'] } });
    say({ type: 'subscribe', id: 'closed', filter: { type: 'Closed' } });
    for (const id of ['all', 'a', 'closed']) await of('subscribed', id);
    await put('a', 1);
    await put('b', 2);
    await until(() => amounts('all').length === 2 && amounts('a').length === 1);
    say({ type: 'unsubscribe', id: 'all' });
    await of('unsubscribed', 'all');
    await put('a', 3);
    await until(() => amounts('a').length === 2);
    expect([amounts('all').toSorted(), amounts('a'), amounts('closed')]).toEqual([[1, 2], [1, 3], []]);
  });

  it('goes on behind the last item that was received, over another socket', async () => {
    await start();
    for (let n = 0; n < 6; n++) await put('a', n);
    const first = await client();
    first.say({ type: 'subscribe', id: '1', from: 'earliest' });
    await until(() => first.amounts('1').length >= 3);
    const { position } = first.told.filter(({ type }) => type === 'event')[2]!;
    first.socket.close();
    await put('a', 6);
    const second = await client();
    second.say({ type: 'subscribe', id: '2', after: position });
    await until(() => second.amounts('2').length === 4);
    expect(second.amounts('2')).toEqual([3, 4, 5, 6]);
  });

  it('tells a client that is too slow to resync, and goes on for the others', async () => {
    await start({ maxBufferedBytes: 20_000 });
    const [slow, quick] = await Promise.all([client(), client()]);
    slow.say({ type: 'subscribe', id: 's' });
    quick.say({ type: 'subscribe', id: 'q' });
    await Promise.all([slow.of('subscribed'), quick.of('subscribed')]);
    slow.socket.pause();
    const note = 'x'.repeat(400_000);
    let sent = 0;
    const send = async (): Promise<void> => {
      await on.bank.gateway.send(Account, 'Put', 'a', { amount: sent++, note });
      await until(() => quick.amounts('q').length === sent);
    };
    // More than the buffers of the kernel hold.
    while (sent < 40) await send();
    slow.socket.resume();
    const { position } = await slow.of('resync', 's');
    const had = slow.amounts('s');
    expect(had.length).toBeLessThan(40);
    // The position is that of the last event that it was sent: nothing is missing, and nothing comes twice.
    slow.say({ type: 'subscribe', id: 's2', after: position });
    await until(() => had.length + slow.amounts('s2').length === 40);
    expect([...had, ...slow.amounts('s2')]).toEqual(Array.from({ length: 40 }, (_, n) => n));
    expect(quick.told.some(({ type }) => type === 'resync')).toBe(false);
  }, 60_000);

  it('answers what is wrong with a problem, and stays open', async () => {
    await start({ maxSubscriptions: 2 });
    const { say, told, socket, of } = await client();
    const refused = async (send: () => void): Promise<string> => {
      const before = told.length;
      send();
      await until(() => told.length > before);
      const { type, id, problem } = told[before]!;
      expect(type).toBe('error');
      return `${problem!.code} ${id ?? ''}`;
    };
    const beyond = toToken(new Map([['evt.Account-0', 999n as never]]));
    const faults: readonly [() => void, string][] = [
      [() => { socket.send('{'); }, 'INVALID_REQUEST '],
      [() => { socket.send(Buffer.from([1, 2])); }, 'INVALID_REQUEST '],
      [() => { say({ type: 'nothing' }); }, 'INVALID_REQUEST '],
      [() => { say({ type: 'subscribe', id: '1', filter: { unknown: 1 } }); }, 'INVALID_REQUEST '],
      [() => { say({ type: 'subscribe', id: '1', filter: { topic: 'control' } }); }, 'INVALID_REQUEST 1'],
      [() => { say({ type: 'subscribe', id: '1', filter: { topic: 'evt.A', aggregateType: 'B' } }); }, 'INVALID_REQUEST 1'],
      [() => { say({ type: 'subscribe', id: '1', after: '!!' }); }, 'INVALID_REQUEST 1'],
      [() => { say({ type: 'subscribe', id: '1', after: beyond }); }, 'OFFSET_OUT_OF_RANGE 1'],
      [() => { say({ type: 'unsubscribe', id: '1' }); }, 'NOT_FOUND '],
    ]; // prettier-ignore
    for (const [send, code] of faults) expect(await refused(send)).toBe(code);
    for (const id of ['1', '2']) {
      say({ type: 'subscribe', id });
      await of('subscribed', id);
      await of('position', id);
    }
    expect(await refused(() => { say({ type: 'subscribe', id: '1' }); })).toBe('INVALID_REQUEST '); // prettier-ignore
    expect(await refused(() => { say({ type: 'subscribe', id: '3' }); })).toBe('OVERLOADED '); // prettier-ignore
    say({ type: 'ping' });
    await of('pong');
  });

  it('cuts off a client that asks and asks and reads no answer', async () => {
    await start({ maxBufferedBytes: 20_000 });
    const { socket, closed } = await client();
    socket.pause();
    let gone = false as boolean;
    void closed.then(() => (gone = true));
    socket.on('error', () => undefined);
    for (let n = 0; n < 400 && !gone; n++) {
      for (let each = 0; each < 100; each++) socket.send('{"type":"nothing"}');
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.resume();
    expect(await closed).toBe(1006);
  }, 30_000);

  it('refuses what is no handshake with a problem, and closes on a message that is too large', async () => {
    await start();
    const text = await new Promise<string>((resolve) => {
      const raw = connect(server.port, '127.0.0.1', () => {
        raw.write('GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      });
      let all = '';
      raw.on('data', (chunk) => (all += chunk.toString()));
      raw.on('close', () => {
        resolve(all);
      });
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*INVALID_REQUEST/);
    const { socket, closed } = await client();
    socket.send('x'.repeat(100_000));
    expect(await closed).toBe(1009);
  });

  it('ends with the credentials, with the server, and with a client that answers no ping', async () => {
    await start({}, soon);
    const expiring = await client();
    expect(await expiring.closed).toBe(1008);
    await server.close();
    await start({ pingEveryMs: 500 });
    const dead = await client();
    const live = await client();
    let pings = 0;
    live.socket.on('ping', () => (pings += 1));
    dead.socket.pause();
    const stopping = await client();
    stopping.say({ type: 'subscribe', id: '1' });
    await stopping.of('subscribed');
    const gone = new Promise<void>((resolve) => dead.socket.once('close', () => resolve()));
    await until(() => pings > 3);
    dead.socket.resume();
    await gone;
    expect(live.socket.readyState).toBe(WebSocket.OPEN);
    const closing = server.close();
    expect(await stopping.closed).toBe(1001);
    await closing;
  });

  it('survives whatever is sent: each message is answered, or the socket closed with a code', async () => {
    await start();
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    const word = fc.constantFrom('subscribe', 'unsubscribe', 'ping', 'x', '', null, 1);
    const value = fc.oneof(fc.jsonValue({ maxDepth: 3 }), word);
    const message = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.uint8Array({ maxLength: 200 }),
      fc.json(),
      fc
        .record({ type: word, id: value, filter: value, from: value, after: value }, { requiredKeys: [] })
        .map((each) => JSON.stringify(each)),
      fc
        .record({
          id: fc.string({ maxLength: 80 }),
          from: fc.oneof(fc.string(), fc.constantFrom('now', 'earliest')),
          after: fc.option(fc.base64String(), { nil: undefined }),
        })
        .map((each) => JSON.stringify({ type: 'subscribe', ...each })),
    );
    const frame = fc.uint8Array({ minLength: 1, maxLength: 100 });
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 8 }), fc.option(frame), async (messages, garbage) => {
          const { socket, told, closed } = await client();
          for (const each of messages) socket.send(each);
          await until(() => told.filter(({ type }) => type !== 'event' && type !== 'position').length >= messages.length);
          for (const { type } of told)
            expect(['subscribed', 'unsubscribed', 'error', 'pong', 'position', 'event', 'resync']).toContain(type);
          // No frame at all, on the bare connection, and then the end of it.
          const bare = (socket as unknown as { _socket: Socket })._socket;
          if (garbage !== null) bare.write(garbage);
          bare.end();
          expect([1000, 1002, 1005, 1006, 1007, 1009]).toContain(await closed);
        }),
        { numRuns: 60 },
      );
    } finally {
      process.off('unhandledRejection', note);
    }
    expect(unhandled).toEqual([]);
    expect(server.logged.filter(({ level }) => level === 'error' || level === 50)).toEqual([]);
    const { say, of } = await client();
    say({ type: 'ping' });
    await of('pong');
  }, 60_000);
});
