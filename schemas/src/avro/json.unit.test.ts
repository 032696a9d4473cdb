import fc from 'fast-check';
import type { SpoolError, Violation } from '../errors/spool-error.js';
import { platformSchemas, ReplySchema } from '../generated/index.js';
import { arrayOf, enumOf, mapOf, optional, record, withDefault } from '../inline/record.js';
import { valuesOf } from '../testing/arbitrary.js';
import { fromJson, toJson } from './json.js';
import type { AvroSchema, RecordSchema } from './schema.js';

const Order = record('acme.Order', {
  id: 'string',
  quantity: 'int',
  total: withDefault('long', 0),
  weight: optional('double'),
  seal: optional('bytes'),
  lines: arrayOf(record('acme.Line', { article: 'string', state: enumOf('unknown', 'open', 'sent') })),
  labels: mapOf('string'),
});
const order = { id: 'o1', quantity: 2, lines: [{ article: 'a', state: 'open' }], labels: {} };

function violations(schema: RecordSchema<unknown>, json: unknown): readonly Violation[] {
  try {
    fromJson(schema, json);
  } catch (thrown) {
    return (thrown as SpoolError).violations;
  }
  return [];
}
const withField = (type: AvroSchema): RecordSchema<{ f: unknown }> => ({
  fullName: 'acme.One',
  schema: { type: 'record', name: 'One', namespace: 'acme', fields: [{ name: 'f', type }] },
});

describe('fromJson', () => {
  it('fills in defaults for what is missing', () => {
    expect(fromJson(Order, order)).toEqual({ ...order, total: 0, weight: null, seal: null });
  });

  it('takes bytes in base64', () => {
    expect(fromJson(Order, { ...order, seal: 'AAH/' }).seal).toEqual(Buffer.from([0, 1, 255]));
    expect(violations(Order, { ...order, seal: 'AAH' })).toEqual([
      { pointer: '/seal', message: 'expected bytes in base64, got the string "AAH"' },
    ]);
  });

  it('lists everything that is wrong, with pointers', () => {
    const wrong = {
      quantity: '2',
      total: 1.5,
      weight: 'heavy',
      lines: [{ article: 1, state: 'lost', extra: 0 }],
      labels: { 'a/b': 1, 'c~d': 2 },
      more: {},
    };
    expect(violations(Order, wrong)).toEqual([
      { pointer: '/id', message: 'is missing; expected string' },
      { pointer: '/quantity', message: 'expected int (a whole number of 32 bits), got the string "2"' },
      { pointer: '/total', message: 'expected long (a whole number within ±(2^53 - 1)), got 1.5' },
      { pointer: '/weight', message: 'expected double or null, got the string "heavy"' },
      { pointer: '/lines/0/article', message: 'expected string, got 1' },
      { pointer: '/lines/0/state', message: 'expected one of unknown, open, sent, got the string "lost"' },
      { pointer: '/lines/0/extra', message: 'extra is not a field of acme.Line, which has article, state' },
      { pointer: '/labels/a~1b', message: 'expected string, got 1' },
      { pointer: '/labels/c~0d', message: 'expected string, got 2' },
      { pointer: '/more', message: 'more is not a field of acme.Order, which has id, quantity, total, weight, seal, lines, labels' },
    ]);
  });

  it('says in its message what is wrong first and how much more there is', () => {
    expect(() => fromJson(Order, {})).toThrow('Payload does not fit acme.Order: /id: is missing; expected string (and 3 more)');
    expect(() => fromJson(Order, [])).toThrow(
      'Payload does not fit acme.Order: the payload: expected a record acme.Order, got an array of 0',
    );
  });

  it('refuses longs that JavaScript cannot hold', () => {
    expect(violations(Order, { ...order, total: 2 ** 53 })).toHaveLength(1);
    expect(fromJson(Order, { ...order, total: 2 ** 53 - 1 }).total).toBe(2 ** 53 - 1);
  });

  it('is not led astray by names that every object inherits', () => {
    expect(
      violations(Order, JSON.parse('{"id":"o","quantity":1,"lines":[],"labels":{},"__proto__":{"a":1},"constructor":2}')).map(
        (v) => v.pointer,
      ),
    ).toEqual(['/__proto__', '/constructor']);
    const bare = record('acme.Inherits', { toString: 'string' });
    expect(violations(bare, {})).toEqual([{ pointer: '/toString', message: 'is missing; expected string' }]);
  });

  it('lists no more than fifty violations', () => {
    expect(violations(Order, { ...order, lines: Array.from({ length: 10_000 }, () => 1) })).toHaveLength(50);
  });

  it('refuses what is nested too deep instead of running out of stack', () => {
    const tree: RecordSchema<unknown> = {
      fullName: 'acme.Tree',
      schema: { type: 'record', name: 'Tree', namespace: 'acme', fields: [{ name: 'next', type: ['null', 'Tree'], default: null }] },
    };
    let json: unknown = null;
    for (let depth = 0; depth < 20_000; depth++) json = { next: json };
    expect(violations(tree, json)[0]?.message).toBe('is nested deeper than 100 levels');
  });

  it('refuses half a surrogate pair, which would come back as another string', () => {
    expect(violations(Order, { ...order, id: 'a\ud800b' })).toEqual([
      { pointer: '/id', message: 'holds half of a surrogate pair, which UTF-8 cannot' },
    ]);
    expect(fromJson(Order, { ...order, id: '✈︎😀' }).id).toBe('✈︎😀');
  });
});

