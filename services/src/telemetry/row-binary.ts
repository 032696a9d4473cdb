/** Rows in ClickHouse's RowBinary: no text to parse, and no value that could be read in two ways. */
export interface RowWriter {
  string(value: string): void;
  bytes(value: Buffer): void;
  int32(value: number): void;
  /** A fraction is cut off; what is no number is 0. */
  int64(value: number | bigint): void;
  float64(value: number): void;
  map(entries: readonly (readonly [string, string | Buffer])[]): void;
  /** Bytes so far. */
  readonly length: number;
  /** Takes back what was written after the length was so. */
  truncate(length: number): void;
  /** A copy of what was written. */
  take(): Buffer;
}

/** @param initialBytes what it can hold before it grows */
export function createRowWriter(initialBytes = 64 * 1024): RowWriter {
  let buffer = Buffer.allocUnsafe(initialBytes);
  let at = 0;

  const room = (bytes: number): void => {
    if (at + bytes <= buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes));
    buffer.copy(grown, 0, 0, at);
    buffer = grown;
  };
  const varint = (value: number): void => {
    room(10);
    let left = value;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) buffer[at++] = (left % 0x80) | 0x80;
    buffer[at++] = left;
  };
  const string = (value: string): void => {
    const { length } = value;
    if (length > 42) {
      const bytes = Buffer.byteLength(value);
      varint(bytes);
      room(bytes);
      at += buffer.write(value, at);
      return;
    }
    // Three bytes for a character at most: the length fits into one byte, so it need not be known before.
    room(1 + length * 3);
    const written = buffer.write(value, at + 1);
    buffer[at] = written;
    at += 1 + written;
  };
  const bytes = (value: Buffer): void => {
    varint(value.length);
    room(value.length);
    at += value.copy(buffer, at);
  };
  return {
    string,
    bytes,
    int32(value) {
      room(4);
      at = buffer.writeInt32LE(value | 0, at);
    },
    int64(value) {
      room(8);
      if (typeof value === 'bigint') {
        at = buffer.writeBigInt64LE(BigInt.asIntN(64, value), at);
        return;
      }
      const whole = Number.isFinite(value) ? Math.trunc(value) : 0;
      at = buffer.writeUInt32LE(whole >>> 0, at);
      at = buffer.writeInt32LE(Math.floor(whole / 0x1_0000_0000) | 0, at);
    },
    float64(value) {
      room(8);
      at = buffer.writeDoubleLE(value, at);
    },
    map(entries) {
      varint(entries.length);
      for (const [key, value] of entries) {
        string(key);
        if (typeof value === 'string') string(value);
        else bytes(value);
      }
    },
    get length() {
      return at;
    },
    truncate(length) {
      at = length;
    },
    take: () => Buffer.from(buffer.subarray(0, at)),
  };
}
