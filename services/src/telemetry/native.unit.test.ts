import { createBlockWriter, type RowWriter } from './native.js';

/** The block of one column, without its count, name and type. */
const column = (type: string, ...writes: readonly ((row: RowWriter) => void)[]): string => {
  const block = createBlockWriter(['c']);
  for (const write of writes) {
    write(block);
    block.keep();
  }
  const head = Buffer.concat([Buffer.from([1, writes.length, 1]), Buffer.from('c'), Buffer.from([type.length]), Buffer.from(type)]);
  const bytes = block.take();
  expect(bytes.subarray(0, head.length)).toEqual(head);
  return bytes.subarray(head.length).toString('hex');
};

describe('a block in the Native format', () => {
  it('has numbers little endian, also those that need more than 32 bits or are negative', () => {
    expect(column('Int32', (row) => row.int32(-2))).toBe('feffffff');
    expect(column('UInt32', (row) => row.weight(0xffff_fffe))).toBe('feffffff');
    expect(column('UInt32', (row) => row.weight(0))).toBe('01000000');
    expect(column('Int64', (row) => row.int64(1))).toBe('0100000000000000');
    expect(column('Int64', (row) => row.int64(-1))).toBe('ffffffffffffffff');
    const large = [1_700_000_000_123_456, -1_700_000_000_123_456, Number.MAX_SAFE_INTEGER, 0x1_0000_0000];
    for (const value of large) {
      expect(column('Int64', (row) => row.int64(value))).toBe(column('Int64', (row) => row.int64(BigInt(value))));
      expect(column("DateTime64(6, 'UTC')", (row) => row.micros(value))).toBe(column('Int64', (row) => row.int64(value)));
    }
    expect(column('Float64', (row) => row.float64(1))).toBe('000000000000f03f');
  });

  it('cuts a fraction off, and takes what is no number for 0', () => {
    expect(column('Int64', (row) => row.int64(-1.9))).toBe('ffffffffffffffff');
    expect(column('Int64', (row) => row.int64(Number.NaN))).toBe('0000000000000000');
  });

  it('has the length of a text in bytes, whatever its characters', () => {
    expect(column('String', (row) => row.string(''))).toBe('00');
    expect(column('String', (row) => row.string('\u00e4\u20ac'))).toBe('05c3a4e282ac');
    expect(column('String', (row) => row.string('\u20ac'.repeat(42))).slice(0, 2)).toBe('7e');
    expect(column('String', (row) => row.string('\u20ac'.repeat(43))).slice(0, 4)).toBe('8101');
    expect(column('String', (row) => row.bytes(Buffer.alloc(300)))).toHaveLength(2 * 302);
  });

  it('has each word once, and its number in each row', () => {
    const words = ['b', 'a', 'b'].map((word) => (row: RowWriter) => row.word(word));
    const keys = '0100000000000000' + '0006000000000000' + '0200000000000000' + '0162' + '0161';
    expect(column('LowCardinality(String)', ...words)).toBe(`${keys}0300000000000000000100`);
  });

  it('has the numbers of its words in 32 bits when there are many', () => {
    const texts = Array.from({ length: 300 }, (_, index) => `word ${index}`);
    const block = createBlockWriter(['c']);
    for (const text of [...texts, texts[299]!]) {
      block.word(text);
      block.keep();
    }
    const bytes = block.take();
    expect(bytes.readInt32LE(bytes.length - 4)).toBe(299);
    expect(bytes.readInt32LE(bytes.length - 8)).toBe(299);
    expect(bytes.readInt32LE(bytes.length - 12)).toBe(298);
  });

  it('has maps as where each ends, all keys, and all values', () => {
    const maps = [
      [['a', 'b']],
      [],
      [
        ['c', Buffer.from('d')],
        ['e', ''],
      ],
    ] as const;
    const ends = [1, 1, 3].map((end) => `0${end}00000000000000`).join('');
    expect(column('Map(String, String)', ...maps.map((map) => (row: RowWriter) => row.map(map)))).toBe(`${ends}0161016301650162016400`);
  });

  it('takes back what a record has begun to write, or has written, and goes on', () => {
    const write = (row: RowWriter, text: string): void => {
      row.int32(text.length);
      row.string(text);
      row.word(text);
      row.map([[text, text]]);
      row.micros(text.length);
    };
    const names = ['a', 'b', 'c', 'd', 'e'];
    const [with3, with2] = [createBlockWriter(names), createBlockWriter(names)];
    for (const block of [with3, with2]) {
      write(block, 'one');
      block.keep();
    }
    with3.int32(1);
    with3.string('half a row');
    with3.drop();
    with3.int32(1);
    with3.string('but for its end');
    with3.word('one');
    with3.map([['x', 'y']]);
    with3.drop();
    for (const block of [with3, with2]) {
      write(block, 'two');
      block.keep();
    }
    expect(with3.rows).toBe(2);
    expect(with3.take().toString('hex')).toBe(with2.take().toString('hex'));
  });
});
