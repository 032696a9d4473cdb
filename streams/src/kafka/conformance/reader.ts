import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { offset, type Kafka, type TopicPartition } from '../port.js';
import { codeOf, newTopic, record, settled, text, untilCaughtUp, write } from './stage.js';

export function describeReader(kafka: () => Kafka): void {
  describe('reader', () => {
    it('starts at the beginning, at the end, at an offset or at a time', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().producer();
      for (const time of [1_000, 2_000, 3_000]) await producer.send({ ...record(topic, `t${time}`), timestamp: time });
      const starts = ['earliest', 'latest', offset(2), { timestamp: 1_500 }, { timestamp: 9_000 }] as const;
      const firsts: (string | undefined)[] = [];
      for (const start of starts) {
        const reader = await kafka().reader();
        reader.assign({ topic, partition: 0 }, start);
        const slices = await untilCaughtUp(reader, 1);
        firsts.push(text(slices.flatMap(({ records }) => records)[0]?.value ?? null));
        await reader.close();
      }
      expect(firsts).toEqual(['t1000', '', 't3000', 't2000', '']);
    });

    it('tells at once where an empty partition stands', async () => {
      const topic = await newTopic(kafka());
      const reader = await kafka().reader({ maxWaitMs: 20_000 });
      reader.assign({ topic, partition: 0 }, 'earliest');
      expect(await reader.fetch()).toEqual([
        { topic, partition: 0, fromOffset: 0n, records: [], nextOffset: 0n, highWatermark: 0n, lastStableOffset: 0n },
      ]);
    });

    it('is caught up at a tail of transaction markers, which give no record to wait for', async () => {
      const topic = await newTopic(kafka());
      const producer = await kafka().transactionalProducer({ transactionalId: randomUUID() });
      await producer.commit([record(topic, 'a')]);
      // A commit that is answered is decided; its marker is in the log a moment later.
      while ((await kafka().admin.offsets(topic))[0]!.latest < 2n) await sleep(5);
      const reader = await kafka().reader();
      reader.assign({ topic, partition: 0 }, 'earliest');
      const slices = await untilCaughtUp(reader, 1);
      expect(slices.flatMap(({ records }) => records)).toHaveLength(1);
      expect(slices.at(-1)).toMatchObject({ nextOffset: 2n, lastStableOffset: 2n, highWatermark: 2n });
      expect((await kafka().admin.offsets(topic))[0]!.latest).toBe(2n);
    });

    it('gives slices that continue each other', async () => {
      const topic = await newTopic(kafka());
      const values = Array.from({ length: 300 }, (_, i) => `v${i}`);
      await write(kafka(), topic, ...values);
      const reader = await kafka().reader({ maxBytesPerPartition: 1_000 });
      reader.assign({ topic, partition: 0 }, offset(10));
      const slices = await untilCaughtUp(reader, 1);
      expect(slices[0]!.fromOffset).toBe(10n);
      for (let i = 1; i < slices.length; i++) expect(slices[i]!.fromOffset).toBe(slices[i - 1]!.nextOffset);
      expect(slices.flatMap(({ records }) => records.map((r) => text(r.value)))).toEqual(values.slice(10));
    });

    it('waits for the next record and wakes for it', async () => {
      const topic = await newTopic(kafka());
      const reader = await kafka().reader({ maxWaitMs: 10_000 });
      reader.assign({ topic, partition: 0 }, 'earliest');
      await reader.fetch();
      const next = reader.fetch();
      await write(kafka(), topic, 'woken');
      expect((await next).flatMap(({ records }) => records.map((r) => text(r.value)))).toEqual(['woken']);
    });

    it('goes to the nearest end of the log from a position outside it, and says so', async () => {
      const topic = await newTopic(kafka());
      await write(kafka(), topic, 'a', 'b');
      const moves: string[] = [];
      const reader = await kafka().reader({
        maxWaitMs: 10_000,
        onOutOfRange: (at, to) => moves.push(`${at.topic}-${at.partition} ${at.offset} to ${to}`),
      });
      reader.assign({ topic, partition: 0 }, offset(100));
      expect(await reader.fetch()).toMatchObject([{ fromOffset: 100n, records: [], nextOffset: 2n, lastStableOffset: 2n }]);
      expect(moves).toEqual([`${topic}-0 100 to 2`]);
      const next = reader.fetch();
      await write(kafka(), topic, 'c');
      expect((await next).flatMap(({ records }) => records.map((r) => text(r.value)))).toEqual(['c']);
    });

    it('keeps the place of a paused partition and reads the others', async () => {
      const topic = await newTopic(kafka(), { partitions: 2 });
      const producer = await kafka().producer();
      await producer.sendAll([0, 1].map((partition) => ({ ...record(topic, `p${partition}`), partition })));
      const reader = await kafka().reader({ maxWaitMs: 50 });
      for (const partition of [0, 1]) reader.assign({ topic, partition }, 'earliest');
      reader.pause({ topic, partition: 0 });
      const seen = (await untilCaughtUp(reader, 1)).flatMap(({ records }) => records.map((r) => text(r.value)));
      expect(seen).toEqual(['p1']);
      reader.pause({ topic, partition: 1 });
      expect(await reader.fetch()).toEqual([]);
      reader.resume({ topic, partition: 0 });
      expect((await untilCaughtUp(reader, 1)).flatMap(({ records }) => records.map((r) => text(r.value)))).toEqual(['p0']);
    });

    it('reads a partition that is resumed or assigned while a fetch waits', async () => {
      const topic = await newTopic(kafka(), { partitions: 2 });
      const [first, second] = [0, 1].map((partition) => ({ topic, partition })) as [TopicPartition, TopicPartition];
      const producer = await kafka().producer();
      for (const { partition } of [first, second]) await producer.send({ ...record(topic, `p${partition}`), partition });
      const reader = await kafka().reader({ maxWaitMs: 3_000 });
      const next = async (change: () => void): Promise<readonly (string | undefined)[]> => {
        const fetching = reader.fetch();
        await sleep(50);
        change();
        return (await fetching).flatMap(({ records }) => records.map(({ value }) => text(value)));
      };
      reader.assign(first, 'earliest');
      reader.pause(first);
      expect(await next(() => reader.resume(first))).toEqual(['p0']);
      // A broker answers one question at a time: nobody asks for this one any more.
      reader.pause(first);
      expect(await next(() => reader.assign(second, offset(0)))).toEqual(['p1']);
    });

    it('discards what an earlier place still brings, and reads nothing of what is no longer assigned', async () => {
      const topic = await newTopic(kafka(), { partitions: 2 });
      const producer = await kafka().producer();
      const reader = await kafka().reader({ maxWaitMs: 300 });
      for (const partition of [0, 1]) reader.assign({ topic, partition }, 'latest');
      await untilCaughtUp(reader, 2);
      const pending = reader.fetch();
      await sleep(20);
      reader.assign({ topic, partition: 0 }, 'earliest');
      reader.unassign({ topic, partition: 1 });
      await producer.sendAll([0, 1].flatMap((partition) => ['a', 'b'].map((value) => ({ ...record(topic, value), partition }))));
      const slices = [...(await pending)];
      while (slices.flatMap(({ records }) => records).length < 2) slices.push(...(await reader.fetch()));
      expect(slices.every(({ partition }) => partition === 0)).toBe(true);
      expect(slices.flatMap(({ records }) => records.map((r) => text(r.value)))).toEqual(['a', 'b']);
    });

    it('gives an empty list after its wait when nothing is assigned or nothing comes', async () => {
      const reader = await kafka().reader({ maxWaitMs: 30 });
      expect(await reader.fetch()).toEqual([]);
      const topic = await newTopic(kafka());
      reader.assign({ topic, partition: 0 }, 'latest');
      await untilCaughtUp(reader, 1);
      expect(await reader.fetch()).toEqual([]);
    });

    it('refuses a second fetch while one is under way, and ends a pending one when closed', async () => {
      const topic = await newTopic(kafka());
      const reader = await kafka().reader({ maxWaitMs: 20_000 });
      reader.assign({ topic, partition: 0 }, 'latest');
      await reader.fetch();
      const pending = reader.fetch();
      expect(codeOf(await settled(reader.fetch()))).toBe('INTERNAL');
      await reader.close();
      expect(await pending).toEqual([]);
    });

    it('says that a topic does not exist', async () => {
      const reader = await kafka().reader({ unavailableAfterMs: 500 });
      reader.assign({ topic: `missing-${randomUUID()}`, partition: 0 }, 'earliest');
      const fetchUntilItThrows = async () => {
        for (;;) await reader.fetch();
      };
      expect(codeOf(await settled(fetchUntilItThrows()))).toBe('UNKNOWN_TOPIC');
    });
  });
}
