import { randomUUID } from 'node:crypto';
import { testKafka } from '@spool/embedded';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { describeEventTransport } from './conformance/transport.js';
import { kafkaEvents } from './kafka.js';

describeEventTransport({
  name: 'Kafka',
  async open() {
    const topics = topicCatalogue({ namespace: `sig-${randomUUID().slice(0, 8)}.` });
    const process = async () => {
      const kafka = await connectKafka({ brokers: testKafka(), clientId: 'events' });
      const producer = await kafka.producer();
      const transport = await kafkaEvents({ kafka, topics, producer, root: 'app', log: () => undefined });
      const close = async (): Promise<void> => {
        await transport.close();
        await producer.close();
        await kafka.close();
      };
      return { transport, close };
    };
    const [one, two] = [await process(), await process()];
    return {
      ...{ one: one.transport, two: two.transport, secondNode: undefined },
      [Symbol.asyncDispose]: async () => {
        await one.close();
        await two.close();
      },
    };
  },
});
