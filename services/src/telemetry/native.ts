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
  /** As UInt32, at least 1. */
  weight(value: number): void;
  /** A fraction is cut off; what is no number is 0. */
  int64(value: number | bigint): void;
  float64(value: number): void;
  /** Since the epoch; as int64. */
  millis(value: number): void;
  micros(value: number): void;
  map(entries: readonly (readonly [string, string | Buffer])[]): void;
}

/** The same from bytes of UTF-8, in any order of the columns. */
export interface BytesWriter extends RowWriter {
  /** What is written next goes to this column. */
  at(column: number): void;
  stringOf(bytes: Buffer, from: number, to: number): void;
  wordOf(bytes: Buffer, from: number, to: number): void;
}

export interface BlockWriter extends BytesWriter {
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
  const columns = names.map((): Column => ({ type: '', cells: growing(), width: undefined, before: 0, words: undefined, map: undefined }));
  /** Those whose cells differ in length. */
  const uneven: Column[] = [];
  let next = 0;
  let rows = 0;
  const column = (type: string, width?: number): Column => {
    const of = columns[next++]!;
    if (of.type === '') {
      of.type = type;
      of.width = width;
      if (width === undefined) uneven.push(of);
    }
    return of;
  };
  const texts = (): Growing => column('String').cells;
  const wordOf = (bytes: Buffer, from: number, to: number): void => {
    const of = column('LowCardinality(String)', 4);
    of.words ??= createWords();
    of.cells.int32(of.words.indexOf(bytes, from, to));
  };
  return {
    string: (value) => texts().string(value),
    bytes: (value) => texts().bytes(value),
    word(value) {
      const of = columns[next]!;
      if (of.words?.lastText === value) {
        next += 1;
        of.cells.int32(of.words.last);
        return;
      }
      const bytes = Buffer.from(value);
      wordOf(bytes, 0, bytes.length);
      of.words!.lastText = value;
    },
    wordOf,
    at: (index) => void (next = index),
    stringOf: (bytes, from, to) => texts().part(bytes, from, to),
    int32: (value) => column('Int32', 4).cells.int32(value),
    weight: (value) => column('UInt32', 4).cells.int32(Math.min(Math.max(1, value), 0xffff_ffff)),
    int64: (value) => column('Int64', 8).cells.int64(value),
    float64: (value) => column('Float64', 8).cells.float64(value),
    millis: (value) => column(`DateTime64(3, 'UTC')`, 8).cells.int64(value),
    micros: (value) => column(`DateTime64(6, 'UTC')`, 8).cells.int64(value),
    map(entries) {
      const of = column('Map(String, String)');
      of.map ??= { keys: growing(), values: growing(), entries: 0, before: [0, 0, 0] };
      const { map } = of;
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
      for (const each of uneven) {
        each.before = each.cells.length;
        if (each.map !== undefined) each.map.before = [each.map.keys.length, each.map.values.length, each.map.entries];
      }
    },
    drop() {
      for (const each of columns) {
        each.cells.truncate(each.width === undefined ? each.before : each.width * rows);
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
  /** Bytes of each cell; undefined where they differ. */
  width: number | undefined;
  /** Length of the cells after the last row that was kept, where they differ. */
  before: number;
  /** Of a dictionary; the cells are then numbers of words. */
  words: Words | undefined;
  /** The cells are then, for each row, the count of entries up to its end. */
  map:
    | {
        readonly keys: Growing;
        readonly values: Growing;
        entries: number;
        /** The same of the three. */
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
    block.append(words.taken());
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

type Words = ReturnType<typeof createWords>;

/** The dictionary of a column: words found by their bytes, since making a text of each would cost more than all the rest. */
function createWords() {
  const cells = growing();
  /** Where the bytes of each word are in the cells. */
  const starts: number[] = [];
  const ends: number[] = [];
  /** Numbers of words plus one, by hash; 0: free. A power of two, and never more than half full. */
  let slots = new Int32Array(64);
  /** The number that was told last, and what it was asked by, if that was a text. */
  let last = -1;
  let lastText: string | undefined;

  const isWord = (index: number, bytes: Buffer, from: number, to: number): boolean => {
    const start = starts[index]!;
    if (ends[index]! - start !== to - from) return false;
    const own = cells.all();
    for (let at = from, other = start; at < to; at++, other++) if (bytes[at] !== own[other]) return false;
    return true;
  };
  /** The slot that has it, or the free one where it belongs. */
  const slotOf = (bytes: Buffer, from: number, to: number): number => {
    let hash = 0x811c9dc5;
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    const mask = slots.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (slots[slot] !== 0 && !isWord(slots[slot]! - 1, bytes, from, to)) slot = (slot + 1) & mask;
    return slot;
  };
  const grow = (): void => {
    slots = new Int32Array(slots.length * 2);
    const own = cells.all();
    starts.forEach((start, index) => (slots[slotOf(own, start, ends[index]!)] = index + 1));
  };
  return {
    /** The number of the word, a new one when it is new. */
    indexOf(bytes: Buffer, from: number, to: number): number {
      // Neighbours mostly have the same.
      if (last >= 0 && isWord(last, bytes, from, to)) return last;
      lastText = undefined;
      let slot = slotOf(bytes, from, to);
      if (slots[slot] !== 0) return (last = slots[slot]! - 1);
      if (starts.length * 2 >= slots.length) {
        grow();
        slot = slotOf(bytes, from, to);
      }
      cells.part(bytes, from, to);
      ends.push(cells.length);
      starts.push(cells.length - (to - from));
      slots[slot] = starts.length;
      return (last = starts.length - 1);
    },
    get last() {
      return last;
    },
    get lastText() {
      return lastText;
    },
    set lastText(text) {
      lastText = text;
    },
    get size() {
      return starts.length;
    },
    taken: () => cells.taken(),
  };
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
    part(bytes: Buffer, from: number, to: number) {
      const length = to - from;
      varint(length);
      room(length);
      // A call out of JavaScript costs more than the few characters of an id.
      if (length > 40) bytes.copy(buffer, at, from, to);
      else for (let index = 0; index < length; index++) buffer[at + index] = bytes[from + index]!;
      at += length;
    },
    int32(value: number) {
      room(4);
      buffer[at++] = value;
      buffer[at++] = value >>> 8;
      buffer[at++] = value >>> 16;
      buffer[at++] = value >>> 24;
    },
    int64(value: number | bigint) {
      room(8);
      if (typeof value === 'bigint') {
        at = buffer.writeBigInt64LE(BigInt.asIntN(64, value), at);
        return;
      }
      const whole = Number.isFinite(value) ? Math.trunc(value) : 0;
      this.int32(whole | 0);
      this.int32(Math.floor(whole / 0x1_0000_0000) | 0);
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
    /** What was written is at its begin; valid until the next write. */
    all: () => buffer,
    /** What was written, not copied. */
    taken: () => buffer.subarray(0, at),
  };
}
