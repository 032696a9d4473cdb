import { createCodec, createMemoryRegistry, messageHeaders, record, type Codec, type SchemaRegistry } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type Kafka, type Producer } from '@spool/streams';
import { createAuth } from '../http/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { openTopics } from '../topics/index.js';
import { topicRoutes } from './topic-routes.js';

const Reading = record('meters.Reading', { value: 'int', note: 'string' });
const topics = topicCatalogue();
let kafka: Kafka;
let codec: Codec;
let registry: SchemaRegistry;
let producer: Producer;
let server: TestServer;
beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  registry = createMemoryRegistry();
  codec = createCodec({ registry });
  producer = await kafka.producer();
  const plain = (name: string, partitions: number) => ({ name, partitions, cleanup: 'delete' as const, retentionMs: 1000 });
  await kafka.admin.ensureTopics([plain('readings', 3), plain('wide', 65), topics.events('Meter'), topics.audit, topics.commands('Meter')]);
  const topicService = openTopics({ kafka, codec, producer, topics, registry, now: Date.now });
  server = await startTestServer({ routes: topicRoutes({ topicService, topics }) });
});
afterEach(async () => {
  await server.close();
  await kafka.close();
});
const post = (topic: string, body: unknown) => server.send({ method: 'POST', path: `/api/v1/topics/${topic}/records`, body });
const get = (path: string) => server.send({ path: `/api/v1/topics/${path}` });
interface Item {
  readonly partition: number;
  readonly offset: string;
  readonly key: string | null;
  readonly value: { readonly value: number };
}
interface Page {
  readonly items: readonly Item[];
  readonly nextCursor?: string;
  readonly scanned: number;
}
async function pages(path: string): Promise<readonly Page[]> {
  const all: Page[] = [];
  for (let cursor = ''; ;) {
    const answer = await get(`${path}${cursor}`);
    expect(answer.status).toBe(200);
    const page = answer.json() as Page;
    all.push(page);
    if (page.nextCursor === undefined) return all;
    cursor = `&cursor=${page.nextCursor}`;
  }
}
const itemsOf = (all: readonly Page[]) => all.flatMap(({ items }) => items);
/** One after the other in time, over all partitions. */
async function fill(count: number, topic = 'readings'): Promise<void> {
  const encoder = await codec.encoder(topic, Reading);
  for (let n = 0; n < count; n++) {
    const headers = messageHeaders({ type: n % 10 === 0 ? 'Tenth' : 'Other' });
    await producer.send({ topic, key: `k${n % 7}`, value: encoder.encode({ value: n, note: '' }), headers, timestamp: 1_000_000 + n });
  }
}

