import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startKafka, type EmbeddedKafka } from '@spool/embedded';
import type { SpoolError } from '@spool/schemas';
import { until } from '../conformance/stage.js';
import type { ConsumedRecord, Kafka, Producer, TransactionalProducer } from '../port.js';
import { connectKafka } from './connect.js';

const START_MS = 120_000;
const TEST_MS = 180_000;
const topic = 'orders';

/** A kill -9 of the broker, or of one of three: nothing acknowledged is lost or doubled, and nothing stays dead. */
describe.each([1, 3] as const)('with %d broker(s), one of which is killed', (brokers) => {
  let dataDir: string;
  let cluster: EmbeddedKafka;
  let kafka: Kafka;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'spool-port-'));
    cluster = await startKafka({ dataDir, brokers, log: () => undefined });
  }, START_MS);
  afterAll(async () => {
    await cluster.close();
    await rm(dataDir, { recursive: true, force: true });
  }, START_MS);
  beforeEach(async () => {
    await cluster.untilReady(START_MS);
    kafka = await connectKafka({ brokers: cluster.bootstrap, clientId: 'failure', requestTimeoutMs: 5_000 });
  });
  afterEach(async () => {
    await kafka.close();
  });

  const ensure = async (name: string, partitions = 3) => {
    await kafka.admin.ensureTopics([{ name, partitions, cleanup: 'delete', retentionMs: -1, sourceOfTruth: true }]);
  };
  const readAll = async (name: string, partitions = 3): Promise<readonly ConsumedRecord[]> => {
    const ends = new Map((await kafka.admin.offsets(name)).map(({ partition, latest }) => [partition, latest]));
    const reader = await kafka.reader();
    for (let partition = 0; partition < partitions; partition++) reader.assign({ topic: name, partition }, 'earliest');
    const records: ConsumedRecord[] = [];
    const left = new Set(ends.keys());
    while (left.size > 0) {
      for (const slice of await reader.fetch()) {
        records.push(...slice.records);
        if (slice.nextOffset >= ends.get(slice.partition)!) left.delete(slice.partition);
      }
    }
    await reader.close();
    return records;
  };
  const values = (records: readonly ConsumedRecord[]) => records.map(({ value }) => value!.toString());

  it(
    'delivers every record once and in order',
    async () => {
      const name = `${topic}-producer-${brokers}`;
      await ensure(name);
      const producer = await kafka.producer({ deliveryTimeoutMs: 60_000 });
      const sent: Promise<unknown>[] = [];
      let killed: Promise<void> | undefined;
      for (let i = 0; i < 3_000; i++) {
        sent.push(producer.send({ topic: name, key: `k${i % 10}`, value: Buffer.from(String(i)) }));
        if (i % 10 === 0) await sleep(1);
        if (i === 1_000) killed = cluster.kill(0);
      }
      await killed;
      await Promise.all(sent);
      const records = await readAll(name);
      expect(records).toHaveLength(3_000);
      for (let k = 0; k < 10; k++) {
        const ofKey = values(records.filter(({ key }) => key!.toString() === `k${k}`)).map(Number);
        expect(ofKey).toEqual(Array.from({ length: 300 }, (_, i) => i * 10 + k));
      }
    },
    TEST_MS,
  );

  it(
    'commits whole transactions or none, and says which as far as it can know',
    async () => {
      const name = `${topic}-transactions-${brokers}`;
      await ensure(name);
      const transactionalId = `writer-${brokers}`;
      let writer: TransactionalProducer = await kafka.transactionalProducer({ transactionalId });
      const outcomes: string[] = [];
      let killed: Promise<void> | undefined;
      for (let i = 0; i < 200; i++) {
        if (i === 100) killed = cluster.kill(brokers - 1);
        try {
          await writer.commit([0, 1, 2].map((partition) => ({ topic: name, partition, key: 'k', value: Buffer.from(String(i)) })));
          outcomes.push('committed');
        } catch (thrown) {
          const { code, entry } = thrown as SpoolError;
          outcomes.push(code === 'TRANSACTION_INDETERMINATE' ? 'unknown' : 'aborted');
          if (entry.retryable === 'fatal') {
            await writer.close();
            writer = await kafka.transactionalProducer({ transactionalId });
          }
        }
      }
      await killed;
      const records = await readAll(name);
      for (const [i, outcome] of outcomes.entries()) {
        const times = values(records).filter((value) => value === String(i)).length;
        expect([i, outcome, times]).toEqual([i, outcome, outcome === 'committed' ? 3 : outcome === 'aborted' ? 0 : times === 3 ? 3 : 0]);
      }
      expect(outcomes.filter((outcome) => outcome === 'committed').length).toBeGreaterThan(190);
    },
    TEST_MS,
  );

  it(
    'reads on, and members find their coordinator again',
    async () => {
      const name = `${topic}-reader-${brokers}`;
      await ensure(name);
      const producer: Producer = await kafka.producer({ deliveryTimeoutMs: 60_000 });
      const reader = await kafka.reader();
      for (let partition = 0; partition < 3; partition++) reader.assign({ topic: name, partition }, 'earliest');
      const told: string[] = [];
      const member = await kafka.membership({
        groupId: `group-${brokers}`,
        topics: [name],
        onAssigned: ({ partitions }) => Promise.resolve(void told.push(`assigned ${partitions.length}`)),
        onRebalance: () => Promise.resolve(void told.push('rebalance')),
        onLost: () => told.push('lost'),
      });
      const seen: string[] = [];
      const readUntil = async (count: number) => {
        while (seen.length < count) for (const { records } of await reader.fetch()) seen.push(...values(records));
      };
      await producer.sendAll([0, 1, 2].map((partition) => ({ topic: name, partition, key: 'k', value: Buffer.from('before') })));
      await readUntil(3);
      await cluster.kill(0);
      await producer.sendAll([0, 1, 2].map((partition) => ({ topic: name, partition, key: 'k', value: Buffer.from('after') })));
      await readUntil(6);
      expect(seen.sort()).toEqual(['after', 'after', 'after', 'before', 'before', 'before']);
      const commit = async (): Promise<void> => {
        await until(() => member.assignment !== undefined);
        await member.commitOffsets([{ topic: name, partition: 0, offset: (await kafka.admin.offsets(name))[0]!.latest }]);
      };
      // the session may have ended while the broker was away; the member is back by itself then
      await commit().catch(commit);
      expect(told.at(-1)).toBe('assigned 3');
    },
    TEST_MS,
  );
});

