import fc from 'fast-check';
import { assignPartitions, type GroupMember, type Share } from './assignor.js';

const member = (memberId: string, rest: Partial<GroupMember> = {}): GroupMember => ({
  memberId,
  topics: ['cmd', 'evt'],
  owned: [],
  generation: -1,
  standbys: 0,
  warm: [],
  ...rest,
});
const counts = (partitions: number) =>
  new Map([
    ['cmd', partitions],
    ['evt', partitions],
  ]);
const indexes = (share: Share, topic = 'cmd', of: keyof Share = 'partitions') =>
  share[of].filter((p) => p.topic === topic).map((p) => p.partition);
const owning = (topics: readonly string[], ...partitions: readonly number[]) =>
  topics.flatMap((topic) => partitions.map((partition) => ({ topic, partition })));

describe('assignPartitions', () => {
  it('gives each partition of each topic to one member, evenly, and equal numbers to the same member', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 8 }), fc.integer({ min: 0, max: 30 }), (ids, partitions) => {
        const assigned = assignPartitions(
          ids.map((id) => member(id)),
          counts(partitions),
        );
        const shares = [...assigned.values()];
        expect(shares.flatMap((share) => indexes(share)).sort((a, b) => a - b)).toEqual(Array.from({ length: partitions }, (_, i) => i));
        for (const share of shares) expect(indexes(share, 'evt')).toEqual(indexes(share));
        const sizes = shares.map((share) => indexes(share).length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('does not depend on the order of the members', () => {
    const members = ['a', 'b', 'c'].map((id) => member(id));
    expect(assignPartitions([...members].reverse(), counts(7))).toEqual(assignPartitions(members, counts(7)));
  });

  it('moves no more than a join or a leave needs', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 24 }), fc.boolean(), (size, partitions, joins) => {
        const before = Array.from({ length: size }, (_, i) => member(`m${i}`));
        const first = assignPartitions(before, counts(partitions));
        const stayed = before
          .slice(0, joins ? size : Math.max(1, size - 1))
          .map((m) => ({ ...m, owned: first.get(m.memberId)!.partitions, generation: 1 }));
        const after = joins ? [...stayed, member('new')] : stayed;
        const second = assignPartitions(after, counts(partitions));
        const held = (m: GroupMember) => indexes({ partitions: m.owned, standbys: [] });
        const kept = stayed.reduce((sum, m) => sum + indexes(second.get(m.memberId)!).filter((i) => held(m).includes(i)).length, 0);
        // who stays keeps what it held, up to its new share
        const share = Math.floor(partitions / after.length);
        const larger = partitions % after.length;
        const sizes = stayed.map((m) => held(m).length).sort((a, b) => b - a);
        const least = sizes.reduce((sum, count, i) => sum + Math.min(count, share + (i < larger ? 1 : 0)), 0);
        expect(kept).toBeGreaterThanOrEqual(least);
      }),
    );
  });

  it('believes the later generation when two members say that they hold a partition', () => {
    const zombie = member('a', { owned: owning(['cmd', 'evt'], 0), generation: 4 });
    const owner = member('b', { owned: owning(['cmd', 'evt'], 0), generation: 7 });
    expect(indexes(assignPartitions([zombie, owner], counts(2)).get('b')!)).toEqual([0]);
  });

  it('gives a topic only to members that subscribe to it, while a new version rolls out', () => {
    const old = member('old', { topics: ['cmd'] });
    const recent = member('recent', { topics: ['cmd', 'added'] });
    const assigned = assignPartitions(
      [old, recent],
      new Map([
        ['cmd', 4],
        ['added', 2],
      ]),
    );
    expect(indexes(assigned.get('old')!)).toHaveLength(2);
    expect(indexes(assigned.get('recent')!)).toHaveLength(2);
    expect(indexes(assigned.get('recent')!, 'added')).toEqual([0, 1]);
  });

  it('gives what has to move to whoever has its state, and takes what is warm elsewhere from who has too much', () => {
    const first = member('a', { owned: owning(['cmd', 'evt'], 0, 1, 2, 3), generation: 3 });
    const back = member('b', { warm: owning(['cmd', 'evt'], 0, 3) });
    expect(indexes(assignPartitions([first, back], counts(4)).get('b')!)).toEqual([0, 3]);
    const survivor = member('c', { warm: owning(['cmd', 'evt'], 1) });
    expect(indexes(assignPartitions([survivor, member('d')], counts(2)).get('c')!)).toEqual([1]);
  });

  it('gives as many warm copies as are wanted to other members, evenly, first to those that have one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 12 }), fc.nat(3), (size, partitions, standbys) => {
        const members = Array.from({ length: size }, (_, i) => member(`m${i}`, { standbys }));
        const assigned = assignPartitions(members, counts(partitions));
        for (const share of assigned.values()) {
          const [owned, copies] = [indexes(share), indexes(share, 'cmd', 'standbys')];
          expect(copies.filter((index) => owned.includes(index))).toEqual([]);
          expect(indexes(share, 'evt', 'standbys')).toEqual(copies);
        }
        const all = [...assigned.values()].map((share) => indexes(share, 'cmd', 'standbys'));
        expect(all.flat()).toHaveLength(partitions * Math.min(standbys, size - 1));
        const again = members.map((m) => ({
          ...m,
          owned: assigned.get(m.memberId)!.partitions,
          warm: assigned.get(m.memberId)!.standbys,
          generation: 1,
        }));
        expect(assignPartitions(again, counts(partitions))).toEqual(assigned);
      }),
    );
  });

  it('leaves members over when there are more of them than partitions, and topics that do not exist', () => {
    const assigned = assignPartitions([member('a'), member('b'), member('c')], new Map([['cmd', 2]]));
    expect([...assigned.values()].map((share) => share.partitions.length)).toEqual([1, 1, 0]);
  });
});
