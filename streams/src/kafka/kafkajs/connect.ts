import { SpoolError } from '@spool/schemas';
import type {
  Kafka,
  Membership,
  MembershipOptions,
  Producer,
  ProducerOptions,
  Reader,
  ReaderOptions,
  TransactionalProducer,
  TransactionalProducerOptions,
} from '../port.js';
import { ClusterAdmin } from './admin.js';
import { Cluster } from './cluster.js';
import type { KafkaConfig } from './connection.js';
import { IdempotentProducer } from './producer.js';
import { PartitionReader } from './reader.js';
import { patchRequestQueue } from './request-queue.js';
import { TransactionWriter } from './transactional.js';

/**
 * Connects to a cluster.
 * @throws SpoolError INVALID_CONFIG; KAFKA_UNAVAILABLE when no broker answers within `retryForMs`; KAFKA_REFUSED for wrong credentials.
 */
export async function connectKafka(config: KafkaConfig): Promise<Kafka> {
  patchRequestQueue();
  const cluster = new Cluster(config);
  try {
    await cluster.persist(`connect to ${config.brokers.join(', ')}`, () => cluster.refresh([]));
  } catch (thrown) {
    await cluster.close();
    throw thrown;
  }
  return new KafkaClient(config, cluster);
}

class KafkaClient implements Kafka {
  readonly admin: ClusterAdmin;
  readonly #config: KafkaConfig;
  readonly #cluster: Cluster;
  readonly #open = new Set<{ close(): Promise<void> }>();
  #closed = false;

  constructor(config: KafkaConfig, cluster: Cluster) {
    this.#config = config;
    this.#cluster = cluster;
    this.admin = new ClusterAdmin(cluster);
  }

  producer(options: ProducerOptions = {}): Promise<Producer> {
    return this.#opened((cluster) => new IdempotentProducer(cluster, options));
  }

  transactionalProducer(options: TransactionalProducerOptions): Promise<TransactionalProducer> {
    return this.#opened((cluster) => new TransactionWriter(cluster, options));
  }

  reader(options: ReaderOptions = {}): Promise<Reader> {
    return this.#opened((cluster) => new PartitionReader(cluster, options));
  }

  membership(_options: MembershipOptions): Promise<Membership> {
    throw new SpoolError('INTERNAL', 'membership');
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#open].map((resource) => resource.close()));
    this.#open.clear();
    await this.#cluster.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Each has connections of its own: a broker answers the requests of one connection one after the other. */
  async #opened<T extends { open(): Promise<unknown>; close(): Promise<void> }>(make: (cluster: Cluster) => T): Promise<T> {
    if (this.#closed) throw new SpoolError('KAFKA_UNAVAILABLE', 'this Kafka client is closed');
    const resource = make(new Cluster(this.#config));
    this.#open.add(resource);
    try {
      await resource.open();
      return resource;
    } catch (thrown) {
      this.#open.delete(resource);
      await resource.close();
      throw thrown;
    }
  }
}
