import kafkajs from 'kafkajs';
import type { ContenderConfig, Replayed } from './contender.js';

/** The floor: records are taken off the topic and counted, nothing is decoded or kept. */
export async function consumeBare({ brokers, id, topic, records }: ContenderConfig): Promise<Replayed> {
  const kafka = new kafkajs.Kafka({ clientId: id, brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: id, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let began = 0;
  let seen = 0;
  const seconds = await new Promise<number>((resolve, reject) => {
    consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
    void consumer.run({
      autoCommit: false,
      eachBatch({ batch }) {
        if (seen === 0) began = performance.now();
        seen += batch.messages.length;
        if (seen === records) resolve((performance.now() - began) / 1000);
        return Promise.resolve();
      },
    });
  });
  await consumer.disconnect();
  return { records, seconds };
}
