import { avroContentType, fromJson, headerNames, SpoolError, type Codec } from '@spool/schemas';
import { mayBeWritten, type Producer, type ProducerRecord, type RecordPosition, type TopicCatalogue } from '@spool/streams';
import type { TopicSchemas } from './topic-schemas.js';

/** What is to be written: bytes, JSON of a registered type, or a tombstone. */
export type ValueWish = { readonly type: string; readonly json: unknown } | Buffer | null;
export interface RecordWish {
  readonly key: string | Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: ValueWish;
  readonly partition?: number | undefined;
}

export interface TopicWriter {
  writable(topic: string): boolean;
  /**
   * Writes in order, when each of them can be written; then not atomically.
   * @throws SpoolError TOPIC_NOT_WRITABLE, UNKNOWN_TOPIC, SCHEMA_UNKNOWN, INVALID_PAYLOAD (at `/records/<n>/value`), RECORD_TOO_LARGE, OVERLOADED, KAFKA_UNAVAILABLE
   */
  write(topic: string, records: readonly RecordWish[]): Promise<readonly RecordPosition[]>;
}

export interface TopicWriterOptions {
  readonly codec: Codec;
  readonly producer: Producer;
  readonly topics: Pick<TopicCatalogue, 'namespace'>;
  readonly schemas: TopicSchemas;
}

export function topicWriter({ codec, producer, topics, schemas }: TopicWriterOptions): TopicWriter {
  const encoded = async (topic: string, { type, json }: { readonly type: string; readonly json: unknown }, pointer: string) => {
    const schema = await schemas.newest(topic, type);
    if (schema === undefined) {
      const known = (await schemas.types(topic)).slice(0, 20).join(', ');
      throw new SpoolError('SCHEMA_UNKNOWN', `no ${type} is registered for ${topic}${known === '' ? '' : `; there are ${known}`}`);
    }
    const encoder = await codec.encoder(topic, schema);
    try {
      return encoder.encode(fromJson(schema, json));
    } catch (thrown) {
      if (!(thrown instanceof SpoolError)) throw thrown;
      const violations = thrown.violations.map((each) => ({ ...each, pointer: pointer + each.pointer }));
      throw new SpoolError(thrown.code, thrown.message, { violations });
    }
  };
  const writable = (topic: string): boolean => mayBeWritten(topics, topic);
  return {
    writable,
    async write(topic, records) {
      if (!writable(topic)) throw new SpoolError('TOPIC_NOT_WRITABLE', `${topic} belongs to the platform or to Kafka`);
      const ready: ProducerRecord[] = [];
      for (const [index, { key, headers, value, partition }] of records.entries()) {
        const place = partition === undefined ? {} : { partition };
        if (value === null || Buffer.isBuffer(value)) ready.push({ topic, key, value, headers, ...place });
        else {
          const bytes = await encoded(topic, value, `/records/${index}/value`);
          ready.push({ topic, key, value: bytes, headers: { ...headers, [headerNames.contentType]: avroContentType }, ...place });
        }
      }
      return producer.sendAll(ready);
    },
  };
}
