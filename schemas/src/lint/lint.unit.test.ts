import type { AvroField, RecordDefinition } from '../avro/schema.js';
import { platformSchemas } from '../generated/index.js';
import { lint } from './lint.js';
import { suspectedRenames } from './renames.js';

const rec = (...fields: AvroField[]): RecordDefinition => ({ type: 'record', name: 'Flight', namespace: 'acme', doc: 'A flight.', fields });
const field = (more: Partial<AvroField>): AvroField => ({ name: 'a', type: 'string', doc: 'A.', ...more });

describe('lint', () => {
  it('finds nothing in the contracts of the platform', () => {
    expect(platformSchemas.map(({ fullName, schema }) => [fullName, lint(schema)]).filter(([, found]) => found!.length > 0)).toEqual([]);
  });

  it.each<[string, RecordDefinition, string, string]>([
    ['no namespace', { type: 'record', name: 'Flight', doc: 'A.', fields: [] }, '', 'Flight has no namespace'],
    ['no doc of a field', rec({ name: 'a', type: 'string' }), '/a', 'the field has no doc; say what it stands for and its unit'],
    ['no doc of a record', { type: 'record', name: 'acme.Flight', fields: [] }, '', 'acme.Flight has no doc; say what it stands for'],
    ['a name in another case', rec(field({ name: 'flight_no' })), '/flight_no', 'flight_no is not in camelCase'],
    [
      'an enum without default',
      rec(field({ type: { type: 'enum', name: 'Kind', doc: 'K.', symbols: ['x'] } })),
      '/a',
      'Kind has no default; a reader that does not know a later symbol fails without one',
    ],
    [
      'a union of two',
      rec(field({ type: ['string', 'int'], default: 'x' })),
      '/a',
      'a union must be of null and one other type: several are ambiguous in JSON, and readers that lack one fail',
    ],
    [
      'null without default',
      rec(field({ type: ['null', 'string'] })),
      '/a',
      'a field that may be null must have null as its first branch and as its default',
    ],
    [
      'null as second',
      rec(field({ type: ['string', 'null'], default: 'x' })),
      '/a',
      'a field that may be null must have null as its first branch and as its default',
    ],
    [
      'a decimal',
      rec(field({ type: { type: 'bytes', logicalType: 'decimal' } })),
      '/a',
      'logical type decimal is not supported; there are timestamp-millis and timestamp-micros, on long',
    ],
    [
      'a timestamp on int',
      rec(field({ type: { type: 'array', items: { type: 'int', logicalType: 'timestamp-millis' } } })),
      '/a/*',
      'logical type timestamp-millis is not supported; there are timestamp-millis and timestamp-micros, on long',
    ],
    ['a schema that is not valid', rec(field({ type: 'strin' })), '', 'Schema Flight is not valid Avro: undefined type name: acme.strin'],
  ])('finds %s', (_, schema, pointer, message) => {
    expect(lint(schema)).toContainEqual({ pointer, message });
  });

  it('leaves docs to the author when told to', () => {
    expect(lint({ ...rec({ name: 'a', type: 'string' }), doc: '' }, { docs: false })).toEqual([]);
  });
});

describe('suspected renames', () => {
  const before = rec(field({ name: 'from', default: '' }), field({ name: 'count', type: 'int', default: 0 }));
  it('are a field that goes while one of its type comes', () => {
    const after = rec(field({ name: 'origin', default: '' }), field({ name: 'count', type: 'int', default: 0 }));
    expect(suspectedRenames(before, after)).toEqual([
      { pointer: '/origin', message: 'looks like from renamed: give it the alias from, or remove from in a version of its own' },
    ]);
  });
  it('are none with an alias, with another type, or when only one side changes', () => {
    expect(suspectedRenames(before, rec(field({ name: 'origin', aliases: ['from'] }), field({ name: 'count', type: 'int' })))).toEqual([]);
    expect(suspectedRenames(before, rec(field({ name: 'origin', type: 'bytes' }), field({ name: 'count', type: 'int' })))).toEqual([]);
    expect(suspectedRenames(before, rec(field({ name: 'from' }), field({ name: 'count', type: 'int' }), field({ name: 'more' })))).toEqual(
      [],
    );
  });
  it('are found in records inside records', () => {
    const outer = (inner: string): RecordDefinition =>
      rec(field({ name: 'items', type: { type: 'array', items: { ...rec(field({ name: inner })), name: 'Item' } } }));
    expect(suspectedRenames(outer('x'), outer('y')).map(({ pointer }) => pointer)).toEqual(['/items/y']);
  });
});
