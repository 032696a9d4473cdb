import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import type { SpoolError } from '@spool/schemas';
import { offset, type Kafka, type TopicSpec } from '../port.js';
import { codeOf, newTopic, record, settled } from './stage.js';

export function describeAdmin(kafka: () => Kafka): void {
  describe('admin', () => {
    const spec = (name: string, rest: Partial<TopicSpec> = {}): TopicSpec => ({
      name,
      partitions: 2,
      cleanup: 'delete',
      retentionMs: -1,
      sourceOfTruth: true,
      ...rest,
    });

    it('creates topics once, however many ask at the same time', async () => {
      const specs = [
        spec(`conformance-${randomUUID()}`),
        spec(`conformance-${randomUUID()}`, { cleanup: 'compact', sourceOfTruth: false }),
      ];
      await Promise.all([1, 2, 3].map(() => kafka().admin.ensureTopics(specs)));
      const [events, table] = await kafka().admin.describeTopics(specs.map(({ name: topic }) => topic));
      expect(events).toMatchObject({
        partitions: 2,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1' },
      });
      expect(table).toMatchObject({ partitions: 2, config: { 'cleanup.policy': 'compact' } });
      expect(await kafka().admin.listTopics()).toEqual(expect.arrayContaining(specs.map(({ name: topic }) => topic)));
    });

    it('refuses a source of truth that could lose history, with every problem', async () => {
      const topic = await newTopic(kafka(), { cleanup: 'compact', config: { 'retention.ms': '1000', 'retention.bytes': '5' } });
      const refused = await settled(kafka().admin.ensureTopics([spec(topic, { partitions: 1 })]));
      expect(codeOf(refused)).toBe('UNSAFE_TOPIC');
      const problems = (refused as PromiseRejectedResult).reason as SpoolError;
      expect(problems.violations.map(({ message }) => message)).toEqual([
        expect.stringContaining('cleanup.policy is compact'),
        expect.stringContaining('retention.ms is 1000'),
        expect.stringContaining('retention.bytes is 5'),
      ]);
    });

    it('refuses a topic whose partitions are not as many as its owner counts on', async () => {
      const topic = await newTopic(kafka(), { partitions: 3 });
      expect(codeOf(await settled(kafka().admin.ensureTopics([spec(topic)])))).toBe('PARTITIONS_CHANGED');
    });

    it('changes the settings it is given and leaves the others as they are', async () => {
      const topic = await newTopic(kafka(), { config: { 'max.message.bytes': '2000000' } });
      await kafka().admin.alterTopic(topic, { 'retention.ms': '3600000' });
      const configOf = async () => (await kafka().admin.describeTopics([topic]))[0]!.config;
      // The controller has it when it answers; the broker that is asked hears of it a moment later.
      while ((await configOf())['retention.ms'] !== '3600000') await sleep(5);
      expect(await configOf()).toMatchObject({ 'max.message.bytes': '2000000' });
    });

    it('finds offsets by time', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      for (const time of [1_000, 2_000]) await producer.send({ ...record(topic, 'v'), timestamp: time });
      expect(await kafka().admin.offsetsAt(topic, 1_500)).toEqual([{ topic, partition: 0, offset: 1n }]);
      expect(await kafka().admin.offsetsAt(topic, 5_000)).toEqual([{ topic, partition: 0, offset: 2n }]);
      for (const before1970 of [-1, -2, -5e13]) {
        expect(await kafka().admin.offsetsAt(topic, before1970)).toEqual([{ topic, partition: 0, offset: 0n }]);
      }
      expect(await kafka().admin.offsets(topic)).toEqual([{ topic, partition: 0, earliest: 0n, latest: 2n }]);
    });

    it('names a topic that does not exist, and forgets one that was deleted', async () => {
      const topic = await newTopic(kafka());
      await kafka().admin.deleteTopics([topic]);
      for (const call of [
        kafka().admin.describeTopics([topic]),
        kafka().admin.offsets(topic),
        kafka().admin.deleteTopics([topic]),
        kafka().admin.alterTopic(topic, { 'retention.ms': '1' }),
      ])
        expect(codeOf(await settled(call))).toBe('UNKNOWN_TOPIC');
      expect(await kafka().admin.listTopics()).not.toContain(topic);
    });

    it('keeps the offsets of a group that nobody is in', async () => {
      const topic = await newTopic(kafka(), { partitions: 2 });
      const groupId = randomUUID();
      expect(await kafka().admin.committedOffsets(groupId, [topic])).toEqual([]);
      await kafka().admin.commitOffsets(groupId, [{ topic, partition: 1, offset: offset(5), metadata: 'range 0-4' }]);
      expect(await kafka().admin.committedOffsets(groupId, [topic])).toEqual([{ topic, partition: 1, offset: 5n, metadata: 'range 0-4' }]);
    });
  });
}
