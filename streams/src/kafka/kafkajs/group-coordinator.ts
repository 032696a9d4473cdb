import { SpoolError } from '@spool/schemas';
import type Broker from 'kafkajs/src/broker/index.js';
import assignerProtocol from 'kafkajs/src/consumer/assignerProtocol.js';
import joinGroup from 'kafkajs/src/protocol/requests/joinGroup/index.js';
import { noShare, type Share } from '../assignor.js';
import type { GroupCoordinator, GroupRefusal } from '../membership.js';
import type { MembershipOptions, RecordPosition, TopicPartition } from '../port.js';
import { byTopic } from './admin.js';
import { Code, codeOf, isTransientCode, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { groupBy } from './group-by.js';

const { MemberAssignment, MemberMetadata } = assignerProtocol;
/** Members with another assignor, such as a stray kcat, cannot be in one group with ours: the broker refuses them. */
const ASSIGNOR = 'spool-sticky';
const JOIN_VERSION = 5;

/** The group protocol (the classic, eager one) against the broker that coordinates the group. */
export class BrokerGroupCoordinator implements GroupCoordinator {
  readonly heartbeatMs: number;
  readonly #cluster: Cluster;
  readonly #groupId: string;
  readonly #topics: readonly string[];
  readonly #sessionTimeoutMs: number;
  readonly #rebalanceTimeoutMs: number;
  /** The broker that holds our join back, if it does. */
  #joining: Broker | undefined;

  constructor(cluster: Cluster, options: MembershipOptions, timeouts: { sessionTimeoutMs: number; rebalanceTimeoutMs: number }) {
    this.#cluster = cluster;
    this.#groupId = options.groupId;
    this.#topics = options.topics;
    this.#sessionTimeoutMs = timeouts.sessionTimeoutMs;
    this.#rebalanceTimeoutMs = timeouts.rebalanceTimeoutMs;
    this.heartbeatMs = Math.min(1_000, timeouts.sessionTimeoutMs / 10);
  }

  async register(metadata: Buffer): Promise<string> {
    try {
      const { memberId } = await this.#ask('join', (broker) => this.#joinAt(broker, '', metadata));
      return memberId;
    } catch (thrown) {
      const required = thrown instanceof SpoolError ? thrown.cause : thrown;
      if (required instanceof Error && required.name === 'KafkaJSMemberIdRequired' && 'memberId' in required)
        return String(required.memberId);
      throw thrown;
    }
  }

  async join(
    memberId: string,
    metadata: Buffer,
  ): Promise<{ generation: number; members: readonly { memberId: string; metadata: Buffer }[] | undefined }> {
    const joined = await this.#ask('join', (broker) => {
      this.#joining = broker;
      return this.#joinAt(broker, memberId, metadata);
    }).finally(() => (this.#joining = undefined));
    const members = joined.members.map((member) => ({
      memberId: member.memberId,
      metadata: MemberMetadata.decode(member.memberMetadata).userData ?? Buffer.alloc(0),
    }));
    return { generation: joined.generationId, members: joined.leaderId === joined.memberId ? members : undefined };
  }

  #joinAt(broker: Broker, memberId: string, metadata: Buffer) {
    const protocol = joinGroup.protocol({ version: JOIN_VERSION });
    const message = protocol({
      groupId: this.#groupId,
      sessionTimeout: this.#sessionTimeoutMs,
      rebalanceTimeout: this.#rebalanceTimeoutMs,
      memberId,
      protocolType: 'consumer',
      groupProtocols: [{ name: ASSIGNOR, metadata: MemberMetadata.encode({ version: 1, topics: this.#topics, userData: metadata }) }],
    });
    return broker.connectionPool.send(message);
  }

  async sync(memberId: string, generation: number, shares: ReadonlyMap<string, Share>): Promise<Share> {
    const groupAssignment = [...shares].map(([member, share]) => ({
      memberId: member,
      memberAssignment: MemberAssignment.encode({
        version: 1,
        assignment: Object.fromEntries(
          [...groupBy(share.partitions, ({ topic }) => topic)].map(([topic, of]) => [topic, of.map(({ partition }) => partition)]),
        ),
        userData: Buffer.from(JSON.stringify(share.standbys)),
      }),
    }));
    const answer = await this.#ask('sync', (broker) =>
      broker.syncGroup({ groupId: this.#groupId, generationId: generation, memberId, groupAssignment }),
    );
    const share = MemberAssignment.decode(answer.memberAssignment);
    if (share === null) return noShare;
    const standbys = JSON.parse(share.userData.toString()) as readonly TopicPartition[];
    const partitions = Object.entries(share.assignment).flatMap(([topic, of]) => of.map((partition) => ({ topic, partition })));
    return { partitions, standbys };
  }

  heartbeat(memberId: string, generation: number): Promise<void> {
    return this.#ask('heartbeat', (broker) => broker.heartbeat({ groupId: this.#groupId, groupGenerationId: generation, memberId }));
  }

  commit(memberId: string, generation: number, offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void> {
    if (offsets.length === 0) return Promise.resolve();
    return this.#cluster.persist(`group ${this.#groupId}: commit`, () =>
      this.#cluster.atCoordinator('group', this.#groupId, (broker) =>
        broker.offsetCommit({ groupId: this.#groupId, groupGenerationId: generation, memberId, topics: byTopic(offsets) }),
      ),
    );
  }

  async leave(memberId: string): Promise<void> {
    // the broker answers one request of a connection after the other, and holds the answer to a join: hang up to be heard
    if (this.#joining) this.#cluster.drop(this.#joining);
    await this.#ask('leave', (broker) => broker.leaveGroup({ groupId: this.#groupId, memberId }));
  }

  async partitionCounts(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    await this.#cluster.refresh(topics);
    return new Map(topics.map((topic) => [topic, this.#cluster.known(topic)?.leaders.length ?? 0]));
  }

  refusalOf(thrown: unknown): GroupRefusal | undefined {
    const code = codeOf(thrown) ?? (thrown instanceof SpoolError ? codeOf(thrown.cause) : undefined);
    if (code === Code.REBALANCE_IN_PROGRESS) return 'rebalancing';
    if (code === Code.UNKNOWN_MEMBER_ID || code === Code.FENCED_INSTANCE_ID) return 'unknown-member';
    if (code === Code.ILLEGAL_GENERATION) return 'passed-generation';
    return code === undefined || isTransientCode(code) ? undefined : 'final';
  }

  close(): Promise<void> {
    return this.#cluster.close();
  }

  async #ask<T>(step: string, ask: (broker: Broker) => Promise<T>): Promise<T> {
    try {
      return await this.#cluster.atCoordinator('group', this.#groupId, ask);
    } catch (thrown) {
      throw kafkaError(thrown, `group ${this.#groupId}: ${step}`);
    }
  }
}
