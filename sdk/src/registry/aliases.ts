import { ReadModelAliasSchema, type Codec, type ReadModelAlias } from '@spool/schemas';
import { offset, partitionKey, readTable, type Kafka, type Offset, type TopicCatalogue } from '@spool/streams';

/** Where the platform's tables are read from. */
export interface AliasesOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly onError: (error: unknown) => void;
}

/** Which copies of read models there are, and which of them answers: by the consumer id of the projector. A consumer without a row has one copy. */
export interface Aliases extends AsyncDisposable {
  get(consumer: string): ReadModelAlias | undefined;
  list(): readonly ReadModelAlias[];
  /** The consumer id of the copy that answers. */
  live(consumer: string): string;
  /** How far the topic has been read. */
  readonly position: Offset;
  onChange(listener: (consumer: string) => void): () => void;
  close(): Promise<void>;
}

/** The consumer id of a copy. */
export const copyConsumer = (consumer: string, copy: string): string => (copy === '' ? consumer : `${consumer}.${copy}`);

/** Reads the aliases and follows them. */
export async function openAliases({ kafka, codec, topics, onError }: AliasesOptions): Promise<Aliases> {
  const decoder = codec.decoder(ReadModelAliasSchema);
  const topic = topics.aliases.name;
  await kafka.admin.ensureTopics([topics.aliases]);
  const table = await readTable<ReadModelAlias>({ kafka, topic, onError, decode: (_, value) => decoder.decode(value) });
  return {
    get: (consumer) => table.get(consumer),
    list: () => [...table.entries()].map(([, row]) => row),
    live: (consumer) => copyConsumer(consumer, table.get(consumer)?.live.id ?? ''),
    get position() {
      return table.positions.get(partitionKey({ topic, partition: 0 })) ?? offset(0);
    },
    onChange: (listener) => table.onChange((key) => listener(key)),
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}
