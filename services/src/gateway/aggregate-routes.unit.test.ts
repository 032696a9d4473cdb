import { openEventStore, type EventStore } from '../event-store/index.js';
import { account, Account, stage, until, type Stage } from '../event-store/testing.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { aggregateRoutes } from './aggregate-routes.js';

let on: Stage;
let store: EventStore;
let server: TestServer;
beforeEach(async () => {
  on = await stage();
  store = openEventStore({ instance: on.platform, registry: on.registry, gateway: on.gateway });
  server = await startTestServer({ routes: aggregateRoutes(store) });
  for (const amount of [1, 2]) await on.bank.gateway.send(Account, 'Put', 'a', { amount, note: `n${amount}` });
});
afterEach(async () => {
  await server.close();
  await store.close();
  await on[Symbol.asyncDispose]();
});
const get = (path: string) => server.send({ path: `/api/v1/aggregates/${path}` });

describe('aggregates over HTTP', () => {
  it('show what changed between versions and times', async () => {
    const { at } = (await get('Account/a?version=1')).json() as { at: string };
    const answer = await get('Account/a/diff?from=0&to=1');
    expect(answer.json()).toEqual({
      aggregateType: 'Account',
      aggregateId: 'a',
      from: { version: 0, at: null, deleted: false },
      to: { version: 1, at, deleted: false },
      changes: [
        { op: 'replace', path: '/balance', before: 0, after: 1 },
        { op: 'add', path: '/notes/0', after: 'n1' },
      ],
    });
    const now = (await get(`Account/a/diff?from=${encodeURIComponent(new Date(0).toISOString())}`)).json();
    expect(now).toMatchObject({ from: { version: 0 }, to: { version: 2 }, changes: [{ after: 3 }, {}, {}] });
  });

  it.each([
    ['Account/a/diff', 400, 'INVALID_REQUEST'],
    ['Account/a/diff?from=yesterday', 400, 'INVALID_REQUEST'],
    ['Account/a/diff?from=2026-99-99T00:00:00Z', 400, 'INVALID_REQUEST'],
    ['Account/a/diff?from=1&to=3', 404, 'UNKNOWN_AGGREGATE'],
    ['Account/b/diff?from=0', 404, 'UNKNOWN_AGGREGATE'],
    ['Account/b/steps', 404, 'UNKNOWN_AGGREGATE'],
    ['Account/a/steps?cursor=x', 400, 'INVALID_REQUEST'],
    ['Account/a/steps?limit=501', 400, 'INVALID_REQUEST'],
    ['Nothing/a', 404, 'UNKNOWN_AGGREGATE'],
  ])('answer to %s with %d %s', async (path, status, code) => {
    const answer = await get(path);
    expect([answer.status, answer.problem().code]).toEqual([status, code]);
  });

  it('take a snapshot on demand', async () => {
    const take = (path: string) => server.send({ method: 'POST', path: `/api/v1/aggregates/${path}/snapshot` });
    expect((await take('Account/a')).json()).toEqual({ aggregateType: 'Account', aggregateId: 'a', version: 2 });
    expect((await take('Account/nobody')).problem().code).toBe('UNKNOWN_AGGREGATE');
    await on.deploy(account('1', 10));
    const rebuilt = await server.send({ method: 'POST', path: '/api/v1/aggregates/Account/a/snapshot?rebuild=true' });
    expect(rebuilt.json()).toEqual({ aggregateType: 'Account', aggregateId: 'a', version: 2 });
    await until(async () => ((await get('Account/a')).json() as { state: { balance: number } }).state.balance === 30);
  });

  it('go through the events one by one, with the state before and after each', async () => {
    await on.bank.gateway.send(Account, 'Put', 'a', { amount: 4, note: '' });
    const page = (await get('Account/a/steps?limit=2')).json() as { items: object[]; nextCursor: string };
    expect(page.items).toMatchObject([
      { version: 1, type: 'Paid', payload: { amount: 1 }, before: { balance: 0, notes: [] }, after: { balance: 1, notes: ['n1'] } },
      {
        version: 2,
        before: { balance: 1, notes: ['n1'] },
        after: { balance: 3 },
        changes: [{ path: '/balance', before: 1, after: 3 }, {}],
      },
    ]);
    const rest = (await get(`Account/a/steps?limit=2&cursor=${page.nextCursor}`)).json();
    const last = { version: 3, changes: [{ op: 'replace', path: '/balance', before: 3, after: 7 }] };
    expect(rest).toEqual({ items: [expect.objectContaining(last)] });
    expect((await get('Account/a/steps?from=3')).json()).toEqual(rest);
  });

  it('say who was deleted', async () => {
    expect((await get('Account/a')).json()).toMatchObject({ version: 2, deleted: false });
    await on.bank.gateway.send(Account, 'Close', 'a', {});
    expect((await get('Account/a')).json()).toMatchObject({ version: 3, deleted: true });
  });

  it('are described by OpenAPI', async () => {
    const { paths } = (await server.send({ path: '/openapi.json' })).json() as { paths: Record<string, unknown> };
    for (const route of ['diff', 'steps']) {
      expect(paths[`/api/v1/aggregates/{type}/{id}/${route}`]).toMatchObject({ get: { parameters: expect.any(Array) as unknown } });
    }
  });
});
