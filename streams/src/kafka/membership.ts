import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { assignPartitions, type GroupMember, type Share } from './assignor.js';
import type { Assignment, Membership, MembershipOptions, RecordPosition, TopicPartition } from './port.js';

/** What a coordinator may answer besides yes. Everything else that is thrown is taken for transient, or for final if `final` says so. */
export type GroupRefusal = 'rebalancing' | 'unknown-member' | 'passed-generation' | 'final';

/** The group protocol of one coordinator; the adapters differ in this alone. */
export interface GroupCoordinator {
  /** A member id to join with. */
  register(metadata: Buffer): Promise<string>;
  /** Waits until all members have joined. Only the leader is told of the members. */
  join(
    memberId: string,
    metadata: Buffer,
  ): Promise<{ generation: number; members: readonly { memberId: string; metadata: Buffer }[] | undefined }>;
  /** Waits until the leader has shared out. */
  sync(memberId: string, generation: number, shares: ReadonlyMap<string, Share>): Promise<Share>;
  heartbeat(memberId: string, generation: number): Promise<void>;
  commit(memberId: string, generation: number, offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void>;
  /** Also ends a join that waits. */
  leave(memberId: string): Promise<void>;
  partitionCounts(topics: readonly string[]): Promise<ReadonlyMap<string, number>>;
  refusalOf(thrown: unknown): GroupRefusal | undefined;
  readonly heartbeatMs: number;
  close(): Promise<void>;
}

export interface MembershipContext {
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Milliseconds before attempt n to join again. */
  readonly backoffMs: (attempt: number) => number;
}

type Ending = 'rebalance' | 'lost' | 'late' | 'failed' | 'closed';
/** Beyond what the others may take, for the first joining to succeed. */
const JOIN_GRACE_MS = 10_000;
const TOPIC_CHECK_MS = 30_000;

/** Joins, holds what it is given until something ends it, and joins again, until it is closed; nothing else ends it. */
export class GroupMembership implements Membership {
  assignment: Assignment | undefined;
  readonly #coordinator: GroupCoordinator;
  readonly #options: MembershipOptions;
  readonly #context: MembershipContext;
  #memberId = '';
  #owned: readonly TopicPartition[] = [];
  #generation = -1;
  #counts: ReadonlyMap<string, number> | undefined;
  #end: ((ending: Ending) => void) | undefined;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #firstJoin: ((failure?: SpoolError) => void) | undefined;

  constructor(coordinator: GroupCoordinator, options: MembershipOptions, context: MembershipContext) {
    this.#coordinator = coordinator;
    this.#options = options;
    this.#context = context;
  }

  /** Resolves when the group has taken this member in; `onAssigned` comes later. @throws SpoolError when it never will. */
  async open(): Promise<this> {
    const joined = new Promise<void>((resolve, reject) => {
      this.#firstJoin = (failure) => {
        this.#firstJoin = undefined;
        if (failure) reject(failure);
        else resolve();
      };
    });
    this.#running = this.#run();
    const patience = this.#context.rebalanceTimeoutMs + this.#context.sessionTimeoutMs + JOIN_GRACE_MS;
    const late = setTimeout(() => {
      this.#firstJoin?.(new SpoolError('KAFKA_UNAVAILABLE', `group ${this.#options.groupId}: not taken in within ${patience} ms`));
    }, patience);
    await joined.finally(() => {
      clearTimeout(late);
    });
    return this;
  }

