import { jsonSchemaOf } from './json-schema.js';
import type { RecordSchema } from './schema.js';

const schema: RecordSchema<unknown> = {
  fullName: 'a.Tree',
  schema: {
    type: 'record',
    name: 'a.Tree',
    doc: 'A tree.',
    fields: [
      { name: 'label', type: 'string', doc: 'What it says.' },
      { name: 'left', type: ['null', 'a.Tree'], default: null },
      { name: 'size', type: ['int', 'double'], default: 0 },
      { name: 'kind', type: { type: 'enum', name: 'a.Kind', symbols: ['OAK', 'FIR'], default: 'OAK' } },
      { name: 'id', type: { type: 'fixed', name: 'a.Id', size: 4 } },
      { name: 'leaves', type: { type: 'array', items: { type: 'record', name: 'a.Leaf', fields: [] } } },
      { name: 'counts', type: { type: 'map', values: 'long' } },
      { name: 'weight', type: 'double' },
    ],
  },
};

describe('the JSON schema of an Avro record', () => {
  it('says what its JSON looks like, with a schema for each record within it', () => {
    expect(jsonSchemaOf(schema, (name) => `#/x/${name}`)).toEqual({
      'a.Tree': {
        type: 'object',
        description: 'A tree.',
        properties: {
          label: { type: 'string', description: 'What it says.' },
          left: { anyOf: [{ type: 'null' }, { $ref: '#/x/a.Tree' }] },
          size: {
            anyOf: [
              {
                type: 'object',
                properties: { int: { type: 'integer', minimum: -2147483648, maximum: 2147483647 } },
                required: ['int'],
                additionalProperties: false,
              },
              { type: 'object', properties: { double: expect.any(Object) as unknown }, required: ['double'], additionalProperties: false },
            ],
          },
          kind: { enum: ['OAK', 'FIR'] },
          id: { type: 'string', contentEncoding: 'base64', minLength: 8, maxLength: 8 },
          leaves: { type: 'array', items: { $ref: '#/x/a.Leaf' } },
          counts: { type: 'object', additionalProperties: { type: 'integer', minimum: -9007199254740991, maximum: 9007199254740991 } },
          weight: { anyOf: [{ type: 'number' }, { enum: ['NaN', 'Infinity', '-Infinity'] }] },
        },
        required: ['label', 'kind', 'id', 'leaves', 'counts', 'weight'],
        additionalProperties: false,
      },
      'a.Leaf': { type: 'object', properties: {}, required: [], additionalProperties: false },
    });
  });

  it('has every field required in what is given', () => {
    expect(jsonSchemaOf(schema, String, true)['a.Tree']!['required']).toHaveLength(8);
  });
});
