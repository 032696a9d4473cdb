import { incompatibilities, levels, type CompatibilityLevel } from './levels.js';
import { parseSchema } from './avro/parse.js';

const text = (fields: object[]) => JSON.stringify({ type: 'record', name: 'R', fields });
const bare = text([{ name: 'a', type: 'int' }]);
const added = text([
  { name: 'a', type: 'int' },
  { name: 'b', type: 'int' },
]);
const optional = text([
  { name: 'a', type: 'int' },
  { name: 'b', type: 'int', default: 0 },
]);
const parse = (schema: string) => parseSchema(schema).schema;
const version = (schema: string, number: number) => ({ version: number, text: schema, parse: () => parse(schema) });
const check = (level: CompatibilityLevel, next: string, ...earlier: string[]) =>
  incompatibilities(
    level,
    parse(next),
    earlier.map((schema, index) => version(schema, index + 1)),
  );

describe('compatibility levels', () => {
  /** An added field without default can be left out by old readers (forward) but not filled by new ones (backward). */
  it.each<[CompatibilityLevel, boolean, boolean, boolean]>([
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

  it.each(levels)('%s allows the first version', (level) => {
    expect(check(level, added)).toEqual([]);
  });

  it('says what is wrong and where, and beside which version, in the words of Confluent', () => {
    expect(check('BACKWARD', added, bare)).toEqual([
      "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'b'}",
      '{oldSchemaVersion: 1}',
      `{oldSchema: '${bare}'}`,
      "{validateFields: 'false', compatibility: 'BACKWARD'}",
    ]);
    expect(check('FORWARD', bare, added)[0]).toBe(
      "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the old schema has no default value and is missing in the new schema', additionalInfo:'b'}",
    );
  });

  it('compares the newest version first', () => {
    expect(check('FULL_TRANSITIVE', added, bare, bare).at(-3)).toBe('{oldSchemaVersion: 2}');
  });

  it('is not compatible with a schema of another type', () => {
    const other = { version: 1, text: 'syntax = "proto3";', parse: () => undefined };
    expect(incompatibilities('BACKWARD', parse(bare), [other])).toHaveLength(4);
    expect(incompatibilities('NONE', parse(bare), [other])).toEqual([]);
  });
});
