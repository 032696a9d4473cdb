import { randomUUID } from 'node:crypto';
import { testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry, record, type Codec, type SchemaRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue, type Kafka } from '@spool/streams';
import { startSchemaRegistry } from '../schema-registry/index.js';
import type { BrowsePlaces, BrowseRequest } from './browse.js';
import { structuredEvent } from './cloud-events.js';
import { openTopics, type Topics } from './topics.js';

const Reading = record('meters.Reading', { value: 'int' });
const namespace = `topics-${randomUUID()}.`;
const topic = `${namespace}readings`;
const signal = new AbortController().signal;

describe('topics of a real broker, with a real schema registry', () => {
  let kafka: Kafka;
  let codec: Codec;
  let registry: SchemaRegistry;
  let schemas: Awaited<ReturnType<typeof startSchemaRegistry>>;
  let topics: Topics;
  beforeAll(async () => {
    kafka = await connectKafka({ brokers: testKafka(), clientId: 'topics' });
    schemas = await startSchemaRegistry({ kafka, port: 0, topic: `${namespace}_schemas`, log: () => undefined });
    registry = createHttpRegistry({ url: schemas.url });
    codec = createCodec({ registry });
    await kafka.admin.ensureTopics([{ name: topic, partitions: 2, cleanup: 'delete', retentionMs: -1 }]);
    await codec.encoder(topic, Reading);
    const producer = await kafka.producer();
    topics = openTopics({ kafka, codec, producer, topics: topicCatalogue({ namespace }), registry, now: Date.now });
  }, 60_000);
  afterAll(async () => {
    await schemas.close();
    await kafka.close();
  });

  const write = (partition: number, value: number) =>
    topics.write(topic, [{ key: 'k', headers: {}, partition, value: { type: 'meters.Reading', json: { value } } }]);
  async function all(from: BrowseRequest['from'], limit: number): Promise<number[]> {
    const values: number[] = [];
    let places: BrowsePlaces | undefined;
    do {
      const page = await topics.page({ topic, from, limit, places, signal });
      values.push(...page.items.map((item) => (item.value as { value: number }).value));
      places = page.next;
    } while (places !== undefined);
    return values;
  }

  it('are written by the schemas of their subjects, and looked through without what was aborted', async () => {
    // 1. Committed, aborted, committed, in both partitions, so that there are markers at the ends and in between.
    const writer = await kafka.transactionalProducer({ transactionalId: randomUUID() });
    const encoder = await codec.encoder(topic, Reading);
    const at = (value: number) => [0, 1].map((partition) => ({ topic, key: 'k', partition, value: encoder.encode({ value }) }));
    for (let n = 0; n < 20; n++) {
      await write(n % 2, n);
      if (n % 7 !== 0) continue;
      const lost = writer.commit([...at(-1), { topic: `${namespace}missing`, key: 'k', value: null }]);
      await expect(lost).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
    }
    await writer.commit(at(100));
    // 2. From either end, whatever the pages.
    const expected = [...Array.from({ length: 20 }, (_, n) => n), 100, 100];
    for (const limit of [3, 100]) {
      expect((await all('oldest', limit)).toSorted((a, b) => a - b)).toEqual(expected);
      expect((await all('newest', limit)).toSorted((a, b) => a - b)).toEqual(expected);
    }
    expect((await topics.page({ topic, from: 'newest', limit: 2, signal })).items.map(({ value }) => value)).toEqual([
      { value: 100 },
      { value: 100 },
    ]);
  }, 60_000);

  it('take events, and are listed with their types', async () => {
    const event = structuredEvent({ specversion: '1.0', id: '1', source: '/m', type: 'meters.Reading', subject: 'm', data: { value: 7 } });
    await topics.publish(topic, [event], { traceparent: '', actor: 'test' });
    const page = await topics.page({ topic, from: 'newest', limit: 1, signal });
    expect(page.items[0]).toMatchObject({
      key: 'm',
      type: 'meters.Reading',
      value: { value: 7 },
      headers: { ce_id: '1', ce_source: '/m' },
    });
    const listed = await topics.list(namespace, 10);
    expect(listed.filter(({ name }) => name.startsWith(namespace))).toMatchObject([
      { name: `${namespace}_schemas`, writable: false, cleanup: 'compact' },
      { name: topic, writable: true, partitions: 2, retentionMs: -1, types: ['meters.Reading'] },
    ]);
    await expect(topics.write('__consumer_offsets', [])).rejects.toMatchObject({ code: 'TOPIC_NOT_WRITABLE' });
  }, 60_000);
});
