import { randomUUID } from 'node:crypto';
import { SpoolError, StoreQuerySchema, StoreRowsSchema, toSpoolError, type Codec, type StoreQuery, type StoreRows } from '@spool/schemas';
import {
  openRows,
  partitionOf,
  partOf,
  positionOf,
  type Kafka,
  type KeyOf,
  type Offset,
  type QueriedRow,
  type RunningTopology,
  type Topology,
  type TopicCatalogue,
  type ValueOf,
} from '@spool/streams';
import { refusal } from '../gateway/gateway.js';
import type { Gateway } from '../gateway/messages.js';
import { fromToken, toToken, type PositionToken } from '../position/token.js';
import { readRows } from './serve.js';

export interface StoreQueryOptions<Q, N extends keyof Q & string> {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly gateway: Gateway;
  readonly topology: Topology<Q>;
  /** As the declaration returned it. */
  readonly store: N;
  /** What runs here answers by itself. @default everything is asked for over Kafka */
  readonly local?: RunningTopology<Q>;
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
  /** @throws SpoolError INDETERMINATE when no owner answers in time */
  get(key: K, options?: StoreAskOptions): Promise<Found<QueriedRow<K, V> | undefined>>;
  /** In the order of the rows (text, or bytes). `from` inclusive, `to` exclusive. @param bounds limit @default 1000, 10000 at the most */
  range(
    bounds?: { readonly from?: K; readonly to?: K; readonly limit?: number },
    options?: StoreAskOptions,
  ): Promise<Found<readonly QueriedRow<K, V>[]>>;
  count(options?: StoreAskOptions): Promise<Found<number>>;
}

/** A task that moves while it is asked does not answer: it is asked again. */
const attemptMs = 1000;

export async function openStoreQueries<Q, N extends keyof Q & string>(
  options: StoreQueryOptions<Q, N>,
): Promise<DistributedStore<KeyOf<Q[N]>, ValueOf<Q[N]>>> {
  type K = KeyOf<Q[N]>;
  type V = ValueOf<Q[N]>;
  const { kafka, codec, topics, gateway, topology, store } = options;
  const consumer = topics.namespace + partOf(topology, store).consumer;
  const topic = topics.storeQueries(consumer, 1).name;
  const [described] = await kafka.admin.describeTopics([topic]);
  const tasks = described!.partitions;
  const changelog = topics.changelog(partOf(topology, store).consumer, 1).name;
  const { keys, decode } = await openRows<K, V>(topology.queried.get(store)!, async (serde) =>
    serde.open === undefined ? serde : await serde.open(codec, changelog),
  );
  const requests = await codec.encoder(topic, StoreQuerySchema);
  const answers = codec.decoder(StoreRowsSchema);
  const part = options.local?.parts.find((one) => one.consumer === consumer);

  const askOne = async (task: number, query: StoreQuery, { after, timeoutMs = 10_000 }: StoreAskOptions): Promise<Found<StoreRows>> => {
    const here = part?.stores.get(task);
    if (here !== undefined && after === undefined) {
      return { value: readRows(topology, here, query), position: toToken(positionOf([here])) };
    }
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      try {
        const reply = await gateway.request({
          topic,
          key: null,
          partition: task,
          type: StoreQuerySchema.fullName,
          id: randomUUID(),
          value: requests.encode(query),
          timeoutMs: Math.min(attemptMs, deadline - Date.now()),
          after,
        });
        if (reply.outcome !== 'answered' || reply.view === null) throw refusal(reply);
        return { value: await answers.decode(reply.view), position: reply.position };
      } catch (thrown) {
        if (toSpoolError(thrown).code !== 'INDETERMINATE') throw thrown;
        if (Date.now() < deadline) continue;
        throw new SpoolError('INDETERMINATE', `no owner of ${topic}-${task} answered for ${store} within ${timeoutMs} ms`);
      }
    }
  };
  const askAll = async (query: StoreQuery, asked: StoreAskOptions): Promise<Found<readonly StoreRows[]>> => {
    const found = await Promise.all(Array.from({ length: tasks }, (_, task) => askOne(task, query, asked)));
    const positions = new Map<string, Offset>(found.flatMap(({ position }) => [...fromToken(position)]));
    return { value: found.map((one) => one.value), position: toToken(positions) };
  };
  return {
    async get(key, asked = {}) {
      const query: StoreQuery = { store, kind: 'get', from: keys.toRow(key), to: null, limit: 1 };
      const { value, position } = await askOne(partitionOf(keys.bytes(key), tasks), query, asked);
      const row = value.rows[0];
      return { value: row === undefined ? undefined : await decode(row.key, row.value), position };
    },
    async range({ from, to, limit = 1000 } = {}, asked = {}) {
      const row = (key: K | undefined): string | null => (key === undefined ? null : keys.toRow(key));
      const { value, position } = await askAll({ store, kind: 'range', from: row(from), to: row(to), limit }, asked);
      const rows = value.flatMap((one) => one.rows).sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
      return { value: await Promise.all(rows.slice(0, limit).map((one) => decode(one.key, one.value))), position };
    },
    async count(asked = {}) {
      const { value, position } = await askAll({ store, kind: 'count', from: null, to: null, limit: 0 }, asked);
      return { value: value.reduce((sum, one) => sum + one.count, 0), position };
    },
  };
}
