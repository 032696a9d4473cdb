import { offset, type Reader, type Slice } from '@spool/streams';
import { previewOf } from './preview.js';

const topic = 'evt.Counter';
const plan = [0, 1].map((partition) => ({ topic, partition, start: offset(0), target: offset(100) }));
/** Each record is followed by a marker. */
const slice = (partition: number, from: number, records: number): Slice => ({
  ...{ topic, partition, fromOffset: offset(from), nextOffset: offset(from + 2 * records) },
  ...{ highWatermark: offset(100), lastStableOffset: offset(100) },
  records: Array.from({ length: records }, (_, n) => ({
    ...{ topic, partition, offset: offset(from + 2 * n), timestamp: 0, key: null, value: null },
    headers: { ce_type: Buffer.from(n % 5 === 0 ? 'Opened' : 'Added') },
  })),
});
/** Answers a fetch after the other. */
function reading(answers: readonly (readonly Slice[])[]): {
  readonly kafka: Parameters<typeof previewOf>[0]['kafka'];
  readonly now: () => number;
} {
  let fetched = 0;
  const reader = Object.create(null) as Reader;
  const fake = Object.assign(reader, {
    ...{ assign: () => undefined, unassign: () => undefined, [Symbol.asyncDispose]: () => Promise.resolve() },
    fetch: () => Promise.resolve(answers[fetched++] ?? []),
  });
  return { kafka: { reader: () => Promise.resolve(fake) }, now: () => fetched * 1000 };
}

describe('the preview of a replay', () => {
  it('is exact when all was read, markers or not', async () => {
    const preview = await previewOf({ ...reading([[slice(0, 0, 50)], [slice(1, 0, 50)]]), plan, offsetsPerSecond: 50, rate: undefined });
    const types = [
      { type: 'Added', records: 80 },
      { type: 'Opened', records: 20 },
    ];
    expect(preview).toEqual({ exact: true, records: 100, types, read: 100, seconds: 4 });
  });

  it('stops at its limits and lets what was read stand for the rest', async () => {
    const answers = [[slice(0, 0, 10)], [slice(1, 0, 10)], [slice(0, 20, 10)], [slice(0, 40, 30), slice(1, 20, 40)]];
    const types = [
      { type: 'Added', records: 80 },
      { type: 'Opened', records: 20 },
    ];
    const expected = { exact: false, records: 100, types, read: 20, seconds: 10 };
    const asked = { plan, offsetsPerSecond: 50, rate: 10 };
    expect(await previewOf({ ...reading(answers), ...asked, limits: { records: 15 } })).toEqual(expected);
    expect(await previewOf({ ...reading(answers), ...asked, limits: { forMs: 2000 } })).toEqual(expected);
  });

  it('gives the most that it can be when nothing came in time', async () => {
    const preview = await previewOf({ ...reading([]), plan, offsetsPerSecond: undefined, rate: undefined });
    expect(preview).toEqual({ exact: false, records: 200, types: [], read: 0, seconds: null });
  });
});