  async commitOffsets(offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void> {
    const { assignment } = this;
    const group = this.#options.groupId;
    if (!assignment) throw new SpoolError('PRODUCER_FENCED', `group ${group}: not a member at the moment`);
    try {
      await this.#coordinator.commit(assignment.memberId, assignment.generation, offsets);
    } catch (thrown) {
      const refusal = this.#coordinator.refusalOf(thrown);
      if (refusal === undefined || refusal === 'final') throw toSpoolError(thrown);
      throw new SpoolError('PRODUCER_FENCED', `group ${group}: generation ${assignment.generation} has passed`, { cause: thrown });
    }
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort();
      this.#firstJoin?.(new SpoolError('KAFKA_UNAVAILABLE', `group ${this.#options.groupId}: closed`));
      if (this.#end) this.#end('closed');
      else if (this.#memberId !== '') await this.#leave(); // a join may wait for others
    }
    await this.#running;
    await this.#coordinator.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#isClosed();) {
      try {
        const assignment = await this.#join();
        if ((await this.#hold(assignment)) === 'failed') attempt++;
        else attempt = 0;
      } catch (thrown) {
        attempt++;
        this.#joinFailed(thrown);
      }
      if (attempt > 0 && !this.#isClosed())
        await sleep(this.#context.backoffMs(attempt), undefined, { signal: this.#closing.signal }).catch(() => undefined);
    }
    if (this.#memberId !== '') await this.#leave();
  }

  #joinFailed(thrown: unknown): void {
    if (this.#isClosed()) return;
    const refusal = this.#coordinator.refusalOf(thrown);
    if (refusal === 'rebalancing') return;
    if (refusal === 'unknown-member' || refusal === 'passed-generation') {
      this.#memberId = '';
      return;
    }
    const error = toSpoolError(thrown);
    this.#context.log('joining a group failed', { group: this.#options.groupId, error: error.message });
    if (refusal === 'final' || error.code === 'KAFKA_REFUSED') this.#firstJoin?.(error);
  }

  async #join(): Promise<Assignment> {
    const coordinator = this.#coordinator;
    const { topics, standbys = 0, warm } = this.#options;
    const metadata = encodeMember({ topics, owned: this.#owned, generation: this.#generation, standbys, warm: warm?.() ?? [] });
    if (this.#memberId === '') this.#memberId = await coordinator.register(metadata);
    const memberId = this.#memberId;
    const { generation, members } = await coordinator.join(memberId, metadata);
    const shares = members === undefined ? new Map<string, Share>() : await this.#shareOut(members);
    if (members === undefined) this.#counts = undefined;
    const share = await coordinator.sync(memberId, generation, shares);
    this.#firstJoin?.();
    this.#generation = generation;
    this.#owned = share.partitions;
    return { generation, memberId, ...share };
  }

  async #shareOut(joined: readonly { memberId: string; metadata: Buffer }[]): Promise<ReadonlyMap<string, Share>> {
    const members = joined.map(({ memberId, metadata }) => ({ memberId, ...decodeMember(metadata) }));
    this.#counts = await this.#coordinator.partitionCounts([...new Set(members.flatMap(({ topics }) => topics))]);
    return assignPartitions(members, this.#counts);
  }

  /** From an assignment to what ends it. Heartbeats go on until the callbacks are done. */
  async #hold(assignment: Assignment): Promise<Ending> {
    const { onAssigned, onRebalance, onLost } = this.#options;
    const over = new AbortController();
    const ended = new Promise<Ending>((resolve) => {
      this.#end = resolve;
    });
    const stopHeartbeats = this.#startHeartbeats(assignment);
    if (this.#isClosed()) this.#end?.('closed');
    // 1. the member begins its work; `membership()` has resolved by now
    await new Promise((resolve) => setImmediate(resolve));
    this.assignment = assignment;
    const begun = call(() => onAssigned(assignment, over.signal)).catch((thrown: unknown) => {
      this.#context.log('an assignment failed', { group: this.#options.groupId, error: toSpoolError(thrown).message });
      this.#end?.('failed');
    });
    // 2. until something ends it
    let ending = await ended;
    over.abort();
    // 3. the member stops; should the group lose patience meanwhile, the work is others' already
    const lost = new Promise<Ending>((resolve) => {
      this.#end = (later) => {
        if (later === 'lost') resolve(later);
      };
    });
    if (ending !== 'lost') {
      const stopped = begun
        .then(() => call(onRebalance))
        .catch((thrown: unknown) =>
          this.#context.log('stopping for a rebalance failed', { group: this.#options.groupId, error: toSpoolError(thrown).message }),
        );
      ending = await Promise.race([stopped.then(() => ending), lost, this.#patience()]);
    }
    stopHeartbeats();
    this.#end = undefined;
    this.assignment = undefined;
    if (ending === 'late' || ending === 'failed') await this.#leave();
    if (ending === 'lost' || ending === 'late') {
      this.#memberId = '';
      this.#owned = [];
      onLost();
      await Promise.race([begun, this.#patience()]);
    }
    return ending;
  }

  /** The longest that the group waits for this member. */
  async #patience(): Promise<Ending> {
    await sleep(this.#context.rebalanceTimeoutMs, undefined, { ref: false });
    return 'late';
  }

  /** Beats apart from the work. Lost is also who has not reached the coordinator for as long as a session lasts. */
  #startHeartbeats({ memberId, generation }: Assignment): () => void {
    let timer: NodeJS.Timeout;
    let lastAnswer = performance.now();
    let topicsChecked = lastAnswer;
    let stopped = false;
    const watch = setInterval(
      () => {
        if (performance.now() - lastAnswer >= this.#context.sessionTimeoutMs) this.#end?.('lost');
      },
      Math.min(this.#coordinator.heartbeatMs, this.#context.sessionTimeoutMs / 4),
    );
    const beat = async (): Promise<void> => {
      const sent = performance.now();
      try {
        await this.#coordinator.heartbeat(memberId, generation);
        lastAnswer = sent;
        if (sent - topicsChecked > TOPIC_CHECK_MS) {
          topicsChecked = sent;
          if (await this.#topicsChanged()) this.#end?.('rebalance');
        }
      } catch (thrown) {
        const refusal = this.#coordinator.refusalOf(thrown);
        if (refusal === 'rebalancing') {
          lastAnswer = sent;
          this.#end?.('rebalance');
        } else if (refusal !== undefined) this.#end?.('lost');
      }
      if (!stopped) timer = setTimeout(() => void beat(), this.#coordinator.heartbeatMs);
    };
    timer = setTimeout(() => void beat(), this.#coordinator.heartbeatMs);
    return () => {
      stopped = true;
      clearTimeout(timer);
      clearInterval(watch);
    };
  }

  /** Known to the leader alone, who then makes the group share out anew. */
  async #topicsChanged(): Promise<boolean> {
    const known = this.#counts;
    if (!known) return false;
    const now = await this.#coordinator.partitionCounts([...known.keys()]);
    return [...known].some(([topic, count]) => now.get(topic) !== count);
  }

  async #leave(): Promise<void> {
    const memberId = this.#memberId;
    this.#memberId = '';
    this.#owned = [];
    await this.#coordinator.leave(memberId).catch((thrown: unknown) => {
      // the session ends by itself then
      this.#context.log('leaving a group failed', { group: this.#options.groupId, error: toSpoolError(thrown).message });
    });
  }
}

/** What a member tells the leader. */
const encodeMember = (member: Omit<GroupMember, 'memberId'>): Buffer => Buffer.from(JSON.stringify(member));

const strange = { topics: [], owned: [], generation: -1, standbys: 0, warm: [] };
/** A member that cannot be read subscribes to nothing, so that one stranger does not stop the group. */
function decodeMember(metadata: Buffer): Omit<GroupMember, 'memberId'> {
  try {
    return { ...strange, ...(JSON.parse(metadata.toString()) as Partial<GroupMember>) };
  } catch {
    return strange;
  }
}

/** As a promise, also when the callback throws at once. */
const call = async (callback: () => Promise<void>): Promise<void> => {
  await callback();
};
