import { SpoolError } from '../errors/spool-error.js';
import { parseAvro, type ParseAvroOptions } from './parse.js';
import { renderAvro } from './render.js';

const canonical = (schema: unknown, normalize = false) =>
  renderAvro(parseAvro(typeof schema === 'string' ? schema : JSON.stringify(schema)), { normalize });
const refusal = (schema: unknown, options?: ParseAvroOptions) => {
  try {
    parseAvro(typeof schema === 'string' ? schema : JSON.stringify(schema), options);
  } catch (error) {
    if (error instanceof SpoolError && error.code === 'SCHEMA_INVALID') return error.message;
    throw error;
  }
  return 'accepted';
};
const record = (fields: unknown[], more: object = {}) => ({ type: 'record', name: 'R', fields, ...more });

describe('canonical text', () => {
  it('is minified, with attributes in the order of Avro Java and unknown ones in the order they came', () => {
    const schema = `{ "fields": [ {"zeta":1, "aliases":["y"], "order":"descending", "default": 1.0, "doc":"d", "type":"double", "alpha":{"b":1,"a":2}, "name":"x"} ],
      "aliases": ["Old", "other.Older"], "version": 7, "doc": "what", "namespace":"org.acme", "name":"Flight", "type":"record" }`;
    expect(canonical(schema)).toBe(
      '{"type":"record","name":"Flight","namespace":"org.acme","doc":"what","fields":[{"name":"x","type":"double","doc":"d","default":1.0,' +
        '"order":"descending","aliases":["y"],"zeta":1,"alpha":{"b":1,"a":2}}],"version":7,"aliases":["Old","other.Older"]}',
    );
  });

  it.each([
    ['a primitive as an object', { type: 'string' }, '"string"'],
    ['a logical type', { logicalType: 'decimal', precision: 4, type: 'bytes' }, '{"type":"bytes","logicalType":"decimal","precision":4}'],
    ['a union', ['null', { type: 'array', items: { type: 'int' } }], '["null",{"type":"array","items":"int"}]'],
    ['a map', { values: 'long', type: 'map' }, '{"type":"map","values":"long"}'],
    [
      'an enum',
      { symbols: ['A', 'B'], name: 'E', type: 'enum', default: 'A' },
      '{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}',
    ],
    ['a fixed with a dotted name', { size: 4, name: 'a.b.F', type: 'fixed' }, '{"type":"fixed","name":"F","namespace":"a.b","size":4}'],
    [
      'ascending order, the default',
      record([{ name: 'a', type: 'int', order: 'ascending' }]),
      '{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}',
    ],
    [
      'a default of null',
      record([{ name: 'a', type: ['null', 'int'], default: null }]),
      '{"type":"record","name":"R","fields":[{"name":"a","type":["null","int"],"default":null}]}',
    ],
  ])('of %s', (_, schema, text) => {
    expect(canonical(schema)).toBe(text);
  });

  it('writes a named type once and its name afterwards, in full only across namespaces', () => {
    const inner = { type: 'enum', name: 'E', namespace: 'other', symbols: ['A'] };
    const schema = record(
      [
        { name: 'a', type: inner },
        { name: 'b', type: 'other.E' },
        { name: 'self', type: ['null', 'R'] },
        { name: 'c', type: { type: 'fixed', name: 'F', size: 1 } },
        { name: 'd', type: 'org.F' },
      ],
      { namespace: 'org' },
    );
    expect(canonical(schema)).toBe(
      '{"type":"record","name":"R","namespace":"org","fields":[{"name":"a","type":{"type":"enum","name":"E","namespace":"other","symbols":["A"]}},' +
        '{"name":"b","type":"other.E"},{"name":"self","type":["null","R"]},{"name":"c","type":{"type":"fixed","name":"F","size":1}},{"name":"d","type":"F"}]}',
    );
  });

  it('is the same for its own text', () => {
    const text = canonical(
      record([{ name: 'x', type: { type: 'map', values: ['null', 'R'] }, default: {}, p: { q: [1.5] } }], { namespace: 'n' }),
    );
    expect(canonical(text)).toBe(text);
  });

  it('keeps a long default exactly', () => {
    const text = '{"type":"record","name":"R","fields":[{"name":"a","type":"long","default":9223372036854775807}]}';
    expect(canonical(text)).toBe(text);
  });

  it('normalizes what has no order: attributes, aliases, empty docs', () => {
    const left = {
      ...record([{ name: 'a', type: 'int', z: 1, y: { d: 1, c: 2 }, aliases: ['q', 'p'], doc: '' }]),
      aliases: ['B', 'A'],
      x: 1,
      doc: '',
    };
    const right = { x: 1, ...record([{ aliases: ['p', 'q'], y: { c: 2, d: 1 }, z: 1, name: 'a', type: 'int' }]), aliases: ['A', 'B'] };
    expect(canonical(left)).not.toBe(canonical(right));
    expect(canonical(left, true)).toBe(canonical(right, true));
  });

  it('tells apart what differs in doc, default, aliases or order', () => {
    const base = { name: 'a', type: 'int' };
    const texts = [base, { ...base, doc: 'd' }, { ...base, default: 1 }, { ...base, aliases: ['b'] }, { ...base, order: 'ignore' }].map(
      (field) => canonical(record([field])),
    );
    expect(new Set(texts).size).toBe(5);
  });
});

describe('references', () => {
  const address = '{"type":"record","name":"Address","namespace":"org","fields":[{"name":"city","type":"string"}]}';
  const person = '{"type":"record","name":"Person","namespace":"org","fields":[{"name":"home","type":"Address"}]}';

  it('lend their named types, which are not written out', () => {
    const parsed = parseAvro(person, { references: [address] });
    expect(renderAvro(parsed)).toBe(person);
    expect(renderAvro(parsed, { resolved: true })).toContain('"name":"city"');
  });

  it('may be the whole schema', () => {
    expect(renderAvro(parseAvro('"org.Address"', { references: [address] }))).toBe('"org.Address"');
  });

  it('are needed', () => {
    expect(refusal(person)).toBe("at '/fields/0/type': undefined name 'Address'");
  });
});

