import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kafkaJars, runKafkaTool, testKafka } from '@spool/embedded';
import { newTopic, read, record, text } from '../conformance/stage.js';
import type { Kafka } from '../port.js';
import { Cluster } from './cluster.js';
import { connectKafka } from './connect.js';
import { initProducerIdMessage } from './messages.js';
import { produceMessage } from './produce.js';
import { readyRecord } from './record-batch.js';

describe('on a real broker', () => {
  const config = { brokers: testKafka(), clientId: 'real-broker' };
  let kafka: Kafka;
  beforeEach(async () => {
    kafka = await connectKafka(config);
  });
  afterEach(async () => {
    await kafka.close();
  });

  it('the producer goes on when its topic was deleted and made again, where its sequence numbers mean nothing', async () => {
    const topic = await newTopic(kafka);
    const producer = await kafka.producer();
    for (const value of ['a', 'b', 'c']) await producer.send(record(topic, value));
    await kafka.admin.deleteTopics([topic]);
    await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'delete', retentionMs: -1 }]);
    for (const value of ['d', 'e']) await producer.send(record(topic, value));
    expect((await read(kafka, topic)).map(({ value }) => text(value))).toEqual(['d', 'e']);
  });

  it('the producer tells those who wait that their topic was deleted', async () => {
    const topic = await newTopic(kafka);
    const producer = await kafka.producer();
    await producer.send(record(topic, 'a'));
    await kafka.admin.deleteTopics([topic]);
    await expect(producer.send(record(topic, 'b'))).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
  });

  it('a transaction says that one of its topics was deleted, and the next one works', async () => {
    const [kept, deleted] = [await newTopic(kafka), await newTopic(kafka)];
    const writer = await kafka.transactionalProducer({ transactionalId: randomUUID() });
    await writer.commit([record(kept, 'a'), record(deleted, 'a')]);
    await kafka.admin.deleteTopics([deleted]);
    await expect(writer.commit([record(kept, 'lost'), record(deleted, 'lost')])).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
    await writer.commit([record(kept, 'b')]);
    expect((await read(kafka, kept)).map(({ value }) => text(value))).toEqual(['a', 'b']);
  });

  it('an id is taken from an owner in the middle of a transaction, which is rolled back', async () => {
    const topic = await newTopic(kafka);
    // A topic is known before its leader serves it; the port waits for that, and the bare messages below do not.
    await kafka.admin.offsets(topic);
    const transactionalId = randomUUID();
    // 1. an owner that writes and then hangs
    await using cluster = new Cluster(config);
    await cluster.refresh([topic]);
    const atCoordinator = <T>(ask: Parameters<typeof cluster.atCoordinator<T>>[2]) =>
      cluster.persist('test', () => cluster.atCoordinator('transaction', transactionalId, ask));
    const identity = await atCoordinator((broker) => broker.connectionPool.send(initProducerIdMessage(transactionalId, 60_000)));
    await atCoordinator((broker) =>
      broker.addPartitionsToTxn({
        transactionalId,
        producerId: identity.producerId,
        producerEpoch: identity.epoch,
        topics: [{ topic, partitions: [0] }],
      }),
    );
    const batch = { topic, partition: 0, records: [readyRecord(record(topic, 'hanging'), Date.now())], identity, sequence: 0 };
    const leader = await cluster.node(cluster.leader(topic, 0)!);
    expect(await leader.connectionPool.send(produceMessage(transactionalId, [batch], 5_000))).toMatchObject([{ code: 0 }]);
    expect((await kafka.admin.offsets(topic))[0]!.latest).toBe(0n);
    // 2. its successor
    const successor = await kafka.transactionalProducer({ transactionalId });
    const end = atCoordinator((broker) =>
      broker.endTxn({ transactionalId, producerId: identity.producerId, producerEpoch: identity.epoch, transactionResult: true }),
    );
    await expect(end).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await successor.commit([record(topic, 'successor')]);
    expect((await read(kafka, topic)).map(({ value }) => text(value))).toEqual(['successor']);
  });

  it.each(['gzip', 'snappy', 'lz4', 'zstd'])('a topic that the Java client compressed with %s is read', async (codec) => {
    const topic = await newTopic(kafka);
    const folder = await mkdtemp(join(tmpdir(), 'spool-port-'));
    try {
      const payloads = Array.from({ length: 50 }, (_, i) => `payload ${i} ${'repeated '.repeat(i)}${randomUUID()}`);
      const file = join(folder, 'payloads');
      await writeFile(file, payloads.join('\n'));
      const properties = [
        `bootstrap.servers=${config.brokers.join(',')}`,
        `compression.type=${codec}`,
        'linger.ms=50',
        'batch.size=200000',
      ];
      await runKafkaTool(await kafkaJars(() => undefined), 'org.apache.kafka.tools.ProducerPerformance', [
        ...['--topic', topic, '--num-records', '5000', '--throughput', '-1', '--payload-file', file],
        ...['--producer-props', ...properties],
      ]);
      const values = (await read(kafka, topic)).map(({ value }) => text(value));
      expect(values).toHaveLength(5_000);
      expect(new Set(values)).toEqual(new Set(payloads));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