describe('records posted to a topic', () => {
  it('are written as the newest schema of the subject has them, as bytes, or as tombstones', async () => {
    await codec.encoder('readings', Reading);
    const answer = await post('readings', {
      records: [
        { key: 'a', headers: { unit: 'kWh' }, type: 'meters.Reading', value: { value: 7, note: 'first' } },
        { key: 'a', base64: Buffer.from('raw').toString('base64') },
        { key: 'a', value: null },
        { key: { base64: '/w==' }, base64: '', partition: 2 },
      ],
    });
    expect(answer.status).toBe(200);
    const { records } = answer.json() as { records: { partition: number; offset: string }[] };
    expect(records.map(({ offset }) => offset)).toEqual(['0', '1', '2', expect.any(String)]);
    const [page] = await pages('readings/records?from=oldest&key=a');
    expect(page!.items).toMatchObject([
      { key: 'a', type: 'meters.Reading', value: { value: 7, note: 'first' }, base64: null, headers: { unit: 'kWh' } },
      { key: 'a', type: null, value: null, base64: 'cmF3' },
      { key: 'a', value: null, base64: null },
    ]);
    const [bytes] = await pages('readings/records?from=oldest&partition=2');
    expect(bytes!.items.find(({ key }) => key === null)).toMatchObject({ keyBase64: '/w==', base64: '' });
  });

  it.each([
    ['evt.Meter', 403, 'TOPIC_NOT_WRITABLE'],
    ['cmd.Meter', 403, 'TOPIC_NOT_WRITABLE'],
    ['audit', 403, 'TOPIC_NOT_WRITABLE'],
    ['snap.Meter', 403, 'TOPIC_NOT_WRITABLE'],
    ['registry.bundles', 403, 'TOPIC_NOT_WRITABLE'],
    ['cluster.heartbeats', 403, 'TOPIC_NOT_WRITABLE'],
    ['_schemas', 403, 'TOPIC_NOT_WRITABLE'],
    ['__consumer_offsets', 403, 'TOPIC_NOT_WRITABLE'],
    ['bank.Totals-1.0.0.default.changelog', 403, 'TOPIC_NOT_WRITABLE'],
    ['nothing', 404, 'UNKNOWN_TOPIC'],
  ])('to %s are refused with %d %s', async (topic, status, code) => {
    const answer = await post(topic, { records: [{ key: 'a', base64: '' }] });
    expect([answer.status, answer.problem().code]).toEqual([status, code]);
  });

  it('that do not fit leave nothing behind, and are told by their place', async () => {
    await codec.encoder('readings', Reading);
    const good = { type: 'meters.Reading', value: { value: 1, note: '' } };
    const bad = await post('readings', { records: [good, { type: 'meters.Reading', value: { value: 'x', note: '' } }] });
    expect([bad.status, bad.problem().code, bad.problem().errors?.[0]?.pointer]).toEqual([
      400,
      'INVALID_PAYLOAD',
      '/records/1/value/value',
    ]);
    const unknown = await post('readings', { records: [good, { type: 'meters.Other', value: {} }] });
    expect([unknown.status, unknown.problem().code, unknown.problem().detail]).toEqual([
      404,
      'SCHEMA_UNKNOWN',
      'no meters.Other is registered for readings; there are meters.Reading',
    ]);
    expect((await post('readings', { records: [{ key: 'a' }] })).problem().code).toBe('INVALID_REQUEST');
    expect((await kafka.admin.offsets('readings')).every(({ latest }) => latest === 0n)).toBe(true);
  });
});

describe('a look through a topic', () => {
  it('gives every record once, by time, whatever the size of a page', async () => {
    await fill(100);
    for (const limit of [7, 33, 500]) {
      const values = itemsOf(await pages(`readings/records?from=oldest&limit=${limit}`)).map(({ value }) => value.value);
      expect(values).toEqual(Array.from({ length: 100 }, (_, n) => n));
    }
  });

  it('begins with the newest and goes back to the oldest', async () => {
    await fill(100);
    for (const limit of [7, 33, 500]) {
      const values = itemsOf(await pages(`readings/records?limit=${limit}`)).map(({ value }) => value.value);
      expect(values).toHaveLength(100);
      expect(values.slice(0, 7)).toEqual([99, 98, 97, 96, 95, 94, 93]);
      expect(values.toSorted((a, b) => b - a)).toEqual(Array.from({ length: 100 }, (_, n) => 99 - n));
    }
  });

  it('takes a key, a type, a partition, an offset and a time', async () => {
    await fill(100);
    const of = async (query: string) => itemsOf(await pages(`readings/records?limit=10&${query}`)).map(({ value }) => value.value);
    expect(await of('from=oldest&type=Tenth')).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    expect(await of('from=newest&type=Tenth&key=k3')).toEqual([80, 10]);
    expect(await of(`from=${new Date(1_000_095).toISOString()}`)).toEqual([95, 96, 97, 98, 99]);
    const own = itemsOf(await pages('readings/records?from=oldest&partition=1'));
    const rest = itemsOf(await pages('readings/records?from=3&partition=1&limit=2'));
    expect(rest).toEqual(own.slice(3));
  });

  it('knows a foreign record by the type that it was written as, and shows JSON and what cannot be read', async () => {
    const encoder = await codec.encoder('readings', Reading);
    await producer.send({ topic: 'readings', key: 'a', value: encoder.encode({ value: 1, note: '' }), partition: 0 });
    await producer.send({ topic: 'readings', key: 'b', value: Buffer.from([0, 0, 0, 0, 99, 1]), partition: 0 });
    await producer.send({
      topic: 'readings',
      key: 'c',
      value: Buffer.from('{"n":1}'),
      headers: { 'content-type': 'application/json' },
      partition: 0,
    });
    expect(itemsOf(await pages('readings/records?type=meters.Reading'))).toMatchObject([{ key: 'a', value: { value: 1 } }]);
    expect(itemsOf(await pages('readings/records?from=oldest'))).toMatchObject([
      { key: 'a' },
      { key: 'b', value: null, base64: 'AAAAAGMB', unreadable: expect.stringContaining('SCHEMA_UNKNOWN') as string },
      { key: 'c', value: { n: 1 }, base64: null },
    ]);
  });

  it.each([
    ['nothing/records', 404, 'UNKNOWN_TOPIC'],
    ['readings/records?from=5', 400, 'INVALID_REQUEST'],
    ['readings/records?from=5&partition=0', 400, 'OFFSET_OUT_OF_RANGE'],
    ['readings/records?partition=3', 400, 'OFFSET_OUT_OF_RANGE'],
    ['readings/records?from=2026-99-99T00:00:00Z', 400, 'INVALID_REQUEST'],
    ['readings/records?cursor=x', 400, 'INVALID_REQUEST'],
    ['wide/records', 400, 'INVALID_REQUEST'],
  ])('of %s answers %d %s', async (path, status, code) => {
    const answer = await get(path);
    expect([answer.status, answer.problem().code]).toEqual([status, code]);
  });
});

