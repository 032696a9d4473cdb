import { createRowWriter } from './row-binary.js';

const written = (write: (row: ReturnType<typeof createRowWriter>) => void): string => {
  const row = createRowWriter(4);
  write(row);
  return row.take().toString('hex');
};

describe('rows in RowBinary', () => {
  it('writes numbers little endian, also those that need more than 32 bits or are negative', () => {
    expect(written((row) => row.int32(-2))).toBe('feffffff');
    expect(written((row) => row.int64(1))).toBe('0100000000000000');
    expect(written((row) => row.int64(-1))).toBe('ffffffffffffffff');
    const large = [1_700_000_000_123_456, -1_700_000_000_123_456, Number.MAX_SAFE_INTEGER, 0x1_0000_0000];
    for (const value of large) expect(written((row) => row.int64(value))).toBe(written((row) => row.int64(BigInt(value))));
    expect(written((row) => row.float64(1))).toBe('000000000000f03f');
  });

  it('cuts a fraction off, and takes what is no number for 0', () => {
    expect(written((row) => row.int64(-1.9))).toBe('ffffffffffffffff');
    expect(written((row) => row.int64(Number.NaN))).toBe('0000000000000000');
  });

  it('writes the length of a text in bytes, whatever its characters', () => {
    expect(written((row) => row.string(''))).toBe('00');
    expect(written((row) => row.string('ä€'))).toBe('05c3a4e282ac');
    expect(written((row) => row.string('€'.repeat(42))).slice(0, 2)).toBe('7e');
    expect(written((row) => row.string('€'.repeat(43))).slice(0, 4)).toBe('8101');
    expect(written((row) => row.bytes(Buffer.alloc(300)))).toHaveLength(2 * 302);
  });

  it('writes a map as its count and then its pairs', () => {
    expect(written((row) => row.map([['a', 'b']]))).toBe('0101610162');
  });

  it('takes back what a record has begun to write', () => {
    expect(
      written((row) => {
        row.int32(1);
        const before = row.length;
        row.string('half a row');
        row.truncate(before);
        row.int32(2);
      }),
    ).toBe('0100000002000000');
  });
});
