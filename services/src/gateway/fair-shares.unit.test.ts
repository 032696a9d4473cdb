import type { Reply } from '@spool/schemas';
import { createGateway, type Replies } from '@spool/sdk';
import type { EventStore } from '../event-store/index.js';
import { stage, until, type Stage } from '../event-store/testing.js';
import { createAuth } from '../http/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { messageRoutes } from './message-routes.js';

/** Whoever waits does so until the test answers. */
const waiting: ((reply: Reply) => void)[] = [];
const replies = {
  address: { topic: 'reply.gateway', partition: 0 },
  get waiting() {
    return waiting.length;
  },
  wait: () => new Promise<Reply>((resolve) => void waiting.push(resolve)),
} as unknown as Replies;
const applied: Reply = { outcome: 'applied', version: 1, events: [], position: '', view: null, problem: null };

let on: Stage;
let server: TestServer;
beforeEach(async () => {
  on = await stage();
  const { codec, topics, registry, platform } = on;
  const gateway = createGateway({
    codec,
    topics,
    registry,
    replies,
    producer: platform.producer,
    source: 'test',
    now: Date.now,
    maxInFlight: 18,
  });
  const auth = await createAuth();
  server = await startTestServer({
    routes: messageRoutes(gateway, registry, {} as EventStore),
    auth: {
      ...auth,
      authenticate: ({ 'x-api-key': key }) => Promise.resolve({ id: String(key), name: String(key), via: 'api-key', roles: ['bundle'] }),
    },
  });
});
afterEach(async () => {
  for (const answer of waiting.splice(0)) answer(applied);
  await server.close();
  await on[Symbol.asyncDispose]();
});
const send = (caller: string, headers = {}) =>
  server.send({
    method: 'POST',
    path: '/api/v1/commands/Put',
    headers: { 'x-api-key': caller, 'content-type': 'application/json', ...headers },
    body: { aggregateId: 'a', payload: { amount: 1, note: '' } },
  });

describe('a caller that floods the gateway', () => {
  it('is refused with Retry-After while another one is let in, with the same command too', async () => {
    const flood = Array.from({ length: 40 }, () => send('flood'));
    const refused = await Promise.race(flood);
    expect([refused.status, refused.headers['retry-after'], refused.problem().code]).toEqual([503, '1', 'OVERLOADED']);
    await until(() => waiting.length === 16);
    const other = send('other');
    await until(() => waiting.length === 17);
    expect((await send('flood')).status).toBe(503);
    for (const answer of waiting.splice(0)) answer(applied);
    expect((await other).status).toBe(200);
    const statuses = (await Promise.all(flood)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(16);
  });

  it('is refused with what it does not wait for as well, until that is decided', async () => {
    const post = (caller: string) => send(caller, { prefer: 'respond-async' });
    const statuses = (await Promise.all(Array.from({ length: 40 }, () => post('flood')))).map(({ status }) => status);
    expect(statuses.filter((status) => status === 202)).toHaveLength(16);
    expect(statuses.filter((status) => status === 503)).toHaveLength(24);
    expect((await post('other')).status).toBe(202);
    for (const answer of waiting.splice(0)) answer(applied);
    expect((await post('flood')).status).toBe(202);
  });
});