describe('topics', () => {
  it('are listed with what may be written to them, in pages', async () => {
    await codec.encoder('readings', Reading);
    const list = async (query: string) =>
      (await server.send({ path: `/api/v1/topics${query}` })).json() as { items: { name: string }[]; nextCursor?: string };
    const page = await list('?limit=3');
    const rest = await list(`?limit=3&cursor=${page.nextCursor}`);
    expect([...page.items, ...rest.items].map(({ name }) => name)).toEqual(['audit', 'cmd.Meter', 'evt.Meter', 'readings', 'wide']);
    expect(rest.nextCursor).toBeUndefined();
    expect(rest.items[0]).toMatchObject({ writable: true, partitions: 3, cleanup: 'delete', types: ['meters.Reading'] });
    expect(page.items[0]).toMatchObject({ writable: false });
  });

  it('of the platform are read by analysts alone, and written by bundles alone', async () => {
    const auth = {
      ...(await createAuth()),
      configured: true,
      authenticate: (headers: Record<string, unknown>) =>
        Promise.resolve(
          headers['x-api-key'] === undefined
            ? undefined
            : { id: 'x', name: 'x', via: 'api-key' as const, roles: [headers['x-api-key'] as 'bundle' | 'analyst'] },
        ),
    };
    const topicService = openTopics({ kafka, codec, producer, topics, registry, now: Date.now });
    await using guarded = await startTestServer({ routes: topicRoutes({ topicService, topics }), auth });
    const as = async (role: string, path: string, body?: unknown) =>
      (
        await guarded.send({
          path,
          headers: { 'x-api-key': role },
          ...(body === undefined ? {} : { method: 'POST', body, headers: { 'x-api-key': role, 'content-type': 'application/json' } }),
        })
      ).status;
    const body = { records: [{ base64: '' }] };
    expect(await as('bundle', '/api/v1/topics/audit/records')).toBe(403);
    expect(await as('analyst', '/api/v1/topics/audit/records')).toBe(200);
    expect(await as('bundle', '/api/v1/topics/evt.Meter/records')).toBe(200);
    expect(await as('bundle', '/api/v1/topics/readings/records')).toBe(200);
    expect(await as('bundle', '/api/v1/topics/readings/records', body)).toBe(200);
    expect(await as('analyst', '/api/v1/topics/readings/records', body)).toBe(403);
  });
});
