/**
 * Rows as one block of ClickHouse's Native format: column by column, which is how the server keeps them, so that it has little to do. The cells of
 * a row are written in the order of the columns; what a column holds is told by the method that writes it.
 */
export interface RowWriter {
  string(value: string): void;
  /** A text that occurs again and again, kept in a dictionary of the block; for LowCardinality columns. */
  word(value: string): void;
  bytes(value: Buffer): void;
  int32(value: number): void;
  uint32(value: number): void;
  /** A fraction is cut off; what is no number is 0. */
  int64(value: number | bigint): void;
  float64(value: number): void;
  /** Since the epoch; as int64. */
  millis(value: number): void;
  micros(value: number): void;
  map(entries: readonly (readonly [string, string | Buffer])[]): void;
}

export interface BlockWriter extends RowWriter {
  /** Rows so far. */
  readonly rows: number;
  /** The row that was written is whole. */
  keep(): void;
  /** Takes back what was written of a row that is not kept. */
  drop(): void;
  /** The block. Nothing is written after. */
  take(): Buffer;
}

export function createBlockWriter(names: readonly string[]): BlockWriter {
  const columns = names.map((): Column => ({ type: '', cells: growing(), before: 0, words: undefined, map: undefined }));
  let next = 0;
  let rows = 0;
  const column = (type: string): Column => {
    const of = columns[next++]!;
    of.type = type;
    of.before = of.cells.length;
    return of;
  };
  const cells = (type: string): Growing => column(type).cells;
  return {
    string: (value) => cells('String').string(value),
    bytes: (value) => cells('String').bytes(value),
    word(value) {
      const of = column('LowCardinality(String)');
      const words = (of.words ??= new Map<string, number>());
      let index = words.get(value);
      if (index === undefined) words.set(value, (index = words.size));
      of.cells.int32(index);
    },
    int32: (value) => cells('Int32').int32(value),
    uint32: (value) => cells('UInt32').int32(value),
    int64: (value) => cells('Int64').int64(value),
    float64: (value) => cells('Float64').float64(value),
    millis: (value) => cells(`DateTime64(3, 'UTC')`).int64(value),
    micros: (value) => cells(`DateTime64(6, 'UTC')`).int64(value),
    map(entries) {
      const of = column('Map(String, String)');
      of.map ??= { keys: growing(), values: growing(), entries: 0, before: [0, 0, 0] };
      const { map } = of;
      map.before = [map.keys.length, map.values.length, map.entries];
      for (const [key, value] of entries) {
        map.keys.string(key);
        if (typeof value === 'string') map.values.string(value);
        else map.values.bytes(value);
      }
      map.entries += entries.length;
      of.cells.int64(map.entries);
    },
    get rows() {
      return rows;
    },
    keep() {
      rows += 1;
      next = 0;
    },
    drop() {
      for (const each of columns.slice(0, next)) {
        each.cells.truncate(each.before);
        if (each.map === undefined) continue;
        const [keys, values, entries] = each.map.before;
        each.map.keys.truncate(keys);
        each.map.values.truncate(values);
        each.map.entries = entries;
      }
      next = 0;
    },
    take() {
      const block = growing();
      block.varint(names.length);
      block.varint(rows);
      names.forEach((name, index) => writeColumn(name, columns[index]!, rows, block));
      return block.taken();
    },
  };
}

interface Column {
  type: string;
  readonly cells: Growing;
  /** Length of the cells before the row that is being written. */
  before: number;
  /** Of a dictionary; the cells are then numbers of words. */
  words: Map<string, number> | undefined;
  /** The cells are then, for each row, the count of entries up to its end. */
  map:
    | {
        readonly keys: Growing;
        readonly values: Growing;
        entries: number;
        before: readonly [keys: number, values: number, entries: number];
      }
    | undefined;
}

/** Version of a dictionary's serialization; and that its words stand with it, before numbers of 8 bits or of 32. */
const dictionaryVersion = 1;
const ownWords = 0x600;
const of8Bits = 0;
const of32Bits = 2;

function writeColumn(name: string, { type, cells, words, map }: Column, rows: number, block: Growing): void {
  block.string(name);
  block.string(type);
  const isSmall = words !== undefined && words.size <= 256;
  if (words !== undefined) {
    block.int64(dictionaryVersion);
    block.int64(ownWords + (isSmall ? of8Bits : of32Bits));
    block.int64(words.size);
    for (const word of words.keys()) block.string(word);
    block.int64(rows);
  }
  block.append(isSmall ? everyFourth(cells.taken()) : cells.taken());
  if (map !== undefined) {
    block.append(map.keys.taken());
    block.append(map.values.taken());
  }
}

/** Numbers below 256, of 32 bits each, as one byte each. */
function everyFourth(numbers: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(numbers.length / 4);
  for (let at = 0; at < bytes.length; at++) bytes[at] = numbers[at * 4]!;
  return bytes;
}

type Growing = ReturnType<typeof growing>;

/** Bytes, with room for more. */
function growing() {
  let buffer = Buffer.allocUnsafe(64 * 1024);
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
  const copy = (bytes: Buffer): void => {
    room(bytes.length);
    at += bytes.copy(buffer, at);
  };
  return {
    varint,
    string(value: string) {
      const { length } = value;
      if (length > 42) {
        const bytes = Buffer.byteLength(value);
        varint(bytes);
        room(bytes);
        at += buffer.write(value, at);
        return;
      }
      // Three bytes for a character at most: the length fits into one byte, so it need not be known before. A call out of JavaScript costs more than
      // the few characters of an id.
      room(1 + length * 3);
      let plain = 0;
      for (let code; plain < length && (code = value.charCodeAt(plain)) < 0x80; plain++) buffer[at + 1 + plain] = code;
      const written = plain === length ? length : buffer.write(value, at + 1);
      buffer[at] = written;
      at += 1 + written;
    },
    bytes(value: Buffer) {
      varint(value.length);
      copy(value);
    },
    int32(value: number) {
      room(4);
      at = buffer.writeInt32LE(value | 0, at);
    },
    int64(value: number | bigint) {
      room(8);
      if (typeof value === 'bigint') {
        at = buffer.writeBigInt64LE(BigInt.asIntN(64, value), at);
        return;
      }
      const whole = Number.isFinite(value) ? Math.trunc(value) : 0;
      at = buffer.writeUInt32LE(whole >>> 0, at);
      at = buffer.writeInt32LE(Math.floor(whole / 0x1_0000_0000) | 0, at);
    },
    float64(value: number) {
      room(8);
      at = buffer.writeDoubleLE(value, at);
    },
    append: copy,
    get length() {
      return at;
    },
    truncate(length: number) {
      at = length;
    },
    /** What was written, not copied. */
    taken: () => buffer.subarray(0, at),
  };
}
