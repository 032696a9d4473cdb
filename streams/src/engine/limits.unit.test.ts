import { offset, type ConsumedRecord, type Offset } from '../kafka/port.js';
import { Limits } from './limits.js';

const at = (partition: number, n: number): ConsumedRecord => ({ topic: 't', partition, offset: offset(n) }) as ConsumedRecord;
const map = (entries: Readonly<Record<string, number>>): Map<string, Offset> =>
  new Map(Object.entries(entries).map(([key, n]) => [key, offset(n)]));
/** A task that stands at 5 in both partitions. */
function standing() {
  const still = new Set<string>();
  const limits = new Limits({
    take: () => group,
    position: () => offset(5),
    still: (key) => void still.add(key),
    release: (key) => void still.delete(key),
  });
  return { limits, still };
}
const group = { records: [at(0, 5), at(1, 5), at(0, 6), at(0, 8)], positions: map({ 't-0': 10, 't-1': 6 }) };

describe('the limits of a task', () => {
  it('let all pass where there are none', () => {
    const { limits, still } = standing();
    expect([limits.within(group), still.size]).toEqual([group, 0]);
  });

  it('cut a group where a partition comes to its limit, and keep that partition still until they change', () => {
    const { limits, still } = standing();
    limits.set(map({ 't-0': 7, 't-1': 6 }));
    expect(limits.within(group)).toEqual({ records: [at(0, 5), at(1, 5), at(0, 6)], positions: map({ 't-0': 7, 't-1': 6 }) });
    expect([...still]).toEqual(['t-0']);
    limits.set(undefined);
    // What was cut may be under way.
    expect([...still]).toEqual(['t-0']);
    limits.release();
    expect([limits.within(group), still.size]).toEqual([group, 0]);
  });

  it('leave a partition where it is that is beyond its own', () => {
    const { limits, still } = standing();
    limits.set(map({ 't-0': 3, 't-1': 3 }));
    expect([limits.within(group), [...still]]).toEqual([undefined, ['t-0', 't-1']]);
  });
});
