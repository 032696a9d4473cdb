import { SpoolError } from '@spool/schemas';
import { noShare, type Share } from '../assignor.js';
import type { GroupRefusal } from '../membership.js';
import type { CommittedOffset, RecordPosition } from '../port.js';

export type Joined = { generation: number; members: readonly { memberId: string; metadata: Buffer }[] | undefined };
interface Member {
  metadata: Buffer;
  joining: { resolve: (joined: Joined) => void; reject: (error: Error) => void } | undefined;
  syncing: { resolve: (share: Share) => void; reject: (error: Error) => void } | undefined;
}

export class Refused extends Error {
  constructor(readonly refusal: GroupRefusal) {
    super(refusal);
  }
}

/** What a broker keeps of one group: members, generation, offsets. */
export class MemoryGroup {
  readonly #members = new Map<string, Member>();
  readonly offsets = new Map<string, CommittedOffset>();
  #generation = 0;
  #rebalancing = false;
  #deadline: NodeJS.Timeout | undefined;
  #shares: ReadonlyMap<string, Share> | undefined;

  get inUse(): boolean {
    return this.#members.size > 0 || this.offsets.size > 0;
  }
  get empty(): boolean {
    return this.#members.size === 0;
  }

  join(memberId: string, metadata: Buffer, rebalanceTimeoutMs: number): Promise<Joined> {
    return new Promise((resolve, reject) => {
      this.#members.set(memberId, { metadata, joining: { resolve, reject }, syncing: undefined });
      this.#rebalance();
      this.#deadline ??= setTimeout(() => {
        for (const [late, member] of this.#members) if (!member.joining) this.#members.delete(late);
        this.#complete();
      }, rebalanceTimeoutMs);
      this.#complete();
    });
  }

  sync(memberId: string, generation: number, shares: ReadonlyMap<string, Share>): Promise<Share> {
    const member = this.#check(memberId, generation);
    if (this.#rebalancing) throw new Refused('rebalancing');
    return new Promise((resolve, reject) => {
      member.syncing = { resolve, reject };
      if (shares.size > 0) this.#shares = shares;
      if (this.#shares) for (const [id, waiting] of this.#members) waiting.syncing?.resolve(this.#shares.get(id) ?? noShare);
    });
  }

  heartbeat(memberId: string, generation: number): void {
    this.#check(memberId, generation);
    if (this.#rebalancing) throw new Refused('rebalancing');
  }

  commit(memberId: string, generation: number, offsets: readonly CommittedOffset[]): void {
    this.#check(memberId, generation);
    this.#keep(offsets);
  }

  /** Without a member: allowed while nobody is in the group. */
  commitOutside(offsets: readonly CommittedOffset[]): void {
    if (!this.empty) throw new SpoolError('KAFKA_REFUSED', 'the group has members; its offsets are theirs');
    this.#keep(offsets);
  }

  remove(memberId: string): void {
    const member = this.#members.get(memberId);
    if (!member) return;
    this.#members.delete(memberId);
    member.joining?.reject(new Refused('unknown-member'));
    member.syncing?.reject(new Refused('unknown-member'));
    if (this.#members.size > 0) this.#rebalance();
    this.#complete();
  }

  #keep(offsets: readonly CommittedOffset[]): void {
    for (const at of offsets) this.offsets.set(`${at.topic}-${at.partition}`, at);
  }

  #check(memberId: string, generation: number): Member {
    const member = this.#members.get(memberId);
    if (!member) throw new Refused('unknown-member');
    if (generation !== this.#generation) throw new Refused('passed-generation');
    return member;
  }

  #rebalance(): void {
    this.#rebalancing = true;
    for (const member of this.#members.values()) {
      member.syncing?.reject(new Refused('rebalancing'));
      member.syncing = undefined;
    }
  }

  #complete(): void {
    if (!this.#rebalancing || [...this.#members.values()].some(({ joining }) => !joining)) return;
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#rebalancing = false;
    this.#shares = undefined;
    this.#generation++;
    const members = [...this.#members].map(([memberId, { metadata }]) => ({ memberId, metadata }));
    members.forEach(({ memberId }, index) => {
      const member = this.#members.get(memberId)!;
      member.joining?.resolve({ generation: this.#generation, members: index === 0 ? members : undefined });
      member.joining = undefined;
    });
  }
}

export const withMetadata = (at: RecordPosition & { readonly metadata?: string }): CommittedOffset => ({
  ...at,
  metadata: at.metadata ?? '',
});
