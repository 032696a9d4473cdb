import { offset, type ConsumedRecord } from '../kafka/port.js';
import { inOrderOfTime } from './order.js';

const records = (topic: string, ...times: number[]): ConsumedRecord[] =>
  times.map((timestamp, n) => ({ topic, partition: 0, offset: offset(n), key: null, value: null, headers: {}, timestamp }));
const shown = (of: readonly ConsumedRecord[]): string[] => of.map(({ topic, timestamp }) => `${topic}${timestamp}`);

it('the records of several topics go in order of time, and each topic keeps its own order', () => {
  const mixed = [...records('a', 5, 1, 9), ...records('b', 2, 6), ...records('c', 5)];
  expect(shown(inOrderOfTime(mixed))).toEqual(['b2', 'a5', 'a1', 'c5', 'b6', 'a9']);
  const one = records('a', 5, 1);
  expect(inOrderOfTime(one)).toBe(one);
});
