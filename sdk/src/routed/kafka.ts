import { SpoolError } from '@spool/schemas';
import { tailTopic, type Kafka, type Log, type Producer, type Tail, type TopicCatalogue } from '@spool/streams';
import { createFanOut } from './fan-out.js';
import { carriedHeaders, carriedEvent } from './record.js';
import type { EventTransport } from './transport.js';

export interface KafkaEventsOptions {
  readonly kafka: Kafka;
  readonly topics: TopicCatalogue;
  readonly producer: Producer;
  /** The first word of every routing. */
  readonly root: string;
  readonly log: Log;
}

/**
 * Events of one root through a topic that every process reads for itself, from when it subscribes. They are in order for each sender and routing key,
 * and in the log for a week, whether they are durable or not. Between all nodes: for one named node there are the lanes of node events.
 * @throws SpoolError KAFKA_UNAVAILABLE
 */
export async function kafkaEvents({ kafka, topics, producer, root, log }: KafkaEventsOptions): Promise<EventTransport> {
  const topic = topics.signals(root);
  await kafka.admin.ensureTopics([topic]);
  const fanOut = createFanOut({ log });
  let reading: Promise<Tail> | undefined;
  let closing: Promise<void> | undefined;

  const close = (): Promise<void> => (closing ??= reading?.then((tail) => tail.close()) ?? Promise.resolve());
  return {
    async send(event, to) {
      if (closing !== undefined) throw new SpoolError('UNAVAILABLE', `the events of ${root} are closed`);
      if (to.scope === 'local') return fanOut.publish(event);
      if (to.scope === 'node')
        throw new SpoolError('INVALID_REQUEST', `${event.routing} is for ${to.node} alone, and this way leads to all nodes`);
      if (event.routing.split('.', 1)[0] !== root) throw new SpoolError('INVALID_REQUEST', `${event.routing} is not of ${root}`);
      await producer.send({ topic: topic.name, key: event.routing, value: Buffer.from(event.value), headers: carriedHeaders(event) });
    },
    async subscribe(pattern, deliver) {
      const subscription = fanOut.subscribe(pattern, deliver);
      reading ??= tailTopic({
        kafka,
        topic: topic.name,
        from: 'latest',
        onRecord: (record) => {
          const event = carriedEvent(record);
          return event === undefined ? undefined : fanOut.publish(event);
        },
        onError: (error) => log('warn', 'a routed event was passed over', { topic: topic.name, error: String(error) }),
      });
      try {
        await reading;
      } catch (error) {
        reading = undefined;
        await subscription.close();
        throw error;
      }
      return subscription;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