describe('refusals name the place and the problem', () => {
  it.each([
    ['{"type":', /^not valid JSON: /],
    [{ type: 'strin' }, "at '/': undefined name 'strin'"],
    [42, "at '/': a schema is a string, an object or an array"],
    [{ name: 'R' }, "at '/': no 'type'"],
    [{ type: { type: 'string' } }, "at '/': 'type' of a schema object is a string"],
    [{ type: 'array' }, "at '/': no 'items'"],
    [{ type: 'record', name: 'R' }, "at '/': no 'fields'"],
    [{ type: 'record', fields: [] }, "at '/': no 'name'"],
    [record([], { name: '1R' }), "at '/name': '1R' is not a valid name"],
    [record([], { name: 'int' }), "at '/name': 'int' is the name of a primitive type"],
    [record([], { namespace: 'a..b' }), "at '/name': 'a..b' is not a valid namespace"],
    [record([{ name: 'a' }]), "at '/fields/0': no 'type'"],
    [record([{ type: 'int' }]), "at '/fields/0': no 'name'"],
    [record([{ name: 'a-b', type: 'int' }]), "at '/fields/0/name': 'a-b' is not a valid name"],
    [
      record([
        { name: 'a', type: 'int' },
        { name: 'a', type: 'int' },
      ]),
      "at '/fields/1': the field 'a' is defined twice",
    ],
    [record([{ name: 'a', type: 'int', order: 'up' }]), "at '/fields/0/order': must be one of ascending, descending, ignore"],
    [record([{ name: 'a', type: 'int', aliases: 'b' }]), "at '/fields/0/aliases': must be an array of strings"],
    [record([{ name: 'a', type: record([]) }]), "at '/fields/0/type/name': 'R' is defined twice"],
    [['int', 'int'], "at '/1': 'int' is in the union twice"],
    [['int', ['null']], "at '/1': a union may not hold a union"],
    [{ type: 'enum', name: 'E', symbols: ['A', 'A'] }, "at '/symbols/1': 'A' is there twice"],
    [{ type: 'enum', name: 'E', symbols: ['a b'] }, "at '/symbols/0': 'a b' is not a valid symbol"],
    [{ type: 'enum', name: 'E', symbols: ['A'], default: 'B' }, "at '/default': 'B' is not one of the symbols"],
    [{ type: 'fixed', name: 'F', size: -1 }, "at '/size': must be a whole number from 0 to 2147483647"],
    [{ type: 'fixed', name: 'F', size: 1.5 }, "at '/size': must be a whole number from 0 to 2147483647"],
  ])('%j', (schema, message) => {
    if (typeof message === 'string') expect(refusal(schema)).toBe(message);
    else expect(refusal(schema)).toMatch(message);
  });

  it.each([
    ['int', '2147483648', '2147483648 is not a int'],
    ['int', '1.0', '1.0 is not a int'],
    ['long', '9223372036854775808', '9223372036854775808 is not a long'],
    ['string', 'null', 'null is not a string'],
    ['boolean', '"true"', '"true" is not a boolean'],
    ['bytes', '"€"', '"€" is not a bytes'],
    [{ type: 'fixed', name: 'F', size: 2 }, '"abc"', '"abc" is not a F'],
    [{ type: 'enum', name: 'E', symbols: ['A'] }, '"B"', '"B" is not a E'],
    [{ type: 'array', items: 'int' }, '[1,"2"]', '"2" is not a int'],
    [{ type: 'map', values: 'int' }, '{"a":null}', 'null is not a int'],
    [['null', 'string'], '"x"', '"x" is not a null (the default of a union is of its first type)'],
    [{ type: 'record', name: 'In', fields: [{ name: 'q', type: 'int' }] }, '{}', "the field 'q' is missing"],
    [{ type: 'record', name: 'In', fields: [{ name: 'q', type: 'int' }] }, '{"q":"1"}', 'field \'q\': "1" is not a int'],
  ])('a default that does not fit %j: %s', (type, value, problem) => {
    const text = `{"type":"record","name":"R","fields":[{"name":"a","type":${JSON.stringify(type)},"default":${value}}]}`;
    expect(refusal(text, { checkDefaults: true })).toBe(`at '/fields/0/default': not a valid default of field 'a': ${problem}`);
    expect(refusal(text)).toBe('accepted');
  });

  it('accepts defaults that fit', () => {
    const fields = [
      { name: 'a', type: ['null', 'int'], default: null },
      { name: 'b', type: { type: 'record', name: 'In', fields: [{ name: 'q', type: 'int', default: 3 }] }, default: {} },
      { name: 'c', type: 'bytes', default: '\u00ff\u0000' },
      { name: 'd', type: 'float', default: 1 },
      { name: 'e', type: { type: 'map', values: 'long' }, default: { x: -5 } },
    ];
    expect(refusal(record(fields), { checkDefaults: true })).toBe('accepted');
  });

  it('bounds depth and size', () => {
    let deep: unknown = 'int';
    for (let level = 0; level < 300; level++) deep = { type: 'array', items: deep };
    expect(refusal(deep)).toMatch(/nested more than 200 deep$/);
    expect(
      refusal(
        record([
          { name: 'a', type: 'int' },
          { name: 'b', type: 'int' },
        ]),
        { maxNodes: 2 },
      ),
    ).toBe("at '/fields/1/type': the schema has too many types");
  });
});
