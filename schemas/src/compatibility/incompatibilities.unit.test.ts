import fc from 'fast-check';
import avro from 'avsc';
import type { AvroField, AvroSchema } from '../avro/schema.js';
import { avroType } from '../avro/types.js';
import { incompatibilities } from './incompatibilities.js';
import { unreadableParts } from './readable.js';

const rec = (...fields: AvroField[]): AvroSchema => ({ type: 'record', name: 'R', namespace: 'acme', fields });
const a: AvroField = { name: 'a', type: 'string' };
const b: AvroField = { name: 'b', type: 'int', default: 0 };
const strict: AvroField = { name: 'b', type: 'int' };
const kind = (symbols: string[], byDefault?: string): AvroField => ({
  name: 'kind',
  type: { type: 'enum', name: 'Kind', symbols, ...(byDefault !== undefined && { default: byDefault }) },
});

describe('incompatibilities', () => {
  it.each<[string, AvroSchema, AvroSchema, readonly string[]]>([
    ['a field with a default comes', rec(a), rec(a, b), []],
    [
      'a field without one comes',
      rec(a),
      rec(a, strict),
      ['the new schema cannot read version 1: /b: the writer does not have this field, and the reader has no default for it'],
    ],
    ['a field with a default goes', rec(a, b), rec(a), []],
    [
      'a field without one goes',
      rec(a, strict),
      rec(a),
      ['version 1 cannot read the new schema: /b: the writer does not have this field, and the reader has no default for it'],
    ],
    [
      'int becomes long',
      rec(strict),
      rec({ name: 'b', type: 'long' }),
      ['version 1 cannot read the new schema: /b: long cannot be read as int'],
    ],
    [
      'a field may be null',
      rec(a),
      rec({ name: 'a', type: ['null', 'string'], default: null }),
      ['version 1 cannot read the new schema: /a: null cannot be read as string'],
    ],
    ['an enum with a default grows', rec(kind(['x'], 'x')), rec(kind(['x', 'y'], 'x')), []],
    [
      'an enum without one grows',
      rec(kind(['x'])),
      rec(kind(['x', 'y'])),
      ['version 1 cannot read the new schema: /kind: the enum does not know y, which the writer may use, and has no default'],
    ],
    ['a field is renamed with an alias and a default', rec(b), rec({ name: 'c', type: 'int', default: 0, aliases: ['b'] }), []],
    [
      'a union loses a branch',
      rec({ name: 'u', type: ['null', 'string', 'int'] }),
      rec({ name: 'u', type: ['null', 'string'] }),
      ['the new schema cannot read version 1: /u: int is none of null, string'],
    ],
    [
      'items change',
      rec({ name: 'l', type: { type: 'array', items: 'int' } }),
      rec({ name: 'l', type: { type: 'array', items: 'boolean' } }),
      [
        'the new schema cannot read version 1: /l/*: int cannot be read as boolean',
        'version 1 cannot read the new schema: /l/*: boolean cannot be read as int',
      ],
    ],
  ])('FULL: %s', (_, before, after, problems) => {
    expect(incompatibilities('FULL', after, [{ version: 1, schema: before }])).toEqual(problems);
  });

  it('point into the records of a union', () => {
    const inner = (type: AvroSchema): AvroSchema =>
      rec({ name: 'u', type: ['null', { type: 'record', name: 'Inner', fields: [{ name: 'x', type }] }] });
    expect(unreadableParts(inner('int'), inner('string'))).toEqual([{ pointer: '/u/x', message: 'string cannot be read as int' }]);
  });

  it('end on schemas that contain themselves', () => {
    const tree = rec({ name: 'next', type: ['null', 'R'], default: null });
    expect(incompatibilities('FULL', tree, [{ version: 1, schema: tree }])).toEqual([]);
  });

  it('look at all versions when transitive, at the last one otherwise, in the directions of the level', () => {
    const versions = [
      { version: 1, schema: rec({ name: 'b', type: 'string' }) },
      { version: 2, schema: rec(a) },
    ];
    const count = (level: Parameters<typeof incompatibilities>[0]): number => incompatibilities(level, rec(a, strict), versions).length;
    expect({ none: count('NONE'), backward: count('BACKWARD'), forward: count('FORWARD'), full: count('FULL') }).toEqual({
      none: 0,
      backward: 1,
      forward: 0,
      full: 1,
    });
    expect([count('BACKWARD_TRANSITIVE'), count('FORWARD_TRANSITIVE'), count('FULL_TRANSITIVE')]).toEqual([3, 1, 4]);
  });

  it('agree with the resolvers that read the records', () => {
    const type = fc.constantFrom<AvroSchema>(
      'int',
      'long',
      'double',
      'string',
      'bytes',
      'boolean',
      ['null', 'int'],
      ['null', 'string', 'long'],
      { type: 'array', items: 'int' },
      { type: 'map', values: 'long' },
    );
    const fields = fc.uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c'), type }), {
      selector: (field) => field.name,
      maxLength: 3,
    });
    fc.assert(
      fc.property(fields, fields, (reader, writer) => {
        let resolves = true;
        try {
          avroType(rec(...reader)).createResolver(avro.Type.forSchema(rec(...writer) as never));
        } catch {
          resolves = false;
        }
        expect(unreadableParts(rec(...reader), rec(...writer)).length === 0).toBe(resolves);
      }),
      { numRuns: 500 },
    );
  });
});
