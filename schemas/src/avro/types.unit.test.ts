import type { AvroSchema } from './schema.js';
import { avroType, recordType } from './types.js';
import { violationsOf } from './violations.js';

const list = avroType({ type: 'record', name: 'acme.List', fields: [{ name: 'items', type: { type: 'array', items: 'string' } }] });
const map = avroType({ type: 'record', name: 'acme.Map', fields: [{ name: 'values', type: { type: 'map', values: 'string' } }] });
const kind = avroType({
  type: 'record',
  name: 'acme.Kind',
  fields: [{ name: 'kind', type: { type: 'enum', name: 'acme.KindKind', symbols: ['a', 'b'], default: 'a' } }],
});
/** An Avro long. */
const long = (value: number): Buffer => avroType('long').toBuffer(value);

/** An Avro long as the specification has it, by other means. */
function zigzag(value: number | bigint): Buffer {
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n));
  const bytes: number[] = [];
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

describe('avro types', () => {
  it('refuse a list that claims more items than there are bytes', () => {
    expect(() => list.decode(Buffer.concat([long(2 ** 31), long(0)])) as unknown).toThrow('a list claims 2147483648 items and has 1 bytes');
    expect(() => map.decode(Buffer.concat([long(2 ** 31), long(0)])) as unknown).toThrow('a list claims 2147483648 items');
  });

  it('refuse such a list when it is skipped, too', () => {
    const reader = avroType({ type: 'record', name: 'acme.List', fields: [] });
    const resolver = reader.createResolver(list);
    expect(() => reader.decode(Buffer.concat([long(2 ** 40), long(0)]), 0, resolver) as unknown).toThrow('a list claims');
  });

  it('end when a skipped block tells a negative size', () => {
    const reader = avroType({ type: 'record', name: 'acme.List', fields: [] });
    const block = Buffer.concat([long(-1), long(-2), long(1), Buffer.from('x'), long(0)]);
    expect(reader.decode(block, 0, reader.createResolver(list)).offset).toBe(block.length);
  });

  it('read lists in several blocks, with and without their sizes', () => {
    const text = (value: string): Buffer => avroType('string').toBuffer(value);
    const bytes = Buffer.concat([long(2), text('a'), text('b'), long(-1), long(2), text('c'), long(0)]);
    expect(list.fromBuffer(bytes)).toEqual({ items: ['a', 'b', 'c'] });
  });

  it('do not take names that every object inherits for symbols or fields', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(violationsOf(kind, { kind: name })).toHaveLength(1);
      expect(() => kind.toBuffer({ kind: name })).toThrow('is not a symbol of acme.KindKind');
      expect(kind.isValid({ kind: 'a', ...Object.fromEntries([[name, 1]]) }, { noUndeclaredFields: true })).toBe(false);
    }
  });

  it('keep a map key named __proto__', () => {
    const value = { values: Object.fromEntries([['__proto__', 'x']]) };
    expect(Object.entries((map.fromBuffer(map.toBuffer(value)) as typeof value).values)).toEqual([['__proto__', 'x']]);
  });

  it('say what is wrong with a schema', () => {
    const bad: AvroSchema = { type: 'record', name: 'acme.Bad', fields: [{ name: 'a', type: 'strin' }] };
    expect(() => avroType(bad)).toThrow('Schema acme.Bad is not valid Avro: undefined type name: acme.strin');
  });

  it('keep every long that JavaScript can hold, and refuse the others both ways', () => {
    const type = avroType('long');
    const edges = [2 ** 27, 2 ** 28, 2 ** 30, 2 ** 31, 2 ** 34, 2 ** 51, 2 ** 52, 2 ** 53 - 2];
    for (const value of edges.flatMap((edge) => [edge - 1, edge, edge + 1, -edge - 1, -edge, 1 - edge])) {
      const bytes = type.toBuffer(value);
      expect(type.fromBuffer(bytes)).toBe(value);
      expect(bytes).toEqual(zigzag(value));
    }
    for (const value of [2 ** 53, -(2 ** 53), 1.5, NaN, Infinity])
      expect(() => type.toBuffer(value)).toThrow('is not a long within ±(2^53 - 1)');
    for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)])
      expect(() => type.fromBuffer(zigzag(value)) as unknown).toThrow('it holds a long beyond ±(2^53 - 1)');
  });

  it('keep the sign of a large long that is read as a double', () => {
    const reader = avroType('double');
    const read = (value: bigint): unknown => reader.fromBuffer(zigzag(value), reader.createResolver(avroType('long')));
    expect(read(-(2n ** 52n) - 1n)).toBe(-(2 ** 52) - 1);
    expect(read(-(2n ** 63n))).toBe(-(2 ** 63));
  });

  it('refuse decimals in our own schemas, with their place', () => {
    const amount = { type: 'bytes', logicalType: 'decimal' };
    const schema = { type: 'record', name: 'Paid', namespace: 'acme', fields: [{ name: 'amount', type: ['null', amount] }] } as const;
    expect(() => recordType({ fullName: 'acme.Paid', schema })).toThrow('acme.Paid.amount is a decimal');
  });
});