describe('without a broker', () => {
  it('says so by the deadlines that were set, and works again when it is back', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'spool-port-'));
    const cluster = await startKafka({ dataDir, log: () => undefined });
    const kafka = await connectKafka({ brokers: cluster.bootstrap, clientId: 'failure', retryForMs: 1_000, requestTimeoutMs: 2_000 });
    try {
      await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'delete', retentionMs: -1 }]);
      const producer = await kafka.producer({ deliveryTimeoutMs: 1_000, maxBufferedBytes: 1_000 });
      const reader = await kafka.reader({ unavailableAfterMs: 500, maxWaitMs: 50 });
      reader.assign({ topic, partition: 0 }, 'earliest');
      await reader.fetch();
      const stopped = cluster.brokers[0]!.close();
      await stopped;
      const record = { topic, key: 'k', value: Buffer.alloc(400) };
      const waiting = producer.send(record);
      const refused = await Promise.allSettled([
        producer.send(record),
        producer.send(record),
        waiting,
        readForEver(),
        kafka.admin.offsets(topic),
      ]);
      expect(refused.map((result) => (result.status === 'rejected' ? (result.reason as SpoolError).code : 'ok'))).toEqual([
        'KAFKA_UNAVAILABLE',
        'OVERLOADED',
        'KAFKA_UNAVAILABLE',
        'KAFKA_UNAVAILABLE',
        'KAFKA_UNAVAILABLE',
      ]);
      await expect(connectKafka({ brokers: cluster.bootstrap, clientId: 'late', retryForMs: 300 })).rejects.toMatchObject({
        code: 'KAFKA_UNAVAILABLE',
      });

      await using _ = await startKafka({ dataDir, ports: [Number(cluster.bootstrap[0]!.split(':')[1])], log: () => undefined });
      await producer.send(record);
      const seen: ConsumedRecord[] = [];
      while (seen.length === 0) for (const { records } of await reader.fetch()) seen.push(...records);
      expect(seen).toHaveLength(1);

      async function readForEver(): Promise<void> {
        for (;;) await reader.fetch();
      }
    } finally {
      await kafka.close();
      await cluster.close();
      await rm(dataDir, { recursive: true, force: true });
    }
  }, 180_000);
});
