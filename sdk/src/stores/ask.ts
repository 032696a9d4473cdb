import { randomUUID } from 'node:crypto';
import { SpoolError, StoreQuerySchema, StoreRowsSchema, toSpoolError, type Codec, type StoreQuery, type StoreRows } from '@spool/schemas';
import {
  consumerOf,
  partitionOf,
  restoredInputs,
  type Kafka,
  type KeySerde,
  type Offset,
  type RunningTopology,
  type Serde,
  type Topology,
  type TopicCatalogue,
} from '@spool/streams';
import { refusal } from '../gateway/gateway.js';
import type { Gateway } from '../gateway/messages.js';
import { fromToken, toToken, type PositionToken } from '../position/token.js';
import { read } from './serve.js';

export interface StoreOptions<K, V> {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly gateway: Gateway;
  readonly topology: Topology;
  readonly store: string;
  readonly key: KeySerde<K>;
  readonly value: Serde<V>;
  /** The bytes by which the topic behind the store is partitioned. @default those of the key */
  readonly partitionBy?: (key: K) => Buffer;
  /** What runs here answers by itself. @default everything is asked for over Kafka */
  readonly local?: RunningTopology;
}
export interface StoreAskOptions {
  /** The rows reflect at least this position of the topics that their tasks read. */
  readonly after?: PositionToken;
  /** @default 10000 */
  readonly timeoutMs?: number;
}
export interface Found<T> {
  readonly value: T;
  /** What the rows reflect. */
  readonly position: PositionToken;
}

/** The rows of a store, wherever its tasks run. */
export interface DistributedStore<K, V> {
  /** @throws SpoolError INDETERMINATE when no owner answers in time: during a move of the task for instance */
  get(key: K, options?: StoreAskOptions): Promise<Found<V | undefined>>;
  /** In the order of the keys' text. `from` inclusive, `to` exclusive. @param bounds limit @default 1000, 10000 at the most */
  range(
    bounds?: { readonly from?: K; readonly to?: K; readonly limit?: number },
    options?: StoreAskOptions,
  ): Promise<Found<readonly (readonly [K, V])[]>>;
  count(options?: StoreAskOptions): Promise<Found<number>>;
}

/** One that moves while it is asked does not answer: it is asked again. */
const attemptMs = 1000;

export async function openStoreQueries<K, V>(options: StoreOptions<K, V>): Promise<DistributedStore<K, V>> {
  const { kafka, codec, topics, gateway, topology, store, key, value, partitionBy = key.encode } = options;
  const consumer = consumerOf(topology, store, topics.namespace);
  const topic = topics.storeQueries(consumer);
  const [described] = await kafka.admin.describeTopics([topic]);
  const partitions = described!.partitions;
  const requests = await codec.encoder(topic, StoreQuerySchema);
  const answers = codec.decoder(StoreRowsSchema);
  const share = options.local?.shares.find((one) => one.consumer === consumer);

  const askOne = async (
    partition: number,
    query: StoreQuery,
    { after, timeoutMs = 10_000 }: StoreAskOptions,
  ): Promise<Found<StoreRows>> => {
    const here = share?.task(partition);
    if (share !== undefined && here !== undefined && after === undefined) {
      return { value: read(share, here, query), position: toToken(restoredInputs(here)) };
    }
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      try {
        const left = Math.min(attemptMs, deadline - Date.now());
        const reply = await gateway.request({
          topic,
          key: null,
          partition,
          type: StoreQuerySchema.fullName,
          id: randomUUID(),
          value: requests.encode(query),
          timeoutMs: left,
          after,
        });
        if (reply.outcome !== 'answered' || reply.view === null) throw refusal(reply);
        return { value: await answers.decode(reply.view), position: reply.position };
      } catch (thrown) {
        if (toSpoolError(thrown).code !== 'INDETERMINATE') throw thrown;
        if (Date.now() >= deadline)
          throw new SpoolError('INDETERMINATE', `no owner of ${topic}-${partition} answered for ${store} within ${timeoutMs} ms`);
      }
    }
  };
  const askAll = async (query: StoreQuery, asked: StoreAskOptions): Promise<Found<readonly StoreRows[]>> => {
    const found = await Promise.all(Array.from({ length: partitions }, (_, partition) => askOne(partition, query, asked)));
    const positions = new Map<string, Offset>(found.flatMap(({ position }) => [...fromToken(position)]));
    return { value: found.map((one) => one.value), position: toToken(positions) };
  };
  return {
    async get(of, asked = {}) {
      const query: StoreQuery = { store, kind: 'get', from: key.toText(of), to: null, limit: 1 };
      const found = await askOne(partitionOf(partitionBy(of), partitions), query, asked);
      const row = found.value.rows[0];
      return { value: row === undefined ? undefined : await value.decode(row.value), position: found.position };
    },
    async range({ from, to, limit = 1000 } = {}, asked = {}) {
      const text = (of: K | undefined): string | null => (of === undefined ? null : key.toText(of));
      const found = await askAll({ store, kind: 'range', from: text(from), to: text(to), limit }, asked);
      const rows = found.value.flatMap((one) => one.rows).sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
      const decoded = rows.slice(0, limit).map(async (row) => [key.fromText(row.key), await value.decode(row.value)] as const);
      return { value: await Promise.all(decoded), position: found.position };
    },
    async count(asked = {}) {
      const found = await askAll({ store, kind: 'count', from: null, to: null, limit: 0 }, asked);
      return { value: found.value.reduce((sum, one) => sum + one.count, 0), position: found.position };
    },
  };
}
