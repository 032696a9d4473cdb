import { SpoolError } from '@spool/schemas';
import type Broker from 'kafkajs/src/broker/index.js';
import { persist } from './persist.js';
import { BrokerError, Code, codeOf, isConnectionError } from './broker-errors.js';
import { createDial, hangUp, parseAddress, type Address, type Dial, type KafkaConfig } from './connection.js';
import { metadataMessage, type Metadata, type TopicMetadata } from './messages.js';

const COORDINATOR_TYPES = { group: 0, transaction: 1 } as const;
const movedCodes: ReadonlySet<number> = new Set([Code.LEADER_NOT_AVAILABLE, Code.COORDINATOR_NOT_AVAILABLE, Code.NOT_COORDINATOR]);
type CoordinatorType = keyof typeof COORDINATOR_TYPES;

/** Connections to the brokers of one cluster, and what is known of leaders and coordinators. Each producer, reader and member has its own. */
export class Cluster implements AsyncDisposable {
  readonly config: KafkaConfig;
  readonly #dial: Dial;
  readonly #seeds: readonly Address[];
  #seed: Broker | undefined;
  #nextSeed = 0;
  readonly #nodes = new Map<number, Broker>();
  readonly #addresses = new Map<number, Address>();
  readonly #topics = new Map<string, TopicMetadata>();
  readonly #coordinators = new Map<string, number>();
  readonly #wanted = new Set<string>();
  #refreshing: Promise<void> | undefined;
  readonly #closing = new AbortController();

  constructor(config: KafkaConfig) {
    this.config = config;
    this.#dial = createDial(config);
    if (config.brokers.length === 0) throw new SpoolError('INVALID_CONFIG', 'brokers: at least one host:port is needed');
    this.#seeds = config.brokers.map(parseAddress);
  }

