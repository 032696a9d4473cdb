import { randomUUID } from 'node:crypto';
import { partitionOf } from '../partitioner.js';
import type { Kafka } from '../port.js';
import { codeOf, DAY_MS, newTopic, read, record, settled, text, TOO_LARGE } from './stage.js';

export function describeProducer(kafka: () => Kafka): void {
  describe('producer', () => {
    it('gives each record the position that a reader finds it at', async () => {
      const topic = await newTopic(kafka(), { partitions: 3 });
      const producer = await kafka().producer();
      const sent = await Promise.all(
        Array.from({ length: 50 }, (_, i) => producer.send({ topic, key: `k${i}`, value: Buffer.from(`v${i}`) })),
      );
      const found = new Map((await read(kafka(), topic, 3)).map((r) => [`${r.partition}-${r.offset}`, text(r.value)]));
      expect(sent.map(({ partition, offset: at }) => found.get(`${partition}-${at}`))).toEqual(
        Array.from({ length: 50 }, (_, i) => `v${i}`),
      );
    });

    it('keeps the order of each partition, over many records', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      const values = Array.from({ length: 5_000 }, (_, i) => `v${i}`);
      const positions = await producer.sendAll(values.map((value) => record(topic, value)));
      expect(positions.map((p) => Number(p.offset))).toEqual(values.map((_, i) => i));
      expect((await read(kafka(), topic)).map((r) => text(r.value))).toEqual(values);
    });

    it('puts a key where the Java client puts it, a given partition first, and no key in turn', async () => {
      const topic = await newTopic(kafka(), { partitions: 3 });
      const producer = await kafka().producer();
      const keyed = await producer.send({ topic, key: 'order-42', value: null });
      expect(keyed.partition).toBe(partitionOf(Buffer.from('order-42'), 3));
      expect((await producer.send({ topic, key: 'order-42', value: null, partition: 2 })).partition).toBe(2);
      const turns = await producer.sendAll(Array.from({ length: 6 }, () => ({ topic, key: null, value: null })));
      expect(turns.map(({ partition }) => partition).sort()).toEqual([0, 0, 1, 1, 2, 2]);
    });

    it('carries keys, tombstones, headers and timestamps as they are', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      const headers = { text: 'grüße', bytes: Buffer.from([0, 255]), empty: '' };
      await producer.send({ topic, key: Buffer.from([1, 2]), value: Buffer.from('value'), headers, timestamp: 1_700_000_000_123 });
      await producer.send({ topic, key: 'gone', value: null });
      await producer.send({ topic, key: null, value: Buffer.alloc(0) });
      const [full, tombstone, bare] = await read(kafka(), topic);
      expect(full).toMatchObject({ key: Buffer.from([1, 2]), value: Buffer.from('value'), timestamp: 1_700_000_000_123 });
      expect(full!.headers).toEqual({ text: Buffer.from('grüße'), bytes: Buffer.from([0, 255]), empty: Buffer.alloc(0) });
      expect(tombstone).toMatchObject({ key: Buffer.from('gone'), value: null, headers: {} });
      expect(bare).toMatchObject({ key: null, value: Buffer.alloc(0) });
      expect(Math.abs(tombstone!.timestamp - Date.now())).toBeLessThan(DAY_MS);
    });

    it('fails a record for an unknown topic or partition alone, not those that went with it', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      const results = await Promise.allSettled([
        producer.send(record(topic, 'before')),
        producer.send(record(`missing-${randomUUID()}`, 'lost')),
        producer.send({ ...record(topic, 'astray'), partition: 7 }),
        producer.send(record(topic, 'after')),
      ]);
      expect(results.map(codeOf)).toEqual(['ok', 'UNKNOWN_TOPIC', 'UNKNOWN_TOPIC', 'ok']);
      expect((await read(kafka(), topic)).map((r) => text(r.value))).toEqual(['before', 'after']);
    });

    it('fails a record that is too large alone, not those that went with it', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      const results = await Promise.allSettled([
        producer.send(record(topic, 'before')),
        producer.send({ topic, key: 'k', value: TOO_LARGE }),
        producer.send(record(topic, 'after')),
      ]);
      expect(results.map(codeOf)).toEqual(['ok', 'RECORD_TOO_LARGE', 'ok']);
      expect((await read(kafka(), topic)).map((r) => text(r.value))).toEqual(['before', 'after']);
    });

    it('refuses at once what does not fit its buffer', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer({ maxBufferedBytes: 2_000 });
      const results = await Promise.allSettled(
        Array.from({ length: 5 }, () => producer.send({ topic, key: 'k', value: Buffer.alloc(800) })),
      );
      expect(new Set(results.map(codeOf))).toEqual(new Set(['ok', 'OVERLOADED']));
      await expect(producer.send({ topic, key: 'k', value: Buffer.alloc(800) })).resolves.toMatchObject({ topic });
      expect(codeOf(await settled(producer.send({ topic, key: 'k', value: Buffer.alloc(3_000) })))).toBe('RECORD_TOO_LARGE');
    });

    it('delivers what was sent before it was closed, and takes nothing after', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      const sent = producer.send(record(topic, 'last'));
      await producer.close();
      await expect(sent).resolves.toMatchObject({ topic, offset: 0n });
      expect(codeOf(await settled(producer.send(record(topic, 'late'))))).toBe('KAFKA_UNAVAILABLE');
    });
  });
}
