import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { aggregate, bundle, openRegistry, reject, saga, startBundle, type RunningBundle } from '@spool/sdk';
import { createMemoryCluster, openInstance, topicCatalogue } from '@spool/streams';
import { openEventStore } from '../event-store/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { registryProcessor } from '../registry/index.js';
import { sagaRoutes } from './saga-routes.js';

const Task = aggregate('Task', {
  commands: { Start: record('todo.Start', {}), Close: record('todo.Close', { by: 'string' }) },
  events: { Started: record('todo.Started', {}), TaskClosed: record('todo.TaskClosed', { by: 'string' }) },
  initial: () => 0,
  decide: {
    Start: () => [{ type: 'Started' as const, data: {} }],
    Close: ({ by }, _, { aggregateId }) =>
      aggregateId === 'stuck' ? reject('STUCK', 'it will not close') : [{ type: 'TaskClosed', data: { by } }],
  },
  evolve: { Started: (n) => n, TaskClosed: (n) => n },
});
const Closing = saga('Closing', {
  of: [Task],
  sends: [Task],
  initial: () => ({ closed: false }),
  on: {
    Started: {
      starts: true,
      by: (_, { aggregateId }) => aggregateId,
      react(_state, _event, step) {
        step.schedule('late', { at: 4_000_000_000_000 });
        step.send(Task, 'Close', step.id, { by: 'saga' });
      },
    },
    TaskClosed: {
      by: (_, { aggregateId }) => aggregateId,
      react(_state, _event, step) {
        step.end();
        return { closed: true };
      },
    },
  },
  onOutcome: { Close: () => undefined },
  timers: { late: () => undefined },
});

const open: (() => Promise<unknown>)[] = [];
let server: TestServer;
let running: RunningBundle;
beforeEach(async () => {
  const kafka = createMemoryCluster().connect();
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-saga-routes-'));
  const shared = {
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ partitions: 2 }),
    dataDir,
    log: () => undefined,
    now: Date.now,
  };
  const platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(registryProcessor(platform));
  const registry = await openRegistry({ ...shared, onError: () => undefined });
  running = await startBundle(bundle({ id: 'todo', version: '1.0.0', components: [Task, Closing] }), { ...shared, instance: 'todo-0' });
  const eventStore = openEventStore({ instance: platform, registry, gateway: running.gateway });
  server = await startTestServer({ routes: sagaRoutes(eventStore) });
  open.push(
    async () => rmSync(dataDir, { recursive: true, force: true }),
    () => kafka.close(),
    () => platform.close(),
    () => registry.close(),
    () => running.close(),
    () => eventStore.close(),
    () => server.close(),
  );
  await until(async () => (await get('/api/v1/sagas/Closing')).status === 200);
  for (const id of ['a', 'b', 'stuck', 'c']) await running.gateway.send(Task, 'Start', id, {});
  // Three steps for those that close, two for the one that does not: the reply and the event come in either order.
  await until(
    async () =>
      (await ids('?state=ended')).length === 3 && ((await get('/api/v1/sagas/Closing/stuck')).json() as { version: number }).version === 2,
  );
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});
const get = (path: string) => server.send({ path });
interface Page {
  readonly items: readonly { readonly id: string; readonly state: string; readonly version: number }[];
  readonly nextCursor?: string;
}
const page = async (query: string): Promise<Page> => (await get(`/api/v1/sagas/Closing${query}`)).json() as Page;
const ids = async (query: string): Promise<string[]> => (await page(query)).items.map(({ id }) => id);

it('lists instances by state, a page at a time', async () => {
  expect(await ids('')).toEqual(['a', 'b', 'c', 'stuck']);
  expect(await ids('?state=running')).toEqual(['stuck']);
  const first = await page('?state=ended&limit=2');
  expect(first.items.map(({ id, state }) => [id, state])).toEqual([
    ['a', 'ended'],
    ['b', 'ended'],
  ]);
  const second = await page(`?state=ended&limit=2&cursor=${first.nextCursor}`);
  expect([second.items.map(({ id }) => id), second.nextCursor]).toEqual([['c'], undefined]);
  expect((await get(`/api/v1/sagas/Closing?cursor=${first.nextCursor}`)).problem()).toMatchObject({ status: 400 });
});

it('shows where an instance stands, with open timers', async () => {
  expect((await get('/api/v1/sagas/Closing/stuck')).json()).toMatchObject({
    saga: 'Closing',
    id: 'stuck',
    state: 'running',
    version: 2,
    data: { closed: false },
    timers: [{ name: 'late', at: '2096-10-02T07:06:40.000Z' }],
    pending: [],
  });
  expect((await get('/api/v1/sagas/Closing/a')).json()).toMatchObject({ state: 'ended', data: { closed: true }, timers: [], pending: [] });
});

it('shows how it came there: what came, what was sent, and the state after each', async () => {
  const path = '/api/v1/sagas/Closing/stuck/history';
  const { items } = (await get(path)).json() as { items: readonly Record<string, unknown>[] };
  expect(items).toMatchObject([
    {
      version: 1,
      input: { kind: 'event', type: 'Started', topic: 'evt.Task', payload: {} },
      state: { closed: false },
      commands: [{ id: 'Closing/stuck/1/0', type: 'Close', target: 'Task', key: 'stuck', payload: { by: 'saga' } }],
      timersSet: [{ name: 'late' }],
    },
    {
      version: 2,
      input: { kind: 'outcome', type: 'Close', id: 'Closing/stuck/1/0', payload: { outcome: 'rejected', problem: { code: 'STUCK' } } },
    },
  ]);
  const backwards = (await get(`${path}?direction=backwards&limit=1`)).json() as { items: { version: number }[]; nextCursor: string };
  expect(backwards.items.map(({ version }) => version)).toEqual([2]);
  const rest = (await get(`${path}?direction=backwards&limit=1&cursor=${backwards.nextCursor}`)).json() as typeof backwards;
  expect([rest.items.map(({ version }) => version), rest.nextCursor]).toEqual([[1], undefined]);
});

it('knows no instance that never began, and no saga that is not one', async () => {
  for (const path of ['Closing/nobody', 'Closing/nobody/history', 'Task', 'Nothing']) {
    expect((await get(`/api/v1/sagas/${path}`)).problem()).toMatchObject({ status: 404, code: 'NOT_FOUND' });
  }
});
