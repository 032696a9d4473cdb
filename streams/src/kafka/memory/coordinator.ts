/* eslint-disable @typescript-eslint/require-await -- the port waits for brokers, this twin need not */
import { randomUUID } from 'node:crypto';
import type { Share } from '../assignor.js';
import type { GroupCoordinator, GroupRefusal } from '../membership.js';
import type { MembershipOptions, RecordPosition } from '../port.js';
import type { MemoryBroker } from './broker.js';
import { Refused, withMetadata, type Joined, type MemoryGroup } from './group.js';

/** The group protocol against a group in this process. */
export class MemoryGroupCoordinator implements GroupCoordinator {
  readonly heartbeatMs = 5;
  readonly #broker: MemoryBroker;
  readonly #group: MemoryGroup;
  readonly #rebalanceTimeoutMs: number;

  constructor(broker: MemoryBroker, options: MembershipOptions) {
    this.#broker = broker;
    this.#group = broker.group(options.groupId);
    this.#rebalanceTimeoutMs = options.rebalanceTimeoutMs ?? 30_000;
  }

  register(): Promise<string> {
    return Promise.resolve(`memory-${randomUUID()}`);
  }
  join(memberId: string, metadata: Buffer): Promise<Joined> {
    return this.#group.join(memberId, metadata, this.#rebalanceTimeoutMs);
  }
  async sync(memberId: string, generation: number, shares: ReadonlyMap<string, Share>): Promise<Share> {
    return this.#group.sync(memberId, generation, shares);
  }
  async heartbeat(memberId: string, generation: number): Promise<void> {
    this.#group.heartbeat(memberId, generation);
  }
  async commit(memberId: string, generation: number, offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void> {
    this.#group.commit(memberId, generation, offsets.map(withMetadata));
  }
  async leave(memberId: string): Promise<void> {
    this.#group.remove(memberId);
  }
  async partitionCounts(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return new Map(topics.map((topic) => [topic, this.#broker.topics.get(topic)?.logs.length ?? 0]));
  }
  refusalOf(thrown: unknown): GroupRefusal | undefined {
    return thrown instanceof Refused ? thrown.refusal : undefined;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}
