import { createCodec, createMemoryRegistry, readMeta, record, type Codec } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type ConsumedRecord, type Kafka } from '@spool/streams';
import { startTestServer, type TestServer } from '../http/testing.js';
import { openTopics } from '../topics/index.js';
import { cloudEventRoutes } from './cloud-event-routes.js';

let kafka: Kafka;
let codec: Codec;
let server: TestServer;
beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  const registry = createMemoryRegistry();
  codec = createCodec({ registry });
  await kafka.admin.ensureTopics([{ name: 'orders', partitions: 1, cleanup: 'delete', retentionMs: 1000 }]);
  const topics = openTopics({ kafka, codec, producer: await kafka.producer(), topics: topicCatalogue(), registry, now: Date.now });
  server = await startTestServer({ routes: cloudEventRoutes(topics) });
});
afterEach(async () => {
  await server.close();
  await kafka.close();
});
const post = (contentType: string | undefined, body: unknown, headers: Record<string, string> = {}, topic = 'orders') =>
  server.send({
    method: 'POST',
    path: `/api/v1/topics/${topic}/events`,
    headers: { ...headers, ...(contentType === undefined ? {} : { 'content-type': contentType }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const structured = 'application/cloudevents+json';
const batched = 'application/cloudevents-batch+json';
const event = { specversion: '1.0', id: '1', source: '/shop', type: 'shop.Placed', subject: 'o1' };
async function records(): Promise<readonly ConsumedRecord[]> {
  await using reader = await kafka.reader({ maxWaitMs: 50 });
  reader.assign({ topic: 'orders', partition: 0 }, 'earliest');
  return (await reader.fetch()).flatMap((slice) => slice.records);
}
const headersOf = ({ headers }: ConsumedRecord) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.toString()]));

describe('CloudEvents', () => {
  it('come structured, and are written by the Kafka binding', async () => {
    const answer = await post(structured, { ...event, time: '2026-01-31T12:00:00Z', attempts: 3, data: { total: 5 } });
    expect([answer.status, answer.json()]).toEqual([200, { records: [{ partition: 0, offset: '0' }] }]);
    const [written] = await records();
    expect(written!.key!.toString()).toBe('o1');
    expect(written!.value!.toString()).toBe('{"total":5}');
    expect(headersOf(written!)).toMatchObject({
      ce_specversion: '1.0',
      ce_id: '1',
      ce_source: '/shop',
      ce_type: 'shop.Placed',
      ce_subject: 'o1',
      ce_time: '2026-01-31T12:00:00Z',
      ce_attempts: '3',
      'content-type': 'application/json',
    });
    expect(readMeta(written!.headers)).toMatchObject({
      type: 'shop.Placed',
      correlationId: '1',
      traceparent: expect.any(String) as string,
    });
  });

  it('come in batches, in order, with bytes and text and nothing as their data', async () => {
    const answer = await post(batched, [
      { ...event, data_base64: '/w==', datacontenttype: 'image/png', partitionkey: 'p' },
      { ...event, id: '2', data: 'plain', datacontenttype: 'text/plain' },
      { ...event, id: '3' },
    ]);
    expect(answer.status).toBe(200);
    const found = await records();
    expect(found.map(({ key, value }) => [key!.toString(), value!.toString('latin1')])).toEqual([
      ['p', '\u00ff'],
      ['o1', 'plain'],
      ['o1', ''],
    ]);
    expect(found.map((each) => headersOf(each)['content-type'])).toEqual(['image/png', 'text/plain', undefined]);
  });

  it('come in binary mode, their bytes untouched', async () => {
    const headers = { 'ce-specversion': '1.0', 'ce-id': '7', 'ce-source': '/shop', 'ce-type': 'shop.Placed', 'ce-note': 'caf%C3%A9' };
    expect((await post('application/json', '{"n": 12345678901234567890}', headers)).status).toBe(200);
    const [written] = await records();
    expect(written!.value!.toString()).toBe('{"n": 12345678901234567890}');
    expect(written!.key).toBeNull();
    expect(headersOf(written!)).toMatchObject({ ce_id: '7', ce_note: 'café', 'content-type': 'application/json' });
  });

  it('of a type that is registered for the topic are written as Avro', async () => {
    const Placed = record('shop.Placed', { total: 'int' });
    await codec.encoder('orders', Placed);
    expect((await post(structured, { ...event, data: { total: 5 } })).status).toBe(200);
    const [written] = await records();
    expect(await codec.decoder(Placed).decode(written!.value)).toEqual({ total: 5 });
    expect(headersOf(written!)['content-type']).toBe('application/avro');
    const refused = await post(structured, { ...event, data: { total: 'much' } });
    expect([refused.status, refused.problem().code]).toEqual([400, 'INVALID_PAYLOAD']);
  });

  it.each([
    [structured, { ...event, specversion: '0.3' }, 'INVALID_REQUEST', '/specversion'],
    [structured, { ...event, id: '' }, 'INVALID_REQUEST', '/id'],
    [structured, { ...event, id: 7 }, 'INVALID_REQUEST', '/id'],
    [structured, { ...event, source: 'a b' }, 'INVALID_REQUEST', '/source'],
    [structured, { ...event, time: 'yesterday' }, 'INVALID_REQUEST', '/time'],
    [structured, { ...event, dataschema: 'no-uri' }, 'INVALID_REQUEST', '/dataschema'],
    [structured, { ...event, Upper: 'x' }, 'INVALID_REQUEST', '/Upper'],
    [structured, { ...event, nested: {} }, 'INVALID_REQUEST', '/nested'],
    [structured, { ...event, data: 1, data_base64: '' }, 'INVALID_REQUEST', '/data'],
    [structured, { ...event, data_base64: '*' }, 'INVALID_REQUEST', '/data_base64'],
    [structured, '{"id":', 'MALFORMED_JSON', undefined],
    [structured, '[]', 'INVALID_REQUEST', undefined],
    [batched, [event, { ...event, type: undefined }], 'INVALID_REQUEST', '/1/type'],
    [batched, [], 'INVALID_REQUEST', undefined],
    ['application/json', event, 'UNSUPPORTED_MEDIA_TYPE', undefined],
  ])('as %s that say %j are refused with %s', async (type, body, code, pointer) => {
    const answer = await post(type, body);
    expect(answer.problem().code).toBe(code);
    if (pointer !== undefined) expect(answer.problem().errors?.map((each) => each.pointer)).toContain(pointer);
    expect(await records()).toEqual([]);
  });

  it('in binary mode are checked as well, and go to no topic of the platform', async () => {
    const bad = await post('text/plain', 'x', { 'ce-specversion': '1.0', 'ce-id': '%', 'ce-type': 'x' });
    expect(bad.problem().errors?.map(({ pointer }) => pointer)).toEqual(['header:ce-id', 'header:ce-id', 'header:ce-source']);
    expect((await post(structured, event, {}, 'evt.Order')).problem().code).toBe('TOPIC_NOT_WRITABLE');
  });
});