describe('unions in JSON', () => {
  const other: AvroSchema = { type: 'record', name: 'Other', fields: [{ name: 'b', type: 'string' }] };
  const some: AvroSchema = { type: 'record', name: 'Some', fields: [{ name: 'a', type: 'string' }] };

  it.each<[string, AvroSchema, unknown, unknown]>([
    ['null and a record', ['null', some], { a: 'x' }, { a: 'x' }],
    ['null of a union', ['null', some, other], null, null],
    ['three kinds', ['null', 'long', 'string'], 'x', 'x'],
    [
      'a map and an array',
      [
        { type: 'map', values: 'int' },
        { type: 'array', items: 'int' },
      ],
      [1],
      [1],
    ],
    ['two records', [some, other], { 'acme.Other': { b: 'x' } }, { 'acme.Other': { b: 'x' } }],
    ['two numbers', ['int', 'double'], { double: 1.5 }, { double: 1.5 }],
    ['string and bytes', ['string', 'bytes'], { bytes: 'AQ==' }, Buffer.from([1])],
    ['NaN', ['null', 'double'], 'NaN', NaN],
  ])('take %s', (_, type, json, value) => {
    const schema = withField(type);
    const read = fromJson(schema, { f: json });
    expect(read.f).toEqual(value);
    expect(toJson(schema, read)).toEqual({ f: json });
  });

  it('name the branches when one must be named', () => {
    expect(violations(withField([some, other]), { f: { b: 'x' } })).toEqual([
      { pointer: '/f', message: 'expected an object with one key, the name of a branch (acme.Some, acme.Other), got an object' },
    ]);
  });
});

describe('toJson', () => {
  it.each(platformSchemas.map((schema) => [schema.fullName, schema] as const))('gives back what fromJson takes: %s', (_, schema) => {
    fc.assert(
      fc.property(valuesOf(schema), (value) => {
        expect(fromJson(schema, JSON.parse(JSON.stringify(toJson(schema, value))))).toEqual(withoutNegativeZero(value));
      }),
      { numRuns: 50 },
    );
  });

  it('keeps a null where the default is something else', () => {
    const schema: RecordSchema<{ f: string | null }> = {
      fullName: 'acme.One',
      schema: { type: 'record', name: 'One', namespace: 'acme', fields: [{ name: 'f', type: ['string', 'null'], default: 'x' }] },
    };
    expect(toJson(schema, { f: null })).toEqual({ f: null });
  });

  it('gives the view of a reply in base64', () => {
    const reply = fromJson(ReplySchema, { outcome: 'answered', view: 'AAAA' });
    expect(reply).toEqual({ outcome: 'answered', version: null, events: [], position: '', view: Buffer.alloc(3), problem: null });
  });
});

/** JSON has no -0. */
function withoutNegativeZero(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (Array.isArray(value)) return value.map(withoutNegativeZero);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutNegativeZero(item)]));
}
