import { SpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord } from '@spool/streams';
import { fromMetadata, maxBad, toMetadata, tokenOf } from './block-range.js';
import { cutBlocks, type Block } from './block.js';
import type { RowShape } from './rows.js';

const partition = { topic: 't', partition: 2 };
const record = (at: number, value = 'good'): ConsumedRecord => ({
  ...partition,
  offset: offset(at),
  key: null,
  value: Buffer.from(value),
  headers: {},
  timestamp: 1000 + at,
});
const records = (from: number, to: number, bad: (at: number) => boolean = () => false): ConsumedRecord[] =>
  Array.from({ length: to - from }, (_, index) => record(from + index, bad(from + index) ? 'bad' : 'good'));
const shape: RowShape = {
  table: 'rows',
  place: ['topic', 'partition', 'offset'],
  columns: ['offset'],
  write({ offset: at, value }, row) {
    row.int64(at);
    if (value?.toString() === 'bad') throw new SpoolError('RECORD_UNREADABLE', `${at} is bad`);
    if (value?.toString() === 'later') throw new SpoolError('UNAVAILABLE', 'no registry');
  },
};
const offsetsOf = (block: Block): number[] => {
  const { rows, count } = block.inserts.find(({ table }) => table === 'rows') ?? { rows: Buffer.alloc(0), count: 0 };
  // The cells of the only column end the block.
  return Array.from({ length: count }, (_, index) => Number(rows.readBigInt64LE(rows.length - 8 * (count - index))));
};
const cut = (from: number, to: number, given: readonly ConsumedRecord[], more: object = {}, bounds = {}): Promise<readonly Block[]> =>
  cutBlocks({ partition, shape, records: given, from: offset(from), to: offset(to), ...more }, bounds);

describe('blocks of a partition', () => {
  it('cover all offsets that were read, holes too, without a gap', async () => {
    const blocks = await cut(10, 40, [...records(12, 20), ...records(30, 36)], {}, { maxRows: 5 });
    expect(blocks.map(({ range }) => [range.first, range.last])).toEqual([
      [10n, 16n],
      [17n, 31n],
      [32n, 39n],
    ]);
    expect(blocks.flatMap(offsetsOf)).toEqual([...records(12, 20), ...records(30, 36)].map((each) => Number(each.offset)));
  });

  it('are bounded in bytes, though a record larger than the bound still goes', async () => {
    const blocks = await cut(0, 3, [record(0, 'x'.repeat(100)), record(1), record(2)], {}, { maxBytes: 8 });
    expect(blocks.map(({ range }) => [range.first, range.last])).toEqual([
      [0n, 0n],
      [1n, 2n],
    ]);
  });

  it('send what cannot be read to the quarantine under the same token, and keep its half-written row out', async () => {
    const [block] = await cut(
      0,
      10,
      records(0, 10, (at) => at === 3),
    );
    expect(block!.range.bad).toEqual([3n]);
    expect(block!.inserts.map(({ table, count, token }) => [table, count, token])).toEqual([
      ['quarantine', 1, 't:2:0-9@1000'],
      ['rows', 9, 't:2:0-9@1000'],
    ]);
    expect(offsetsOf(block!)).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9]);
  });

  it('end early when there are more bad records than their metadata can hold', async () => {
    const blocks = await cut(
      0,
      600,
      records(0, 600, () => true),
    );
    expect(blocks.map(({ range }) => range.bad.length)).toEqual([maxBad, maxBad, 600 - 2 * maxBad]);
    for (const { range } of blocks) expect(toMetadata(range).length).toBeLessThan(4096);
  });

  it('are not cut while a record cannot be read at present', async () => {
    await expect(cut(0, 2, [record(0), record(1, 'later')])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('come out the same when repeated, though the bounds differ and what was bad can be read by now', async () => {
    const [first] = await cut(
      100,
      150,
      records(100, 150, (at) => at === 120),
    );
    const repeat = fromMetadata(offset(100), toMetadata(first!.range))!;
    expect(repeat).toEqual(first!.range);
    const [again, next] = await cut(100, 200, records(100, 200), { repeat }, { maxRows: 60 });
    expect(again!.inserts.map(({ token, count }) => [token, count])).toEqual(first!.inserts.map(({ token, count }) => [token, count]));
    expect(offsetsOf(again!)).toEqual(offsetsOf(first!));
    expect([next!.range.first, next!.range.last]).toEqual([150n, 199n]);
  });

  it('give none for a stretch without records', async () => {
    expect(await cut(5, 9, [])).toEqual([]);
  });
});

describe('the range of a block', () => {
  it('is told from anything else that stands in the metadata of an offset', () => {
    for (const text of ['', 'null', '[]', '{}', 'reset by hand', '{"last":-1,"at":1,"bad":[]}', '{"last":1,"at":1,"bad":["x"]}']) {
      expect(fromMetadata(offset(1), text)).toBeUndefined();
    }
  });

  it('has a token of its own when the topic was made again', () => {
    const range = { first: offset(0), last: offset(9), at: 1, bad: [] };
    expect(tokenOf(partition, range)).not.toBe(tokenOf(partition, { ...range, at: 2 }));
  });
});
