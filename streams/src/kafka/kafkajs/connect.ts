import { SpoolError } from '@spool/schemas';
import { GroupMembership } from '../membership.js';
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
import { backoffMs } from '../backoff.js';
import { Cluster } from './cluster.js';
import type { KafkaConfig } from './connection.js';
import { BrokerGroupCoordinator } from './group-coordinator.js';
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

  membership(options: MembershipOptions): Promise<Membership> {
    const { sessionTimeoutMs = 10_000, rebalanceTimeoutMs = 30_000 } = options;
    const log = (message: string, fields: Readonly<Record<string, unknown>>) => this.#config.log?.('warn', message, fields);
    return this.#opened((cluster) => {
      const coordinator = new BrokerGroupCoordinator(cluster, options, { sessionTimeoutMs, rebalanceTimeoutMs });
      return new GroupMembership(coordinator, options, { sessionTimeoutMs, rebalanceTimeoutMs, log, backoffMs });
    });
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
    const cluster = new Cluster(this.#config);
    const resource = make(cluster);
    this.#open.add(resource);
    cluster.signal.addEventListener('abort', () => this.#open.delete(resource));
    try {
      await resource.open();
      return resource;
    } catch (thrown) {
      await resource.close();
      throw thrown;
    }
  }
}
