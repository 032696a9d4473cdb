import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { setTimeout as sleep } from 'node:timers/promises';
import { countValue, joinedValue, partitions } from '../workload.js';
import type { StartContender } from './contender.js';

/** Kafkajs' send is quadratic in the records of a partition. */
const perSend = 1000;
const perTransaction = 20_000;

/**
 * The best exactly-once loop that we can write with bare kafkajs: state in a map, results and input positions (a record, which is cheaper than
 * `sendOffsets`) in one transaction, and while it is under way the next one fills. What it leaves out is what an engine adds: state that survives
 * the process, fencing by the log, parking, telemetry.
 */
export const startKafkaJs: StartContender = async ({ workload, brokers, id, topics }) => {
  const kafka = new kafkajs.Kafka({
    clientId: id,
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 3, maxRetryTime: 100, factor: 0.2, multiplier: 1.5, retries: 50 },
  });
  const admin = kafka.admin();
  await admin.connect();
  const positions = `${id}-positions`;
  await admin.createTopics({ topics: [{ topic: positions, numPartitions: partitions }], waitForLeaders: true });
  const rows = workload === 'join' ? await readTable(kafka, admin, topics.table, `${id}-table`) : new Map<string, Buffer>();
  await admin.disconnect();

  const counts = new Map<string, number>();
  const resultOf = (key: string, value: Buffer): Buffer => {
    if (workload === 'join') return joinedValue(value, rows.get(key)!);
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return countValue(count);
  };

  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    transactionalId: id,
    createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  let waiting: { key: Buffer; value: Buffer; partition: number }[] = [];
  let room: (() => void)[] = [];
  const offsets = new Map<number, string>();
  let busy = false;
  const commit = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    while (waiting.length > 0) {
      const group = waiting;
      const reached = [...offsets];
      waiting = [];
      for (const resume of room) resume();
      room = [];
      const transaction = await producer.transaction();
      for (let at = 0; at < group.length; at += perSend) {
        const results = { topic: topics.output, messages: group.slice(at, at + perSend) };
        const place = reached.map(([partition, offset]) => ({ partition, key: String(partition), value: offset }));
        await transaction.sendBatch({ topicMessages: at === 0 ? [results, { topic: positions, messages: place }] : [results] });
      }
      await transaction.commit();
    }
    busy = false;
  };

  const consumer = kafka.consumer({ groupId: id, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic: topics.input, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: partitions,
    async eachBatch({ batch }) {
      if (waiting.length >= perTransaction) await new Promise<void>((resolve) => room.push(resolve));
      for (const { key, value } of batch.messages) {
        waiting.push({ key: key!, value: resultOf(key!.toString(), value!), partition: batch.partition });
      }
      offsets.set(batch.partition, batch.lastOffset());
      setImmediate(() => {
        commit().catch((error: unknown) => {
          // No engine is there to begin anew: the run has failed.
          console.error(error);
          process.exit(1);
        });
      });
    },
  });
  return {
    async close() {
      await consumer.disconnect();
      await producer.disconnect();
    },
  };
};

async function readTable(kafka: Kafka, admin: Admin, topic: string, groupId: string): Promise<Map<string, Buffer>> {
  const rows = new Map<string, Buffer>();
  const left = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, BigInt(high)]));
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatch({ batch }) {
      for (const { key, value } of batch.messages) rows.set(key!.toString(), value!);
      if (BigInt(batch.lastOffset()) + 1n >= left.get(batch.partition)!) left.delete(batch.partition);
      return Promise.resolve();
    },
  });
  while (left.size > 0) await sleep(5);
  await consumer.disconnect();
  return rows;
}