  /** Aborts when the cluster is closed. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  get retryForMs(): number {
    return this.config.retryForMs ?? 30_000;
  }

  /** The brokers that the cluster last told of. */
  nodeIds(): readonly number[] {
    return [...this.#addresses.keys()];
  }

  /** Attempts until it works or `retryForMs` is over. */
  persist<T>(doing: string, attempt: () => Promise<T>): Promise<T> {
    return persist({ doing, forMs: this.retryForMs, signal: this.signal }, attempt);
  }

  /** A connected broker. @throws what kafkajs throws when it cannot connect; the leaders are then worth another look. */
  async node(nodeId: number): Promise<Broker> {
    this.#failIfClosed();
    let broker = this.#nodes.get(nodeId);
    if (!broker) {
      const address = this.#addresses.get(nodeId);
      if (!address) throw new BrokerError(Code.LEADER_NOT_AVAILABLE, `broker ${nodeId}`);
      broker = await this.#dial(address, nodeId);
      const other = this.#nodes.get(nodeId);
      if (other) broker = other;
      else this.#nodes.set(nodeId, broker);
    }
    await this.#connect(broker);
    return broker;
  }

  /** Any broker that can be reached, for requests that every broker answers. */
  async anyNode(): Promise<Broker> {
    this.#failIfClosed();
    for (const broker of this.#nodes.values()) if (broker.isConnected()) return broker;
    for (const nodeId of this.#addresses.keys()) {
      try {
        return await this.node(nodeId);
      } catch (thrown) {
        if (!isConnectionError(thrown)) throw thrown;
      }
    }
    return this.#connectSeed();
  }

  /** What is known of a topic, asked for if need be. */
  async topic(name: string): Promise<TopicMetadata> {
    const known = this.#topics.get(name);
    if (known) return known;
    await this.refresh([name]);
    return this.known(name) ?? { error: Code.UNKNOWN_TOPIC_OR_PARTITION, leaders: [], replicas: 0 };
  }

  /** What is known of a topic now. */
  known(name: string): TopicMetadata | undefined {
    return this.#topics.get(name);
  }

  /** The node that leads a partition; undefined when that is not known or there is none. */
  leader(topic: string, partition: number): number | undefined {
    const leader = this.#topics.get(topic)?.leaders[partition];
    return leader === undefined || leader < 0 ? undefined : leader;
  }

  /** Asks for the leaders anew; calls that come while a request is due share it. */
  refresh(topics: Iterable<string>): Promise<void> {
    for (const topic of topics) this.#wanted.add(topic);
    return (this.#refreshing ??= Promise.resolve().then(() => {
      const wanted = [...this.#wanted];
      this.#wanted.clear();
      this.#refreshing = undefined;
      return this.#refresh(wanted);
    }));
  }

  /** Every topic of the cluster. */
  async allTopics(): Promise<readonly string[]> {
    const metadata = await (await this.anyNode()).connectionPool.send(metadataMessage(null));
    return metadata.topics.filter((topic) => !topic.internal).map((topic) => topic.name);
  }

  /** The broker that keeps a group or a transactional id. Remembered until it proves wrong. */
  async coordinator(type: CoordinatorType, id: string): Promise<Broker> {
    const key = `${type} ${id}`;
    const known = this.#coordinators.get(key);
    if (known !== undefined) return this.node(known);
    const { coordinator } = await (await this.anyNode()).findGroupCoordinator({ groupId: id, coordinatorType: COORDINATOR_TYPES[type] });
    this.#addresses.set(coordinator.nodeId, { host: coordinator.host, port: coordinator.port });
    this.#coordinators.set(key, coordinator.nodeId);
    return this.node(coordinator.nodeId);
  }

  /** Asks the coordinator once; when it has moved or cannot be reached, the next attempt looks for it anew. */
  async atCoordinator<T>(type: CoordinatorType, id: string, ask: (broker: Broker) => Promise<T>): Promise<T> {
    let broker: Broker | undefined;
    try {
      broker = await this.coordinator(type, id);
      return await ask(broker);
    } catch (thrown) {
      if (isConnectionError(thrown) && broker) this.drop(broker);
      const code = codeOf(thrown);
      if (code === undefined || movedCodes.has(code)) this.#coordinators.delete(`${type} ${id}`);
      throw thrown;
    }
  }

  /** To be told of a broker that did not answer: its connections are ended, the next use makes new ones. */
  drop(broker: Broker): void {
    if (broker.nodeId !== null && this.#nodes.get(broker.nodeId) === broker) this.#nodes.delete(broker.nodeId);
    hangUp(broker);
  }

  /** Ends at once; what waits is rejected. */
  close(): Promise<void> {
    this.#closing.abort();
    for (const broker of this.#nodes.values()) hangUp(broker);
    if (this.#seed) hangUp(this.#seed);
    this.#nodes.clear();
    this.#seed = undefined;
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #refresh(topics: readonly string[]): Promise<void> {
    const broker = await this.anyNode();
    let metadata: Metadata;
    try {
      metadata = await broker.connectionPool.send(metadataMessage(topics));
    } catch (thrown) {
      if (isConnectionError(thrown)) this.drop(broker);
      throw thrown;
    }
    this.#learnBrokers(metadata);
    for (const topic of metadata.topics) this.#topics.set(topic.name, topic);
  }

  #learnBrokers(metadata: Metadata): void {
    for (const { nodeId, host, port } of metadata.brokers) {
      const broker = this.#nodes.get(nodeId);
      if (broker && (broker.connectionPool.host !== host || broker.connectionPool.port !== port)) this.drop(broker);
      this.#addresses.set(nodeId, { host, port });
      // the seed is one of the brokers: keep its connection under its number
      const seed = this.#seed;
      if (seed && seed.connectionPool.host === host && seed.connectionPool.port === port && !this.#nodes.has(nodeId)) {
        seed.nodeId = nodeId;
        this.#nodes.set(nodeId, seed);
        this.#seed = undefined;
      }
    }
    const alive = new Set(metadata.brokers.map((broker) => broker.nodeId));
    for (const nodeId of this.#addresses.keys()) if (!alive.has(nodeId)) this.#addresses.delete(nodeId);
    if (this.#seed) {
      hangUp(this.#seed); // its address differs from the advertised one: from now on the advertised ones are used
      this.#seed = undefined;
    }
  }

  async #connect(broker: Broker): Promise<void> {
    if (broker.isConnected()) return;
    try {
      await broker.connect();
    } catch (thrown) {
      this.drop(broker);
      throw thrown;
    }
    if (this.signal.aborted) {
      hangUp(broker);
      this.#failIfClosed();
    }
  }

  async #connectSeed(): Promise<Broker> {
    if (this.#seed?.isConnected()) return this.#seed;
    let last: unknown;
    for (let n = 0; n < this.#seeds.length; n++) {
      const address = this.#seeds[this.#nextSeed++ % this.#seeds.length]!;
      const broker = await this.#dial(address);
      try {
        await this.#connect(broker);
        return (this.#seed = broker);
      } catch (thrown) {
        last = thrown;
        if (!isConnectionError(thrown)) break;
      }
    }
    throw last;
  }

  #failIfClosed(): void {
    if (this.signal.aborted) throw new SpoolError('KAFKA_UNAVAILABLE', 'this Kafka client is closed');
  }
}
