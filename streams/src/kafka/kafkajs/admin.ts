import { SpoolError } from '@spool/schemas';
import type Broker from 'kafkajs/src/broker/index.js';
import type { TopicOffsets } from 'kafkajs/src/broker/index.js';
import { checkTopics, topicConfig } from '../manifest.js';
import {
  offset,
  type Admin,
  type CommittedOffset,
  type PartitionOffsets,
  type RecordPosition,
  type TopicDescription,
  type TopicSpec,
} from '../port.js';
import { BrokerError, Code, codeOf, isConnectionError, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { groupBy } from './group-by.js';
import { listOffsetsMessage } from './messages.js';

const TOPIC = 2;
const SET_ON_TOPIC = 1;
const BROKER_TIMEOUT_MS = 10_000;
const DEFAULT_REPLICAS = 3;
/** What one broker knows of a new topic, the others know within this time. */
const UNKNOWN_TOPIC_GRACE_MS = 500;

type OffsetsToCommit = readonly (RecordPosition & { readonly metadata?: string })[];

export class ClusterAdmin implements Admin {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async ensureTopics(specs: readonly TopicSpec[]): Promise<void> {
    if (specs.length === 0) return;
    const names = specs.map(({ name }) => name);
    // 1. create what is missing
    await this.#cluster.persist('create topics', () => this.#cluster.refresh(names));
    const missing = specs.filter(({ name }) => this.#cluster.known(name)?.error !== Code.NONE);
    if (missing.length > 0) await this.#create(missing);
    // 2. check what is there, also what another process has just created
    checkTopics(specs, await this.describeTopics(names));
  }

  async #create(specs: readonly TopicSpec[]): Promise<void> {
    const replicationFactor = Math.min(DEFAULT_REPLICAS, Math.max(1, this.#cluster.nodeIds().length));
    const topics = specs.map((spec) => ({
      topic: spec.name,
      numPartitions: spec.partitions,
      replicationFactor,
      configEntries: Object.entries({ ...(replicationFactor >= 3 ? { 'min.insync.replicas': '2' } : {}), ...topicConfig(spec) }).map(
        ([name, value]) => ({ name, value }),
      ),
    }));
    await this.#ask('create topics', async (broker) => {
      try {
        await broker.createTopics({ topics, timeout: BROKER_TIMEOUT_MS });
      } catch (thrown) {
        const errors = thrown instanceof Error && 'errors' in thrown ? (thrown.errors as readonly (Error & { topic: string })[]) : [];
        const real = errors.filter((error) => codeOf(error) !== Code.TOPIC_ALREADY_EXISTS);
        if (errors.length === 0) throw thrown;
        if (real.length > 0)
          throw new SpoolError('KAFKA_REFUSED', `create topics: ${real.map((error) => `${error.topic}: ${error.message}`).join('; ')}`);
      }
    });
    // leaders are elected a moment later
    await this.#cluster.persist('create topics', async () => {
      await this.#cluster.refresh(specs.map(({ name }) => name));
      for (const { name } of specs) {
        const topic = this.#cluster.known(name);
        if (topic?.error !== Code.NONE || topic.leaders.some((leader) => leader < 0))
          throw new BrokerError(topic?.error || Code.LEADER_NOT_AVAILABLE, name);
      }
    });
  }

  async listTopics(): Promise<readonly string[]> {
    const names = await this.#cluster.persist('list topics', () => this.#cluster.allTopics());
    return [...names].sort();
  }

  async describeTopics(names: readonly string[]): Promise<readonly TopicDescription[]> {
    if (names.length === 0) return [];
    await this.#cluster.persist('describe topics', () => this.#cluster.refresh(names));
    const unknown = names.filter((name) => this.#cluster.known(name)?.error !== Code.NONE);
    if (unknown.length > 0) throw new SpoolError('UNKNOWN_TOPIC', `no topic ${unknown.join(', ')}`);
    const { resources } = await this.#ask('describe topics', (broker) =>
      broker.describeConfigs({ resources: names.map((name) => ({ type: TOPIC, name })) }),
    );
    const configs = new Map(resources.map((resource) => [resource.resourceName, resource.configEntries]));
    return names.map((name) => {
      const topic = this.#cluster.known(name)!;
      const entries = (configs.get(name) ?? []).map((entry) => [entry.configName, entry.configValue ?? ''] as const);
      return { name, partitions: topic.leaders.length, replicationFactor: topic.replicas, config: Object.fromEntries(entries) };
    });
  }

  async alterTopic(name: string, config: Readonly<Record<string, string>>): Promise<void> {
    // AlterConfigs puts back to its default whatever it is not given: name what is set on the topic already
    const { resources } = await this.#ask(`alter ${name}`, (broker) => broker.describeConfigs({ resources: [{ type: TOPIC, name }] }));
    const set = (resources[0]?.configEntries ?? []).filter((entry) => entry.configSource === SET_ON_TOPIC);
    const merged = { ...Object.fromEntries(set.map((entry) => [entry.configName, entry.configValue ?? ''])), ...config };
    const configEntries = Object.entries(merged).map(([key, value]) => ({ name: key, value }));
    await this.#ask(`alter ${name}`, (broker) => broker.alterConfigs({ resources: [{ type: TOPIC, name, configEntries }] }));
  }

  async deleteTopics(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.#ask('delete topics', (broker) => broker.deleteTopics({ topics: names, timeout: BROKER_TIMEOUT_MS }));
    await this.#cluster.persist('delete topics', async () => {
      await this.#cluster.refresh(names);
      const left = names.find((name) => this.#cluster.known(name)?.error === Code.NONE);
      if (left !== undefined) throw new BrokerError(Code.LEADER_NOT_AVAILABLE, `${left} is still there`);
    });
  }

  async offsets(topic: string): Promise<readonly PartitionOffsets[]> {
    const [earliest, latest] = await Promise.all([this.#offsets(topic, -2), this.#offsets(topic, -1)]);
    return earliest.map((first, partition) => ({ topic, partition, earliest: offset(first), latest: offset(latest[partition]!) }));
  }

  async offsetsAt(topic: string, timestamp: number): Promise<readonly RecordPosition[]> {
    // Times before 1970 are names to Kafka: -1 the end, -2 the beginning, and errors.
    const [found, latest] = await Promise.all([this.#offsets(topic, Math.max(0, timestamp)), this.#offsets(topic, -1)]);
    return found.map((at, partition) => ({ topic, partition, offset: offset(at < 0 ? latest[partition]! : at) }));
  }

  /** By partition. */
  #offsets(topic: string, timestamp: number): Promise<readonly number[]> {
    return this.#cluster.persist(`offsets of ${topic}`, async () => {
      await this.#cluster.refresh([topic]);
      const known = this.#cluster.known(topic);
      if (known?.error !== Code.NONE) {
        if (known?.error === Code.UNKNOWN_TOPIC_OR_PARTITION) throw new SpoolError('UNKNOWN_TOPIC', `no topic ${topic}`);
        throw new BrokerError(known?.error ?? Code.LEADER_NOT_AVAILABLE, topic);
      }
      const byNode = groupBy(known.leaders.keys(), (partition) => this.#cluster.leader(topic, partition));
      const offsets: number[] = [];
      await Promise.all(
        [...byNode].map(async ([node, partitions]) => {
          if (node === undefined) throw new BrokerError(Code.LEADER_NOT_AVAILABLE, topic);
          const broker = await this.#cluster.node(node);
          const queries = partitions.map((partition) => ({ topic, partition, timestamp }));
          for (const answer of await broker.connectionPool.send(listOffsetsMessage(queries, true))) {
            if (answer.code !== Code.NONE) throw new BrokerError(answer.code, `${topic}-${answer.partition}`);
            offsets[answer.partition] = answer.offset;
          }
        }),
      );
      return offsets;
    });
  }

  async committedOffsets(groupId: string, topics: readonly string[]): Promise<readonly CommittedOffset[]> {
    await this.#cluster.persist('committed offsets', () => this.#cluster.refresh(topics));
    const asked = topics.map((topic) => ({
      topic,
      partitions: [...(this.#cluster.known(topic)?.leaders ?? []).keys()].map((partition) => ({ partition })),
    }));
    if (asked.every(({ partitions }) => partitions.length === 0)) return [];
    const { responses } = await this.#askCoordinator(groupId, (broker) => broker.offsetFetch({ groupId, topics: asked }));
    return responses.flatMap(({ topic, partitions }) =>
      partitions
        .filter((committed) => Number(committed.offset) >= 0)
        .map((committed) => ({
          topic,
          partition: committed.partition,
          offset: offset(committed.offset),
          metadata: committed.metadata ?? '',
        })),
    );
  }

  async commitOffsets(groupId: string, offsets: OffsetsToCommit): Promise<void> {
    if (offsets.length === 0) return;
    await this.#askCoordinator(groupId, (broker) =>
      broker.offsetCommit({ groupId, groupGenerationId: -1, memberId: '', topics: byTopic(offsets) }),
    );
  }

  async listGroups(): Promise<readonly string[]> {
    // each broker tells of the groups that it coordinates
    return this.#cluster.persist('list groups', async () => {
      await this.#cluster.refresh([]);
      const groups = await Promise.all(
        this.#cluster.nodeIds().map(async (nodeId) => (await (await this.#cluster.node(nodeId)).listGroups()).groups),
      );
      return groups
        .flat()
        .map(({ groupId }) => groupId)
        .sort();
    });
  }

  #ask<T>(doing: string, ask: (broker: Broker) => Promise<T>): Promise<T> {
    const graceEnd = performance.now() + UNKNOWN_TOPIC_GRACE_MS;
    return this.#cluster.persist(doing, async () => {
      const broker = await this.#cluster.anyNode();
      return ask(broker).catch((thrown: unknown) => {
        if (isConnectionError(thrown)) this.#cluster.drop(broker);
        const unknown = codeOf(thrown) === Code.UNKNOWN_TOPIC_OR_PARTITION && performance.now() > graceEnd;
        throw unknown ? kafkaError(thrown, doing) : thrown;
      });
    });
  }

  #askCoordinator<T>(groupId: string, ask: (broker: Broker) => Promise<T>): Promise<T> {
    return this.#cluster.persist(`group ${groupId}`, () => this.#cluster.atCoordinator('group', groupId, ask));
  }
}

/** As the protocol has it: partitions under their topic. */
export function byTopic(offsets: OffsetsToCommit): readonly TopicOffsets[] {
  return [...groupBy(offsets, ({ topic }) => topic)].map(([topic, of]) => ({
    topic,
    partitions: of.map((position) => ({
      partition: position.partition,
      offset: String(position.offset),
      metadata: position.metadata ?? '',
    })),
  }));
}
