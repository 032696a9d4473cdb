import type { TopicPartition } from './port.js';

/** A member as the leader of the group sees it. */
export interface GroupMember {
  readonly memberId: string;
  readonly topics: readonly string[];
  /** What it held in `generation`, the last one that it was part of; -1 when it is new. */
  readonly owned: readonly TopicPartition[];
  readonly generation: number;
}

/**
 * Shares out partitions: partition i of all topics goes to one member (what is joined by key stays together), the members' shares differ by
 * one at most, and as little as possible moves. Deterministic: the order of the members does not matter.
 */
export function assignPartitions(
  members: readonly GroupMember[],
  partitionCounts: ReadonlyMap<string, number>,
): ReadonlyMap<string, readonly TopicPartition[]> {
  const ordered = [...members].sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
  const assigned = new Map<string, TopicPartition[]>(ordered.map(({ memberId }) => [memberId, []]));
  for (const { topics, subscribers } of coPartitioned(ordered)) {
    const counts = topics.map((topic) => partitionCounts.get(topic) ?? 0);
    const owners = shareOut(subscribers, topics, Math.max(0, ...counts));
    for (const [index, memberId] of owners.entries())
      topics.forEach((topic, t) => {
        if (index < counts[t]!) assigned.get(memberId)!.push({ topic, partition: index });
      });
  }
  return assigned;
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
function shareOut(members: readonly GroupMember[], topics: readonly string[], indexes: number): readonly string[] {
  const owners = new Array<string | undefined>(indexes).fill(undefined);
  // 1. who held an index last; of two that say so, the later generation is right
  const held = new Map<string, number[]>(members.map(({ memberId }) => [memberId, []]));
  const latest = new Map<number, GroupMember>();
  for (const member of members)
    for (const { topic, partition } of member.owned)
      if (topics.includes(topic) && partition < indexes && member.generation > (latest.get(partition)?.generation ?? -1))
        latest.set(partition, member);
  for (const [index, { memberId }] of [...latest].sort(([a], [b]) => a - b)) held.get(memberId)!.push(index);
  // 2. each keeps what it held up to its share; the larger shares go to those that held most
  const share = Math.floor(indexes / members.length);
  let larger = indexes % members.length;
  const room = new Map<string, number>();
  for (const { memberId } of [...members].sort((a, b) => held.get(b.memberId)!.length - held.get(a.memberId)!.length)) {
    const size = share + (larger-- > 0 ? 1 : 0);
    const kept = held.get(memberId)!.slice(0, size);
    for (const index of kept) owners[index] = memberId;
    room.set(memberId, size - kept.length);
  }
  // 3. the rest goes where there is room
  const free = members.flatMap(({ memberId }) => new Array<string>(room.get(memberId)!).fill(memberId));
  let next = 0;
  return owners.map((owner) => owner ?? free[next++]!);
}
