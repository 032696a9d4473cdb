import { randomUUID } from 'node:crypto';
import { createCodec, createHttpRegistry, SpoolError, toSpoolError, type Codec } from '@spool/schemas';
import { connectKafka, followClusterConfig, topicCatalogue, type Kafka, type KafkaConfig, type Log } from '@spool/streams';
import { openInstances } from '../cluster/instances.js';
import { createGateway } from '../gateway/gateway.js';
import { openLeasedReplies } from '../gateway/leased-replies.js';
import type { Gateway } from '../gateway/messages.js';
import type { EventSource } from '../messages.js';
import type { Payloads } from '../payloads.js';
import { openRegistry, type Registry } from '../registry/registry.js';
import { subscribe, type JsonEvent, type SubscribedEvent, type SubscribeOptions, type Subscription } from './subscribe.js';

/** How to reach Kafka: addresses with what they ask for, or a connection of the caller's, which stays open. */
type ToKafka = Pick<KafkaConfig, 'brokers' | 'tls' | 'sasl'> | { readonly kafka: Kafka };
/** How to reach the schemas. */
type ToSchemas = { readonly schemaRegistryUrl: string } | { readonly codec: Codec };

export type ClientOptions = ToKafka &
  ToSchemas & {
    /** Names this program to Kafka, and in what it sends. */
    readonly clientId: string;
    /** Prefix of all topics, with its dot. @default '' */
    readonly namespace?: string;
    /** More requests at once are refused with OVERLOADED. @default 2048 */
    readonly maxInFlight?: number;
    /** @default nothing is logged */
    readonly log?: Log;
    /** @default Date.now */
    readonly now?: () => number;
  };

/** A program outside any bundle, among those of the platform: it sends, asks and subscribes, and serves nothing. */
export interface Client extends Omit<Gateway, 'request' | 'subscribe'>, AsyncDisposable {
  /** `subscribe` of the gateway: the answers to a query as they change. */
  readonly subscribeQuery: Gateway['subscribe'];
  /** What all bundles hold, as a local table. */
  readonly registry: Registry;
  /**
   * The events of an aggregate or a service, as they come and from any position of the past: by its definition the data is typed, by its name it
   * is plain JSON. Iterate over it; it ends with its signal, with `break`, or with the client.
   * @throws SpoolError UNKNOWN_TOPIC, INVALID_REQUEST
   */
  subscribe<E extends Payloads>(source: EventSource<string, E>, options?: SubscribeOptions): Promise<Subscription<SubscribedEvent<E>>>;
  subscribe(source: string, options?: SubscribeOptions): Promise<Subscription<JsonEvent>>;
  close(): Promise<void>;
}

/** One of the slots for replies is had by a lease; without a platform that grants one, or when all are taken, one is shared. */
const leaseWithinMs = 5000;

/** @throws SpoolError KAFKA_UNAVAILABLE, KAFKA_REFUSED, UNAVAILABLE (no platform has run there) */
export async function connectClient(options: ClientOptions): Promise<Client> {
  const { clientId, namespace = '', log = () => undefined, now = Date.now } = options;
  const topics = topicCatalogue({ namespace });
  const codec = 'codec' in options ? options.codec : createCodec({ registry: createHttpRegistry({ url: options.schemaRegistryUrl }) });
  // What was opened, the last first.
  const opened: (() => Promise<void>)[] = [];
  const keep = <T extends { close(): Promise<void> }>(resource: T): T => {
    opened.unshift(() => resource.close());
    return resource;
  };
  const subscriptions = new Set<Subscription<JsonEvent>>();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      for (const each of subscriptions) await each.return();
      for (const each of opened) await each();
    })());
  try {
    const kafka =
      'kafka' in options
        ? options.kafka
        : keep(
            await connectKafka({
              ...options,
              clientId,
              log: (level, message, fields) => log(level === 'debug' ? 'info' : level, message, fields),
            }),
          );
    await present(
      kafka,
      namespace,
      [topics.bundles, topics.instances, topics.clusterConfig, topics.leases, topics.leaseRequests].map(({ name }) => name),
    );
    const onError = (error: unknown): void => log('warn', 'a record of the platform was passed over', { error: String(error) });
    const parts = { kafka, codec, topics, onError };
    const producer = keep(await kafka.producer());
    const config = keep(await followClusterConfig(parts));
    const registry = keep(await openRegistry(parts));
    const instances = keep(await openInstances(parts));
    const replies = keep(
      await openLeasedReplies({
        instance: { id: `${clientId}-${randomUUID().slice(0, 8)}`, kafka, codec, topics, producer, now, log, config },
        topic: topics.replies('clients'),
        instances,
        lease: 'preferred',
        withinMs: leaseWithinMs,
      }),
    );
    const limit = options.maxInFlight === undefined ? {} : { maxInFlight: options.maxInFlight };
    const {
      request: _,
      subscribe: subscribeQuery,
      ...gateway
    } = createGateway({
      codec,
      topics,
      producer,
      replies,
      registry,
      source: clientId,
      now,
      ...limit,
    });
    const follow = async (source: EventSource | string, wanted: SubscribeOptions = {}): Promise<Subscription<JsonEvent>> => {
      const subscription = await subscribe({ kafka, codec, topics, log, onEnd: (each) => subscriptions.delete(each) }, source, wanted);
      subscriptions.add(subscription);
      return subscription;
    };
    return {
      ...gateway,
      subscribeQuery,
      registry,
      subscribe: follow,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A client makes no topics: the platform knows their settings. */
async function present(kafka: Kafka, namespace: string, topics: readonly string[]): Promise<void> {
  await kafka.admin.describeTopics(topics).catch((thrown: unknown) => {
    const error = toSpoolError(thrown);
    if (error.code !== 'UNKNOWN_TOPIC') throw error;
    throw new SpoolError('UNAVAILABLE', `no platform has run there under the namespace "${namespace}": ${error.message}`, {
      cause: thrown,
    });
  });
}
