import { randomUUID } from 'node:crypto';
import type { Kafka } from '../port.js';
import { codeOf, newTopic, read, record, settled, text, TOO_LARGE } from './stage.js';

export function describeTransactionalProducer(kafka: () => Kafka): void {
  describe('transactional producer', () => {
    it('makes all records of a commit visible, and says where they are', async () => {
      const [one, two] = [await newTopic(kafka(), { partitions: 2 }), await newTopic(kafka())];
      const producer = await kafka().transactionalProducer({ transactionalId: randomUUID() });
      const positions = await producer.commit([record(one, 'a'), record(two, 'b'), record(one, 'c')]);
      const found = [...(await read(kafka(), one, 2)), ...(await read(kafka(), two))];
      expect(
        positions.map((p) => text(found.find((r) => r.topic === p.topic && r.partition === p.partition && r.offset === p.offset)!.value)),
      ).toEqual(['a', 'b', 'c']);
      await expect(producer.commit([])).resolves.toEqual([]);
      for (const value of ['d', 'e', 'f']) await producer.commit([record(two, value)]);
      expect((await read(kafka(), two)).map((r) => text(r.value))).toEqual(['b', 'd', 'e', 'f']);
    });

    it('fences the former owner of its id before it is handed out', async () => {
      const topic = await newTopic(kafka());
      const transactionalId = randomUUID();
      const former = await kafka().transactionalProducer({ transactionalId });
      await former.commit([record(topic, 'first')]);
      const owner = await kafka().transactionalProducer({ transactionalId });
      expect(codeOf(await settled(former.commit([record(topic, 'zombie')])))).toBe('PRODUCER_FENCED');
      expect(codeOf(await settled(former.commit([record(topic, 'zombie')])))).toBe('PRODUCER_FENCED');
      await owner.commit([record(topic, 'second')]);
      expect((await read(kafka(), topic)).map((r) => text(r.value))).toEqual(['first', 'second']);
    });

    it.each([
      ['RECORD_TOO_LARGE', { key: 'k', value: TOO_LARGE }],
      ['UNKNOWN_TOPIC', { topic: `missing-${randomUUID()}`, key: 'k', value: null }],
    ])('writes nothing of a commit that fails with %s, and can be used again', async (code, bad) => {
      const topic = await newTopic(kafka(), { partitions: 2 });
      const producer = await kafka().transactionalProducer({ transactionalId: randomUUID() });
      const good = [0, 1].map((partition) => ({ ...record(topic, 'lost'), partition }));
      expect(codeOf(await settled(producer.commit([...good, { topic, ...bad }])))).toBe(code);
      await producer.commit([0, 1].map((partition) => ({ ...record(topic, 'kept'), partition })));
      expect((await read(kafka(), topic, 2)).map((r) => text(r.value))).toEqual(['kept', 'kept']);
    });

    it('refuses a second commit while one is under way', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().transactionalProducer({ transactionalId: randomUUID() });
      const results = await Promise.all([settled(producer.commit([record(topic, 'a')])), settled(producer.commit([record(topic, 'b')]))]);
      expect(results.map(codeOf)).toEqual(['ok', 'INTERNAL']);
      await expect(producer.commit([record(topic, 'c')])).resolves.toHaveLength(1);
    });

    it('commits more records than fit one batch', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().transactionalProducer({ transactionalId: randomUUID() });
      const value = Buffer.alloc(600_000);
      const positions = await producer.commit([value, value, value].map((v) => ({ topic, key: 'k', value: v })));
      expect(positions.map((p) => Number(p.offset))).toEqual([0, 1, 2]);
      expect(await read(kafka(), topic)).toHaveLength(3);
    });
  });
}
