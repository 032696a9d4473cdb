import type { TopicPartition } from './port.js';

/** A member as the leader of the group sees it. */
export interface GroupMember {
  readonly memberId: string;
  readonly topics: readonly string[];
  /** What it held in `generation`, the last one that it was part of; -1 when it is new. */
  readonly owned: readonly TopicPartition[];
  readonly generation: number;
  /** How many other members it wants to keep a warm copy of each partition's state. */
  readonly standbys: number;
  /** Its state is on this member's machine. */
  readonly warm: readonly TopicPartition[];
}

/** What one member gets. */
export interface Share {
  readonly partitions: readonly TopicPartition[];
  readonly standbys: readonly TopicPartition[];
}
export const noShare: Share = { partitions: [], standbys: [] };

/**
 * Shares out partitions: partition i of all topics goes to one member (what is joined by key stays together), the members' shares differ by
 * one at most, as little as possible moves, and what has to move goes where its state is. Warm copies go to other members, again to those that
 * have them. Deterministic: the order of the members does not matter.
 */
export function assignPartitions(
  members: readonly GroupMember[],
  partitionCounts: ReadonlyMap<string, number>,
): ReadonlyMap<string, Share> {
  const ordered = [...members].sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
  const assigned = new Map(
    ordered.map(({ memberId }) => [memberId, { partitions: [] as TopicPartition[], standbys: [] as TopicPartition[] }]),
  );
  for (const { topics, subscribers } of coPartitioned(ordered)) {
    const counts = topics.map((topic) => partitionCounts.get(topic) ?? 0);
    const warmth = new Warmth(subscribers, topics);
    const owners = shareOut(subscribers, topics, Math.max(0, ...counts), warmth);
    const copies = shareOutCopies(subscribers, owners, warmth);
    const give = (index: number, memberId: string, of: keyof Share): void =>
      topics.forEach((topic, t) => {
        if (index < counts[t]!) assigned.get(memberId)![of].push({ topic, partition: index });
      });
    for (const [index, owner] of owners.entries()) {
      give(index, owner, 'partitions');
      for (const memberId of copies[index]!) give(index, memberId, 'standbys');
    }
  }
  return assigned;
}

/** Who has the state of which index on its machine. */
class Warmth {
  readonly #warm: ReadonlyMap<string, ReadonlySet<number>>;
  constructor(members: readonly GroupMember[], topics: readonly string[]) {
    const of = ({ warm }: GroupMember) => new Set(warm.filter(({ topic }) => topics.includes(topic)).map(({ partition }) => partition));
    this.#warm = new Map(members.map((member) => [member.memberId, of(member)]));
  }
  has(memberId: string, index: number): boolean {
    return this.#warm.get(memberId)!.has(index);
  }
  elsewhere(memberId: string, index: number): boolean {
    return [...this.#warm].some(([other, warm]) => other !== memberId && warm.has(index));
  }
}

/** Topics with the same subscribers go together; in the normal case that is all of them. They differ while a new version rolls out. */
function coPartitioned(members: readonly GroupMember[]): readonly { topics: string[]; subscribers: readonly GroupMember[] }[] {
  const classes = new Map<string, { topics: string[]; subscribers: readonly GroupMember[] }>();
  for (const topic of [...new Set(members.flatMap(({ topics }) => topics))].sort()) {
    const subscribers = members.filter(({ topics }) => topics.includes(topic));
    const id = JSON.stringify(subscribers.map(({ memberId }) => memberId));
    const known = classes.get(id);
    if (known) known.topics.push(topic);
    else classes.set(id, { topics: [topic], subscribers });
  }
  return [...classes.values()];
}

/** The owner of each index. */
function shareOut(members: readonly GroupMember[], topics: readonly string[], indexes: number, warmth: Warmth): readonly string[] {
  const owners = new Array<string | undefined>(indexes).fill(undefined);
  // 1. who held an index last; of two that say so, the later generation is right
  const held = new Map<string, number[]>(members.map(({ memberId }) => [memberId, []]));
  const latest = new Map<number, GroupMember>();
  for (const member of members)
    for (const { topic, partition } of member.owned)
      if (topics.includes(topic) && partition < indexes && member.generation > (latest.get(partition)?.generation ?? -1))
        latest.set(partition, member);
  for (const [index, { memberId }] of [...latest].sort(([a], [b]) => a - b)) held.get(memberId)!.push(index);
  // 2. each keeps what it held up to its share, last what is warm elsewhere; the larger shares go to those that held most
  const share = Math.floor(indexes / members.length);
  let larger = indexes % members.length;
  const room = new Map<string, number>();
  for (const { memberId } of [...members].sort((a, b) => held.get(b.memberId)!.length - held.get(a.memberId)!.length)) {
    const size = share + (larger-- > 0 ? 1 : 0);
    const warmElsewhere = (index: number): number => Number(warmth.elsewhere(memberId, index));
    const kept = held
      .get(memberId)!
      .toSorted((a, b) => warmElsewhere(a) - warmElsewhere(b) || a - b)
      .slice(0, size);
    for (const index of kept) owners[index] = memberId;
    room.set(memberId, size - kept.length);
  }
  // 3. the rest goes where it is warm, and then where there is room
  const take = (index: number, takes: (memberId: string) => boolean): void => {
    const owner = owners[index] ?? members.find(({ memberId }) => room.get(memberId)! > 0 && takes(memberId))?.memberId;
    if (owner === undefined || owners[index] !== undefined) return;
    owners[index] = owner;
    room.set(owner, room.get(owner)! - 1);
  };
  for (let index = 0; index < indexes; index++) take(index, (memberId) => warmth.has(memberId, index));
  for (let index = 0; index < indexes; index++) take(index, () => true);
  return owners.map((owner) => owner!);
}

/** The members that keep a copy of each index: not its owner, those that have one first, then those with the fewest. */
function shareOutCopies(members: readonly GroupMember[], owners: readonly string[], warmth: Warmth): readonly (readonly string[])[] {
  const copies = Math.min(members.length - 1, Math.max(0, ...members.map(({ standbys }) => standbys)));
  const load = new Map(members.map(({ memberId }) => [memberId, 0]));
  return owners.map((owner, index) => {
    const rank = (memberId: string): number => (warmth.has(memberId, index) ? 0 : 1);
    const chosen = members
      .map(({ memberId }) => memberId)
      .filter((memberId) => memberId !== owner)
      .sort((a, b) => rank(a) - rank(b) || load.get(a)! - load.get(b)!)
      .slice(0, copies);
    for (const memberId of chosen) load.set(memberId, load.get(memberId)! + 1);
    return chosen;
  });
}
