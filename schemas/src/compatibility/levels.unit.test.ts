import { checkCompatibility, compatibilityLevels, incompatibilities, unreadableParts, type Compatibility } from './levels.js';
import { parseAvro } from './parse.js';
import type { AvroField, AvroSchema } from '../avro/schema.js';

const rec = (...fields: AvroField[]): AvroSchema => ({ type: 'record', name: 'R', fields });
const a: AvroField = { name: 'a', type: 'int' };
const b: AvroField = { name: 'b', type: 'int' };
const bare = rec(a);
const added = rec(a, b);
const optional = rec(a, { ...b, default: 0 });
const check = (level: Compatibility, next: AvroSchema, ...earlier: AvroSchema[]) =>
  incompatibilities(
    level,
    next,
    earlier.map((schema, index) => ({ version: index + 1, schema })),
  );

describe('compatibility levels', () => {
  /** An added field without default can be left out by old readers (forward) but not filled by new ones (backward). */
  it.each<[Compatibility, boolean, boolean, boolean]>([
    ['NONE', true, true, true],
    ['BACKWARD', false, true, true],
    ['BACKWARD_TRANSITIVE', false, true, false],
    ['FORWARD', true, false, true],
    ['FORWARD_TRANSITIVE', true, false, true],
    ['FULL', false, false, true],
    ['FULL_TRANSITIVE', false, false, false],
  ])('%s', (level, addsRequired, dropsRequired, onlyOldestDiffers) => {
    expect(check(level, added, bare).length === 0).toBe(addsRequired);
    expect(check(level, bare, added).length === 0).toBe(dropsRequired);
    // optional -> added is fine both ways; against the first version it is not backward compatible.
    expect(check(level, added, bare, optional).length === 0).toBe(onlyOldestDiffers);
  });

  it.each([...compatibilityLevels])('%s allows the first version', (level) => {
    expect(check(level, added)).toEqual([]);
  });

  it('say what is wrong and where, in both directions, beside every version that counts, the newest first', () => {
    const missing = (path: string, reader: string, writer: string, name: string) =>
      `The field '${name}' at path '${path}' in the ${reader} schema has no default value and is missing in the ${writer} schema`;
    expect(check('FULL_TRANSITIVE', rec(b), bare, added, rec(b))).toEqual([
      `version 2: ${missing('/fields/0', 'old', 'new', 'a')}`,
      `version 1: ${missing('/fields/0', 'new', 'old', 'b')}`,
      `version 1: ${missing('/fields/0', 'old', 'new', 'a')}`,
    ]);
    expect(check('FULL', rec(b), added)).toEqual([`version 1: ${missing('/fields/0', 'old', 'new', 'a')}`]);
  });

  it('are not met by a schema of another type', () => {
    const conflicts = (level: Compatibility) =>
      checkCompatibility(level, parseAvro(JSON.stringify(bare)), [{ version: 1, parse: () => undefined }]);
    expect(conflicts('BACKWARD')).toMatchObject([{ version: 1, type: 'UNREADABLE' }]);
    expect(conflicts('NONE')).toEqual([]);
  });
});

describe('sentences', () => {
  const kind = (symbols: string[]): AvroSchema => ({ type: 'enum', name: 'Kind', symbols });
  const fixed = (size: number): AvroSchema => ({ type: 'fixed', name: 'F', size });
  it.each<[AvroSchema, AvroSchema, string]>([
    [
      'int',
      'string',
      "The type (path '/') of a field in the reader schema does not match with the writer schema: reader type: INT not compatible with writer type: STRING",
    ],
    [rec(), { type: 'record', name: 'S', fields: [] }, "The name of the schema has changed (path '/name'): expected: S"],
    [kind(['x']), kind(['x', 'y']), "The reader schema is missing enum symbols '[y]' at path '/symbols' in the writer schema"],
    [
      ['null', 'int'],
      'string',
      "The reader schema is missing a type inside a union field at path '/' in the writer schema: reader union lacking writer type: STRING",
    ],
    [
      fixed(4),
      fixed(8),
      "The size of FIXED type field at path '/size' in the reader schema does not match with the writer schema: expected: 8, found: 4",
    ],
  ])('%j beside %j', (reader, writer, sentence) => {
    expect(unreadableParts(reader, writer)).toEqual([sentence]);
  });
});
