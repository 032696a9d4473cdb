/* eslint-disable @typescript-eslint/require-await -- the port waits for brokers, this twin need not */
import { checkTopics } from '../manifest.js';
import {
  offset,
  type Admin,
  type CommittedOffset,
  type PartitionOffsets,
  type RecordPosition,
  type TopicDescription,
  type TopicSpec,
} from '../port.js';
import type { MemoryBroker } from './broker.js';
import { withMetadata } from './group.js';

export class MemoryAdmin implements Admin {
  readonly #broker: MemoryBroker;

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
  }

  async ensureTopics(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) if (!this.#broker.topics.has(spec.name)) this.#broker.createTopic(spec);
    checkTopics(specs, await this.describeTopics(specs.map(({ name }) => name)));
  }

  async listTopics(): Promise<readonly string[]> {
    return [...this.#broker.topics.keys()].sort();
  }

  async describeTopics(names: readonly string[]): Promise<readonly TopicDescription[]> {
    return names.map((name) => {
      const { logs, config } = this.#broker.topic(name);
      return { name, partitions: logs.length, replicationFactor: 1, config };
    });
  }

  async alterTopic(name: string, config: Readonly<Record<string, string>>): Promise<void> {
    const topic = this.#broker.topic(name);
    topic.config = { ...topic.config, ...config };
  }

  async deleteTopics(names: readonly string[]): Promise<void> {
    for (const name of names) this.#broker.topic(name);
    for (const name of names) this.#broker.topics.delete(name);
    this.#broker.changed();
  }

  async offsets(topic: string): Promise<readonly PartitionOffsets[]> {
    return this.#broker
      .topic(topic)
      .logs.map((log, partition) => ({ topic, partition, earliest: offset(log.start), latest: offset(log.stableEnd) }));
  }

  async offsetsAt(topic: string, timestamp: number): Promise<readonly RecordPosition[]> {
    return this.#broker.topic(topic).logs.map((log, partition) => {
      const at = log.offsetAt(timestamp);
      return { topic, partition, offset: offset(at < 0 ? log.stableEnd : at) };
    });
  }

  async committedOffsets(groupId: string, topics: readonly string[]): Promise<readonly CommittedOffset[]> {
    return [...this.#broker.group(groupId).offsets.values()].filter(({ topic }) => topics.includes(topic));
  }

  async commitOffsets(groupId: string, offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void> {
    this.#broker.group(groupId).commitOutside(offsets.map(withMetadata));
  }

  async listGroups(): Promise<readonly string[]> {
    return [...this.#broker.groupIds()].sort();
  }
}
