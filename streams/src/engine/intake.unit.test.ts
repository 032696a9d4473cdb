import { offset, type ConsumedRecord, type Reader, type Slice, type TopicPartition } from '../kafka/port.js';
import { inOrderOfTime } from './buffers.js';
import { Intakes } from './intake.js';

const at = (topic: string): TopicPartition => ({ topic, partition: 0 });
/** Of a log that ends at `end`: what stands from `from` on, with these timestamps, and then `markers` that are no records. */
function slice(
  topic: string,
  from: number,
  times: readonly number[],
  { end, markers = 0 }: { end?: number; markers?: number } = {},
): Slice {
  const records = times.map((timestamp, n): ConsumedRecord => {
    return { ...at(topic), offset: offset(from + n), key: null, value: null, headers: {}, timestamp };
  });
  const next = from + times.length + markers;
  const last = offset(end ?? next);
  return { ...at(topic), fromOffset: offset(from), records, nextOffset: offset(next), highWatermark: last, lastStableOffset: last };
}
const shown = (of: readonly ConsumedRecord[]): string => of.map(({ topic, timestamp }) => `${topic}${timestamp}`).join(' ');

/** A reader that notes what it is held back from. */
function noted(): { readonly reader: Reader; readonly held: Set<string> } {
  const held = new Set<string>();
  const reader: Partial<Reader> = {
    assign: () => undefined,
    pause: ({ topic }) => void held.add(topic),
    resume: ({ topic }) => void held.delete(topic),
  };
  return { reader: reader as Reader, held };
}
function open(topics: readonly string[], order: 'arrival' | 'time', maxBufferedRecords = 100) {
  const { reader, held } = noted();
  const intake = new Intakes(topics.map(at), { reader, maxBufferedRecords, order, classOf: () => 0 });
  intake.open(new Map(topics.map((topic) => [`${topic}-0`, offset(0)])), 'earliest');
  const take = (limit = 100): string | undefined => (intake.ready ? shown(intake.take(limit, () => 100)!.records) : undefined);
  return { intake, held, take };
}

describe('an intake in order of time', () => {
  it('gives the earliest of the next records, and keeps the order of each partition', () => {
    const { intake, take } = open(['a', 'b', 'c'], 'time');
    for (const each of [slice('a', 0, [5, 1, 9]), slice('b', 0, [2, 6]), slice('c', 0, [5])]) intake.offer(each);
    expect([take(4), take()]).toEqual(['b2 a5 a1 c5', 'b6 a9']);
  });

  it('waits for a partition of which nothing has come yet, and for one of which there is more to come', () => {
    const { intake, take } = open(['a', 'b'], 'time');
    intake.offer(slice('a', 0, [5, 9]));
    expect([take(), intake.holdsBack]).toEqual([undefined, true]);
    intake.offer(slice('b', 0, [1, 7], { end: 3 }));
    // Whether b has something before 9 is not known after its 7.
    expect([take(), take(), intake.holdsBack]).toEqual(['b1 a5 b7', undefined, true]);
    intake.offer(slice('b', 2, [8]));
    expect([take(), take(), intake.holdsBack]).toEqual(['b8 a9', undefined, false]);
  });

  it('does not wait for a partition that is at its end, markers behind its last record or not', () => {
    const { intake, take } = open(['a', 'b'], 'time');
    intake.offer(slice('a', 0, [5]));
    intake.offer(slice('b', 0, [], { markers: 2 }));
    expect(intake.ready).toBe(true);
    const group = intake.take(100, () => 100)!;
    expect([shown(group.records), Object.fromEntries(group.positions)]).toEqual(['a5', { 'a-0': 1n, 'b-0': 2n }]);
    intake.offer(slice('a', 1, [6]));
    expect(take()).toBe('a6');
  });

  it('gives the next offset of each partition, inside a slice as well', () => {
    const { intake } = open(['a', 'b'], 'time');
    intake.offer(slice('a', 0, [1, 4], { markers: 1 }));
    intake.offer(slice('b', 0, [2, 3]));
    const positions = (limit: number) => Object.fromEntries(intake.take(limit, () => 100)!.positions);
    expect([positions(1), positions(2), positions(5)]).toEqual([{ 'a-0': 1n }, { 'b-0': 2n }, { 'a-0': 3n }]);
  });

  it('holds the reader from a partition that is full, and not from the one that is waited for', () => {
    const { intake, held, take } = open(['a', 'b'], 'time', 4);
    intake.offer(slice('a', 0, [1, 2, 3]));
    expect([[...held], take()]).toEqual([['a'], undefined]);
    intake.offer(slice('b', 0, [9]));
    expect([take(), [...held]]).toEqual(['a1 a2 a3 b9', []]);
  });

  it('begins anew where it is moved to', () => {
    const { intake, take } = open(['a', 'b'], 'time');
    intake.offer(slice('a', 0, [5]));
    intake.offer(slice('b', 0, [1, 2], { end: 2 }));
    intake.moveTo(new Map([['b-0', offset(1)]]));
    intake.offer(slice('a', 0, [5]));
    expect(take()).toBeUndefined();
    intake.offer(slice('b', 1, [2]));
    expect(take()).toBe('b2 a5');
  });

  it('goes on without a partition of which nothing can be read, after a while', async () => {
    const buffer = inOrderOfTime({ keys: ['a-0', 'b-0'], maxRecords: 10, lags: (key) => key === 'b-0', patienceMs: 20 });
    buffer.push(slice('a', 0, [1]));
    const held = [buffer.ready(), buffer.holdsBack];
    const deadline = performance.now() + 5000;
    while (!buffer.ready() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    expect([held, shown(buffer.take(10).records), buffer.holdsBack]).toEqual([[false, true], 'a1', false]);
  });
});

it('an intake in order of arrival gives what has come, whatever is to come', () => {
  const { intake, take } = open(['a', 'b'], 'arrival');
  intake.offer(slice('a', 0, [5, 9]));
  expect(take(1)).toBe('a5');
  intake.offer(slice('b', 0, [1]));
  expect(take()).toBe('a9 b1');
});
