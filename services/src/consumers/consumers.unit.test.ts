import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AuditEntrySchema,
  createCodec,
  createMemoryRegistry,
  HeartbeatSchema,
  type AuditEntry,
  type Codec,
  type Heartbeat,
} from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import {
  aggregate,
  bundle,
  openRegistry,
  projection,
  projector,
  record,
  startBundle,
  table,
  type Registry,
  type RunningBundle,
} from '@spool/sdk';
import { createMemoryCluster, leaseGrantor, openInstance, readToEnd, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { consumerRoutes } from '../gateway/consumer-routes.js';
import { startTestServer, type TestResponse, type TestServer } from '../http/testing.js';
import { registryProcessor } from '../registry/index.js';
import { openConsumerService, type ConsumerService } from './consumer-service.js';
import type { ConsumerView, OrderResult } from './views.js';

/** Events with this number cannot be projected while it is set. */
let poison: number | undefined;
const Counter = aggregate('Counter', {
  commands: { Add: record('count.Add', { n: 'int' }) },
  events: { Added: record('count.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => [{ type: 'Added', data: { n } }] },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
const Totals = projector('Totals', {
  of: Counter,
  tables: { totals: table<{ readonly sum: number }>() },
  on: {
    Added: ({ n }, { totals }) => {
      if (n === poison) throw new TypeError(`${n} cannot be counted`);
      totals.put('all', { sum: (totals.get('all')?.sum ?? 0) + n });
    },
  },
});
const Sums = projection('Sums', {
  reads: Totals,
  queries: { Total: { request: record('count.Total', {}), view: record('count.TotalView', { sum: 'long' }) } },
  answer: { Total: (_, { totals }) => totals.get('all') ?? { sum: 0 } },
});
const consumer = 'counting.Totals-1.default';

const topics = topicCatalogue({ partitions: 2 });
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let registry: Registry;
let counting: RunningBundle;
let consumers: ConsumerService;
let server: TestServer;

beforeEach(async () => {
  poison = undefined;
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-consumers-'));
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(registryProcessor(platform));
  registry = await openRegistry({ kafka, codec, topics, onError: fail });
  counting = await startCounting();
  await until(() => registry.component('Totals') !== undefined);
  consumers = await openConsumerService(platform, registry, { acknowledgeMs: 2000 });
  server = await startTestServer({ routes: consumerRoutes(consumers) });
  await until(async () => (await consumers.list()).some(({ id, partitions }) => id === consumer && partitions.length === 2));
});
afterEach(async () => {
  await server.close();
  await consumers.close();
  await counting.close();
  await registry.close();
  await platform.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const startCounting = (instance = 'counting-0'): Promise<RunningBundle> =>
  startBundle(bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Sums] }), {
    kafka,
    codec,
    topics,
    dataDir,
    log: () => undefined,
    instance,
  });
function fail(error: unknown): void {
  throw error as Error;
}
/** Ten events of one counter: n from 1 to 10. */
async function add(from = 1, to = 10): Promise<void> {
  for (let n = from; n <= to; n++) await counting.gateway.send(Counter, 'Add', 'c', { n });
}
const sum = async (): Promise<number> => (await counting.gateway.ask(Sums, 'Total', {})).view.sum;
const get = async (): Promise<ConsumerView> => (await server.send({ path: `/api/v1/consumers/${consumer}` })).json() as ConsumerView;
const post = (action: string, body: unknown = {}, id = consumer): Promise<TestResponse> =>
  server.send({ method: 'POST', path: `/api/v1/consumers/${id}/${action}`, body });
async function audited(): Promise<string[]> {
  const decoder = codec.decoder(AuditEntrySchema);
  const entries: AuditEntry[] = [];
  await readToEnd({
    kafka,
    partition: { topic: topics.audit.name, partition: 0 },
    from: 'earliest',
    apply: async (records) => {
      for (const { value } of records) entries.push(await decoder.decode(value!));
    },
  });
  return entries.map(({ action, target, reason, outcome }) => `${action} ${target} ${outcome}: ${reason}`);
}

describe('consumers over HTTP', () => {
  it('are listed with their positions and their lag against the last stable offset', async () => {
    await add();
    await until(async () => (await sum()) === 55);
    await until(async () => (await get()).partitions.some(({ position }) => position !== '0'));
    const { items } = (await server.send({ path: '/api/v1/consumers' })).json() as { items: ConsumerView[] };
    expect(items.map(({ id }) => id)).toEqual(expect.arrayContaining([consumer, 'counting.Counter-1.default', 'spool.registry']));
    await until(async () => (await get()).lag.records === 0);
    expect(await get()).toMatchObject({
      state: 'running',
      paused: false,
      epoch: '-1',
      error: null,
      instances: [{ instance: 'counting-0' }],
    });
  });

  it('are paused, stepped and resumed, each order acknowledged when it answers, and audited (Evento defect 7)', async () => {
    await add(1, 2);
    await until(async () => (await sum()) === 3);
    const paused = await post('pause', { reason: 'look at it' });
    expect([paused.status, (paused.json() as OrderResult).consumer.paused]).toEqual([200, true]);
    await add(3, 5);
    await until(async () => (await get()).lag.records >= 3);
    expect(await sum()).toBe(3);
    const stepped = await post('step', { records: 1 }, 'Totals');
    expect(stepped.json()).toMatchObject({ acknowledged: true });
    await until(async () => (await sum()) === 6);
    await post('resume');
    await until(async () => (await sum()) === 15);
    expect(await audited()).toEqual([
      `consumer.pause ${consumer} done: look at it`,
      `consumer.step ${consumer} done: `,
      `consumer.resume ${consumer} done: `,
    ]);
  });

  it('stay paused over a restart', async () => {
    await post('pause');
    await counting.close();
    counting = await startCounting();
    await until(async () => (await consumers.list()).some(({ id }) => id === consumer));
    await add(1, 1);
    expect([(await get()).paused, await sum()]).toEqual([true, 0]);
  });

  it('cannot be held where every gateway would lose its replies', async () => {
    await platform.run(leaseGrantor(platform));
    await until(async () => (await consumers.list()).some(({ id }) => id === 'spool.leases'));
    for (const [order, body] of [
      ['pause', { reason: 'x' }],
      ['rate', { reason: 'x', recordsPerSecond: 1 }],
    ] as const) {
      const answer = await fetch(`${server.url}/api/v1/consumers/spool.leases/${order}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect([answer.status, await answer.json()]).toMatchObject([
        400,
        { code: 'INVALID_REQUEST', detail: expect.stringContaining('cannot be held') as unknown },
      ]);
    }
  });

  it('are given a rate, which shows', async () => {
    expect((await post('rate', { recordsPerSecond: 5 })).json()).toMatchObject({ consumer: { recordsPerSecond: 5 } });
    expect((await post('rate', { recordsPerSecond: null })).json()).toMatchObject({ consumer: { recordsPerSecond: null } });
  });

  it('are reset: the store is emptied, and the log makes the same of it (Evento defect 7)', async () => {
    await add();
    await until(async () => (await sum()) === 55);
    expect((await post('reset')).status).toBe(200);
    await until(async () => (await sum()) === 55);
    // It is told of with the next heartbeat.
    await until(async () => (await get()).lag.records === 0);
  });

  it('are moved to offsets and times that the log has, and to no others', async () => {
    await add(1, 3);
    await until(async () => (await sum()) === 6);
    await until(async () => (await get()).partitions.some(({ end }) => end !== '0'));
    const { partition, end } = (await get()).partitions.find((at) => at.end !== '0')!;
    expect((await post('seek', { to: { offsets: { [partition]: '0' } } })).status).toBe(200);
    await until(async () => (await sum()) === 12);
    expect((await post('seek', { to: { timestamp: new Date(0).toISOString() } })).status).toBe(200);
    await until(async () => (await sum()) === 18);
    const beyond = await post('seek', { to: { offsets: { [partition]: '99999' } } });
    expect([beyond.status, beyond.problem().code, beyond.problem().detail]).toEqual([
      400,
      'OFFSET_OUT_OF_RANGE',
      expect.stringContaining(`goes from 0 to ${end}`),
    ]);
  });

  it('refuse what they cannot do with the reason, and what nobody runs is not found', async () => {
    const refused = await post('seek', { to: 'earliest' }, 'counting.Counter-1.default');
    expect([refused.status, refused.problem().code, refused.problem().detail]).toEqual([
      409,
      'ORDER_REFUSED',
      expect.stringContaining('decides each command once'),
    ]);
    expect((await audited()).at(-1)).toMatch(/^consumer.seek counting.Counter-1.default refused: /);
    expect((await post('pause', {}, 'nobody')).status).toBe(404);
    expect((await post('step', {})).problem().code).toBe('ORDER_REFUSED');
  });

  it('answer 200 when all instances have done it, and 202 when one has not said so in time', async () => {
    const other = await startCounting('counting-1');
    await until(async () => (await get()).instances.length === 2);
    const first = await post('pause');
    expect([first.status, (first.json() as OrderResult).consumer.epoch]).toEqual([200, (first.json() as OrderResult).order]);
    await other.close();
    await until(async () => (await get()).instances.length === 1);
    // An instance that hangs: it was there a moment ago, and says nothing any more.
    const heartbeat = await codec.encoder(topics.heartbeats.name, HeartbeatSchema);
    const [copy] = (await lastBeats()).filter(({ instance }) => instance === 'counting-0');
    await platform.producer.send({ topic: topics.heartbeats.name, key: 'ghost', value: heartbeat.encode({ ...copy!, instance: 'ghost' }) });
    await until(async () => (await get()).instances.length === 2);
    const second = await post('resume');
    expect([second.status, (second.json() as OrderResult).acknowledged]).toEqual([202, false]);
  });
});

interface LetterItem {
  key: string;
  code: string;
  payload: { n: number };
  source: { topic: string; partition: number; offset: string };
  resolution: string | null;
}
const listed = async (query = ''): Promise<{ items: LetterItem[]; nextCursor?: string }> =>
  (await server.send({ path: `/api/v1/consumers/${consumer}/dead-letters${query}` })).json() as {
    items: LetterItem[];
    nextCursor?: string;
  };

describe('dead letters over HTTP', () => {
  beforeEach(async () => {
    poison = 2;
    await add(1, 4);
    await until(async () => (await listed()).items.length === 3);
  });

  it('are listed in order with cause, origin and payload, a page at a time', async () => {
    const first = await listed('?limit=2');
    const second = await listed(`?limit=2&cursor=${first.nextCursor}`);
    const items = [...first.items, ...second.items];
    expect(items.map(({ key, code, payload }) => [key, code, payload])).toEqual([
      ['c', 'INTERNAL', { n: 2 }],
      ['c', 'FOLLOWS_PARKED', { n: 3 }],
      ['c', 'FOLLOWS_PARKED', { n: 4 }],
    ]);
    expect(items[0]!.source.topic).toBe('evt.Counter');
    expect(second.nextCursor).toBeUndefined();
  });

  it('are retried when the cause is gone, and the read model is complete (Evento defect 8)', async () => {
    poison = undefined;
    const retried = await post('dead-letters/retry', { key: 'c', reason: 'fixed' });
    expect([retried.status, (retried.json() as OrderResult).records]).toEqual([200, 3]);
    await until(async () => (await sum()) === 10);
    expect((await listed()).items).toEqual([]);
    expect((await listed('?resolved=true')).items.map(({ resolution }) => resolution)).toEqual(['retried', 'retried', 'retried']);
    expect(await audited()).toEqual([`consumer.retry ${consumer} done: fixed`]);
  });

  it('say why a retry stopped', async () => {
    const { records, failed } = (await post('dead-letters/retry')).json() as OrderResult;
    expect([records, failed]).toEqual([0, 'INTERNAL: 2 cannot be counted']);
  });

  it('are retried with another value, which has to fit the schema', async () => {
    const [{ source }] = (await listed()).items as [LetterItem];
    expect((await post('dead-letters/retry', { record: source, value: { n: 'two' } })).problem().code).toBe('INVALID_PAYLOAD');
    expect((await post('dead-letters/retry', { record: source, value: { n: 20 } })).status).toBe(200);
    await post('dead-letters/retry', { key: 'c' });
    await until(async () => (await sum()) === 28);
  });

  it('are discarded, and later records of the key are handled again', async () => {
    const [{ source }] = (await listed()).items as [LetterItem];
    expect(((await post('dead-letters/discard', { record: source })).json() as OrderResult).records).toBe(1);
    expect((await post('dead-letters/retry', { key: 'c' })).status).toBe(200);
    await add(5, 5);
    await until(async () => (await sum()) === 13);
    expect((await post('dead-letters/discard', { key: 'c' })).status).toBe(404);
  });

  it('cannot be retried out of order, nor edited all at once', async () => {
    const { source } = (await listed()).items[1]!;
    expect((await post('dead-letters/retry', { record: source })).problem().code).toBe('ORDER_REFUSED');
    expect((await post('dead-letters/retry', { value: { n: 1 } })).problem().code).toBe('INVALID_REQUEST');
  });
});

async function lastBeats(): Promise<Heartbeat[]> {
  const decoder = codec.decoder(HeartbeatSchema);
  const beats: Heartbeat[] = [];
  for (const partition of [0, 1]) {
    await readToEnd({
      kafka,
      partition: { topic: topics.heartbeats.name, partition },
      from: 'earliest',
      apply: async (records) => {
        for (const { value } of records) beats.push(await decoder.decode(value!));
      },
    });
  }
  return beats.reverse();
}
