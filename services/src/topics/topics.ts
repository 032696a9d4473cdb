import type { Codec, SchemaRegistry } from '@spool/schemas';
import type { Kafka, Producer, RecordPosition, TopicCatalogue } from '@spool/streams';
import { recordOfEvent, type CloudEvent } from './cloud-events.js';
import { topicBrowser, type TopicBrowser } from './browse.js';
import { topicWriter, type TopicWriter } from './produce.js';
import { topicSchemas } from './topic-schemas.js';

export interface TopicView {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly cleanup: string;
  /** Milliseconds; -1 keeps for ever. */
  readonly retentionMs: number;
  /** Whether records may be posted to it: the platform alone writes to its own topics. */
  readonly writable: boolean;
  /** Full names of the record types that are registered for it. */
  readonly types: readonly string[];
}

/** Kafka's topics for those who are not in Node: listed, written to, and looked through. */
export interface Topics extends TopicWriter, TopicBrowser {
  /** Writes events as the Kafka binding has them, in order. @throws as `write`, and SpoolError INVALID_REQUEST */
  publish(
    topic: string,
    events: readonly CloudEvent[],
    sent: { readonly traceparent: string; readonly actor: string },
  ): Promise<readonly RecordPosition[]>;
  /** By name, without Kafka's own. */
  list(after: string, limit: number): Promise<readonly TopicView[]>;
}

export interface TopicsOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly producer: Producer;
  readonly topics: TopicCatalogue;
  readonly registry: SchemaRegistry;
  readonly now: () => number;
}

export function openTopics({ kafka, codec, producer, topics, registry, now }: TopicsOptions): Topics {
  const schemas = topicSchemas(registry, now);
  const writer = topicWriter({ codec, producer, topics, schemas });
  return {
    ...writer,
    ...topicBrowser({ kafka, codec }),
    publish: async (topic, events, sent) =>
      writer.write(topic, await Promise.all(events.map((event) => recordOfEvent(event, topic, schemas, sent)))),
    async list(after, limit) {
      const names = (await kafka.admin.listTopics()).filter((name) => !name.startsWith('__') && name > after).toSorted();
      const described = await kafka.admin.describeTopics(names.slice(0, limit));
      const views = described.map(async ({ name, partitions, replicationFactor, config }) => ({
        ...{ name, partitions, replicationFactor },
        cleanup: config['cleanup.policy'] ?? 'delete',
        retentionMs: Number(config['retention.ms'] ?? -1),
        writable: writer.writable(name),
        types: await schemas.types(name),
      }));
      return (await Promise.all(views)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    },
  };
}
