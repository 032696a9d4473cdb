import { EngineError } from './engine-error.js';

/** Since these revisions of the protocol a block begins with its info, and each column tells how it is serialized. */
const blockInfoSince = 51_903;
const serializationSince = 54_454;

/** `is_overflows = false`, `bucket_num = -1`, end. */
const blockInfo = Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0]);
const plainSerialization = Buffer.from([0]);

/**
 * Turns `FORMAT Native` as the engine in process writes it (revision 0) into what a client reads that names a revision in
 * `client_protocol_version`, as clickhouse-go does and with it Grafana. The data stay as they are; only where columns begin must be known.
 * Yields to the event loop after each block.
 * @throws EngineError 48 for a column whose length does not follow from its type alone (JSON, Dynamic, Variant, AggregateFunction)
 */
export async function toRevision(bytes: Buffer, revision: number): Promise<Buffer> {
  const out: Buffer[] = [];
  const cursor = new Cursor(bytes);
  while (cursor.at < bytes.length) {
    if (revision >= blockInfoSince) out.push(blockInfo);
    let from = cursor.at;
    const columns = cursor.varint();
    const rows = cursor.varint();
    for (let column = 0; column < columns; column += 1) {
      cursor.text();
      const shape = shapeOf(cursor.text());
      out.push(bytes.subarray(from, cursor.at));
      if (revision >= serializationSince) out.push(plainSerialization);
      from = cursor.at;
      if (rows > 0) {
        shape.prefix(cursor);
        shape.data(cursor, rows);
      }
    }
    out.push(bytes.subarray(from, cursor.at));
    await new Promise(setImmediate);
  }
  return Buffer.concat(out);
}

class Cursor {
  at = 0;
  constructor(readonly bytes: Buffer) {}

  skip(bytes: number): void {
    this.at += bytes;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) throw new RangeError('The block ends early');
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  text(): string {
    const length = this.varint();
    return this.bytes.toString('utf8', this.at, (this.at += length));
  }

  /** A count; none is beyond 2^53. */
  u64(): number {
    const value = Number(this.bytes.readBigUInt64LE(this.at));
    this.at += 8;
    return value;
  }
}

/** How to get past a column: what stands once in front of all, and the data of so many rows. */
interface Shape {
  readonly prefix: (cursor: Cursor) => void;
  readonly data: (cursor: Cursor, rows: number) => void;
}

const nothing = (): void => undefined;

const fixed = (width: number): Shape => ({ prefix: nothing, data: (cursor, rows) => cursor.skip(width * rows) });

const string: Shape = {
  prefix: nothing,
  data: (cursor, rows) => {
    for (let row = 0; row < rows; row += 1) cursor.skip(cursor.varint());
  },
};

const nullable = (inner: Shape): Shape => ({
  prefix: inner.prefix,
  data: (cursor, rows) => {
    cursor.skip(rows);
    inner.data(cursor, rows);
  },
});

const array = (inner: Shape): Shape => ({
  prefix: inner.prefix,
  data: (cursor, rows) => {
    if (rows === 0) return;
    cursor.skip(8 * (rows - 1));
    inner.data(cursor, cursor.u64());
  },
});

const tuple = (parts: readonly Shape[]): Shape => ({
  prefix: (cursor) => parts.forEach((part) => part.prefix(cursor)),
  data: (cursor, rows) => parts.forEach((part) => part.data(cursor, rows)),
});

const lowCardinality = (keys: Shape): Shape => ({
  prefix: (cursor) => cursor.skip(8),
  data: (cursor, rows) => {
    if (rows === 0) return;
    const flags = cursor.bytes.readUInt32LE(cursor.at);
    cursor.skip(8);
    for (const dictionary of [256, 512]) if ((flags & dictionary) !== 0) keys.data(cursor, cursor.u64());
    cursor.skip(cursor.u64() * 2 ** (flags & 255));
  },
});

const widths: readonly (readonly [RegExp, number])[] = [
  [/^(?:U?Int8|Bool|Enum8|Nothing)$/, 1],
  [/^(?:U?Int16|BFloat16|Date|Enum16)$/, 2],
  [/^(?:U?Int32|Float32|Date32|DateTime|DateTime32|Time|IPv4|Decimal32)$/, 4],
  [/^(?:U?Int64|Float64|DateTime64|Time64|Decimal64|Interval\w+)$/, 8],
  [/^(?:U?Int128|UUID|IPv6|Decimal128)$/, 16],
  [/^(?:U?Int256|Decimal256)$/, 32],
];

const point = tuple([fixed(8), fixed(8)]);
const geometry: Readonly<Record<string, Shape>> = {
  Point: point,
  Ring: array(point),
  LineString: array(point),
  MultiLineString: array(array(point)),
  Polygon: array(array(point)),
  MultiPolygon: array(array(array(point))),
};

function shapeOf(type: string): Shape {
  const [, name = '', inside = ''] = /^(\w+)(?:\(([^]*)\))?$/.exec(type) ?? [];
  const parts = (): readonly string[] => splitTop(inside);
  const width = widths.find(([names]) => names.test(name))?.[1];
  if (width !== undefined) return fixed(width);
  if (name === 'String') return string;
  if (name === 'FixedString') return fixed(Number(inside));
  if (name === 'Decimal') return fixed(decimalWidth(Number(parts()[0])));
  if (name === 'Nullable') return nullable(shapeOf(inside));
  if (name === 'Array') return array(shapeOf(inside));
  if (name === 'LowCardinality') return lowCardinality(shapeOf(inside.replace(/^Nullable\(([^]*)\)$/, '$1')));
  if (name === 'Map') return array(tuple(parts().map(shapeOf)));
  if (name === 'Tuple') return tuple(parts().map(unnamed).map(shapeOf));
  if (name === 'Nested') return array(tuple(parts().map(unnamed).map(shapeOf)));
  if (name === 'SimpleAggregateFunction') return shapeOf(parts()[1] ?? '');
  const known = geometry[name];
  if (known !== undefined) return known;
  throw new EngineError(
    48,
    'NOT_IMPLEMENTED',
    `A column of type ${type} is not served in Native of a revision; convert it, or ask for another format.`,
  );
}

const decimalWidth = (precision: number): number => (precision <= 9 ? 4 : precision <= 18 ? 8 : precision <= 38 ? 16 : 32);

/** The type of an element `name Type`. */
const unnamed = (element: string): string => /^(?:`(?:[^`\\]|\\[^])*`|\w+)\s+([^]+)$/.exec(element)?.[1] ?? element;

/** Splits at commas outside of brackets and quotes. */
function splitTop(list: string): readonly string[] {
  const parts: string[] = [];
  let part = '';
  let depth = 0;
  for (const [piece] of list.matchAll(/'(?:[^'\\]|\\[^]|'')*'|`(?:[^`\\]|\\[^])*`|[^]/g)) {
    if (piece === '(') depth += 1;
    if (piece === ')') depth -= 1;
    if (piece === ',' && depth === 0) {
      parts.push(part.trim());
      part = '';
    } else part += piece;
  }
  return [...parts, part.trim()];
}
