import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { testKafka } from '@spool/embedded';
import { connectKafka } from '../kafka/kafkajs/connect.js';
import type { ConsumedRecord, Kafka } from '../kafka/port.js';
import { offsetWork } from './offset-work.js';
import { runProcessor } from './processor.js';
import { readToEnd } from './restore.js';

describe('lanes on a real broker', () => {
  let kafka: Kafka;
  beforeEach(async () => {
    kafka = await connectKafka({ brokers: testKafka(), clientId: 'lanes' });
  });
  afterEach(() => kafka.close());

  const readAll = async (topic: string): Promise<ConsumedRecord[]> => {
    const found: ConsumedRecord[] = [];
    await readToEnd({
      kafka,
      partition: { topic, partition: 0 },
      from: 'earliest',
      apply: (records) => {
        found.push(...records);
        return Promise.resolve();
      },
    });
    return found;
  };

  it('end at the last stable offset of a log with committed and aborted transactions and compaction holes, each record once (Evento defect 4)', async () => {
    const id = randomUUID().slice(0, 8);
    const [topic, small, consumer] = [`holes-${id}`, `small-${id}`, `lanes-${id}`];
    await kafka.admin.ensureTopics([
      {
        name: topic,
        partitions: 1,
        cleanup: 'compact',
        retentionMs: -1,
        config: { 'segment.ms': '100', 'min.cleanable.dirty.ratio': '0.001', 'max.compaction.lag.ms': '100', 'min.compaction.lag.ms': '0' },
      },
      { name: small, partitions: 1, cleanup: 'delete', retentionMs: -1, config: { 'max.message.bytes': '200' } },
    ]);
    const producer = await kafka.producer();
    const writer = await kafka.transactionalProducer({ transactionalId: `t-${id}` });
    const record = (key: number, value: string) => ({ topic, partition: 0, key: `k${key}`, value: Buffer.from(value) });
    const aborted = async (key: number): Promise<void> => {
      // Refused by the other topic: the transaction is rolled back when this record stands in the log already.
      const refused = { topic: small, partition: 0, key: 'x', value: Buffer.alloc(5000, randomUUID()) };
      await expect(writer.commit([record(key, 'lost'), refused])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
    };
    // 1. plain records, transactions of both endings, and the same keys again, so that there is something to compact
    let written = 0;
    const round = async (): Promise<void> => {
      for (let key = 0; key < 20; key++) await producer.send(record(key, `plain ${written++}`));
      for (let key = 20; key < 40; key += 4) await writer.commit([0, 1, 2, 3].map((n) => record(key + n, `tx ${written++}`)));
      await aborted(5);
    };
    await round();
    await round();
    // 2. compaction works on closed segments: a record now and then closes one
    const deadline = Date.now() + 90_000;
    while ((await readAll(topic)).length >= written) {
      if (Date.now() > deadline) throw new Error('the log was not compacted in time');
      await sleep(500);
      await producer.send(record(0, `again ${written++}`));
    }
    // It ends without a record: an aborted one and its marker.
    await aborted(6);
    const expected = (await readAll(topic)).map(({ offset }) => offset);
    const [ends] = await kafka.admin.offsets(topic);
    expect(ends!.latest).toBeGreaterThan(expected.at(-1)! + 1n);
    expect(expected.some((at, index) => index > 0 && at > expected[index - 1]! + 1n)).toBe(true);

    // 3. handlers that end in any order
    const handled: bigint[] = [];
    const start = () =>
      runProcessor(
        {
          consumer,
          sources: [topic],
          assignment: 'group',
          startAt: 'earliest',
          open: (task) =>
            offsetWork({
              consumer,
              kafka,
              task,
              now: Date.now,
              async handle({ offset }) {
                await sleep(Number(offset % 7n) * 3);
                handled.push(offset);
              },
            }),
        },
        { kafka, now: Date.now, log: () => undefined },
      );
    const committed = async (): Promise<bigint | undefined> => (await kafka.admin.committedOffsets(consumer, [topic]))[0]?.offset;
    const first = await start();
    await first.caughtUp();
    await first.close();
    expect(await committed()).toBe(ends!.latest);
    // The log is compacted all the while: what has gone since it was looked at may have been handled or not.
    const left = (await readAll(topic)).map(({ offset }) => offset);
    expect(new Set(handled).size).toBe(handled.length);
    expect(expected).toEqual(expect.arrayContaining(handled));
    expect(handled).toEqual(expect.arrayContaining(left));
    expect(handled).not.toEqual(handled.toSorted((a, b) => Number(a - b)));

    // 4. a restart at a quiet point
    const before = handled.length;
    const second = await start();
    await second.caughtUp();
    await producer.send(record(1, 'new'));
    await second.caughtUp();
    await second.close();
    expect(handled).toHaveLength(before + 1);
  }, 150_000);
});
