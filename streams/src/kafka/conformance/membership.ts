import { randomUUID } from 'node:crypto';
import { offset, type Assignment, type Kafka } from '../port.js';
import { codeOf, join, newTopic, numbers, settled, until } from './stage.js';

export function describeMembership(kafka: () => Kafka): void {
  describe('membership', () => {
    it('gives a lone member everything, and commits for it', async () => {
      const topics = [await newTopic(kafka(), { partitions: 2 }), await newTopic(kafka(), { partitions: 2 })];
      const member = await join(kafka(), { groupId: randomUUID(), topics });
      const assignment = await member.assigned(4);
      expect(member.membership.assignment).toEqual(assignment);
      await member.membership.commitOffsets([{ topic: topics[0]!, partition: 1, offset: offset(7), metadata: 'note' }]);
      expect(await kafka().admin.committedOffsets(member.groupId, topics)).toEqual([
        { topic: topics[0]!, partition: 1, offset: 7n, metadata: 'note' },
      ]);
      expect(await kafka().admin.listGroups()).toContain(member.groupId);
      expect(
        codeOf(await settled(kafka().admin.commitOffsets(member.groupId, [{ topic: topics[0]!, partition: 1, offset: offset(1) }]))),
      ).toBe('KAFKA_REFUSED');
    });

    it('shares evenly, keeps equal partitions of all topics together and moves little', async () => {
      const topics = [await newTopic(kafka(), { partitions: 4 }), await newTopic(kafka(), { partitions: 4 })];
      const groupId = randomUUID();
      const first = await join(kafka(), { groupId, topics });
      await first.assigned(8);
      const second = await join(kafka(), { groupId, topics });
      const shares = [await first.assigned(4), await second.assigned(4)];
      for (const { partitions } of shares)
        for (const topic of topics) expect(numbers(partitions, topic)).toEqual(numbers(partitions, topics[0]!));
      expect([...numbers(shares[0]!.partitions, topics[0]!), ...numbers(shares[1]!.partitions, topics[0]!)].sort()).toEqual([0, 1, 2, 3]);
      const third = await join(kafka(), { groupId, topics });
      await third.assigned(2);
      // of the four that the first and the second held together, one moved; each kept what it still has
      const later = [await first.lastAssigned(), await second.lastAssigned()];
      later.forEach((assignment, i) => {
        expect(numbers(shares[i]!.partitions, topics[0]!)).toEqual(expect.arrayContaining(numbers(assignment.partitions, topics[0]!)));
      });
    });

    it('stops before it is given anew, and hands over at once when it leaves', async () => {
      const topics = [await newTopic(kafka(), { partitions: 2 })];
      const groupId = randomUUID();
      const first = await join(kafka(), { groupId, topics });
      await first.assigned(2);
      const second = await join(kafka(), { groupId, topics });
      await second.assigned(1);
      await second.membership.close();
      await first.assigned(2);
      expect(first.events.slice(0, 5)).toEqual(['assigned 2', 'rebalance', 'assigned 1', 'rebalance', 'assigned 2']);
      expect(second.events).toEqual(['assigned 1', 'rebalance']);
      expect(second.membership.assignment).toBeUndefined();
    });

    it('lets the member commit while it stops for a rebalance, and never after', async () => {
      const topics = [await newTopic(kafka(), { partitions: 2 })];
      const groupId = randomUUID();
      const at = [{ topic: topics[0]!, partition: 0, offset: offset(3) }];
      const commits: unknown[] = [];
      const first = await join(kafka(), {
        groupId,
        topics,
        onRebalance: (m) => settled(m.commitOffsets(at)).then((r) => commits.push(codeOf(r))),
      });
      await first.assigned(2);
      const second = await join(kafka(), { groupId, topics });
      await second.assigned(1);
      expect(commits).toEqual(['ok']);
      await first.membership.close();
      expect(codeOf(await settled(first.membership.commitOffsets(at)))).toBe('PRODUCER_FENCED');
    });

    it('joins again when an assignment could not be taken up', async () => {
      const topics = [await newTopic(kafka())];
      let failures = 2;
      const member = await join(kafka(), {
        groupId: randomUUID(),
        topics,
        onAssigned: () => (failures-- > 0 ? Promise.reject(new Error('no disk')) : Promise.resolve()),
      });
      await until(() => member.events.filter((event) => event === 'assigned 1').length === 3);
      expect(member.membership.assignment?.partitions).toHaveLength(1);
    });

    it('tells a slow start that its assignment has ended', async () => {
      const topics = [await newTopic(kafka(), { partitions: 2 })];
      const groupId = randomUUID();
      let aborted = 0;
      const slow = (_: Assignment, signal: AbortSignal) =>
        new Promise<void>((resolve) => {
          if (aborted > 0) resolve();
          signal.addEventListener('abort', () => {
            aborted++;
            resolve();
          });
        });
      const first = await join(kafka(), { groupId, topics, onAssigned: slow });
      await until(() => first.events.includes('assigned 2'));
      const second = await join(kafka(), { groupId, topics });
      await second.assigned(1);
      expect(aborted).toBe(1);
    });
  });
}
