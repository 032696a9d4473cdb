import { decodeRecord, encodeChange, type Change } from './records.js';

const schema = '{"type":"string"}';
const bytes = (json: unknown) => Buffer.from(JSON.stringify(json));
const encoded = (change: Change) => {
  const { key, value } = encodeChange(change);
  return [key, value?.toString() ?? null];
};
const decoded = (key: unknown, value: unknown) => decodeRecord(bytes(key), value === null ? null : bytes(value));

describe('records of the _schemas topic', () => {
  it('are byte for byte those that a Confluent registry writes', () => {
    const value = { subject: 's', version: 2, id: 7, schema, deleted: false };
    expect(encoded({ type: 'SCHEMA', subject: 's', version: 2, value })).toEqual([
      '{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}',
      '{"subject":"s","version":2,"id":7,"schema":"{\\"type\\":\\"string\\"}","deleted":false}',
    ]);
    const references = [{ name: 'org.A', subject: 'a', version: 1 }];
    expect(encoded({ type: 'SCHEMA', subject: 's', version: 2, value: { ...value, references, deleted: true } })[1]).toBe(
      '{"subject":"s","version":2,"id":7,"references":[{"name":"org.A","subject":"a","version":1}],"schema":"{\\"type\\":\\"string\\"}","deleted":true}',
    );
    expect(encoded({ type: 'SCHEMA', subject: 's', version: 2, value: null })).toEqual([
      '{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}',
      null,
    ]);
    expect(encoded({ type: 'CONFIG', subject: null, value: { compatibilityLevel: 'FULL' } })).toEqual([
      '{"keytype":"CONFIG","subject":null,"magic":0}',
      '{"subject":null,"compatibilityLevel":"FULL"}',
    ]);
    expect(encoded({ type: 'MODE', subject: 's', value: { mode: 'READONLY' } })).toEqual([
      '{"keytype":"MODE","subject":"s","magic":0}',
      '{"subject":"s","mode":"READONLY"}',
    ]);
    expect(encoded({ type: 'DELETE_SUBJECT', subject: 's', version: 3 })).toEqual([
      '{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}',
      '{"subject":"s","version":3}',
    ]);
    expect(encoded({ type: 'NOOP', maxId: 12 })).toEqual(['{"keytype":"NOOP","magic":0}', '{"maxId":12}']);
  });

  it('are read back as they were meant', () => {
    const changes: Change[] = [
      {
        type: 'SCHEMA',
        subject: 's',
        version: 1,
        value: { subject: 's', version: 1, id: 1, schema, deleted: true, references: [{ name: 'n', subject: 'r', version: 1 }] },
      },
      { type: 'SCHEMA', subject: 's', version: 1, value: null },
      { type: 'CONFIG', subject: null, value: null },
      { type: 'DELETE_SUBJECT', subject: 's', version: 4 },
      { type: 'NOOP', maxId: 3 },
    ];
    for (const change of changes) {
      const { key, value } = encodeChange(change);
      expect(decodeRecord(Buffer.from(key), value)).toEqual(change);
    }
  });

  it('of other writers are read: older keys, no flags, a schema type, a marker without value', () => {
    expect(decoded({ keytype: 'SCHEMA', subject: 's', version: 1, magic: 0 }, { subject: 's', version: 1, id: 1, schema })).toMatchObject({
      type: 'SCHEMA',
      value: { deleted: false },
    });
    expect(
      decoded(
        { keytype: 'SCHEMA', subject: 's', version: 1, magic: 1 },
        { subject: 's', version: 1, id: 1, schemaType: 'PROTOBUF', schema: 'x' },
      ),
    ).toMatchObject({
      value: { schemaType: 'PROTOBUF' },
    });
    expect(decoded({ keytype: 'CONFIG', magic: 0 }, { compatibilityLevel: 'NONE' })).toMatchObject({ type: 'CONFIG', subject: null });
    expect(decoded({ keytype: 'NOOP', magic: 0 }, null)).toEqual({ type: 'NOOP', maxId: 0 });
  });

  it('keep what a newer writer put beside the fields that are known here', () => {
    const value = { subject: 's', version: 1, id: 1, guid: 'g', metadata: { properties: { owner: 'x' } }, schema, deleted: false };
    const change = decoded({ keytype: 'SCHEMA', subject: 's', version: 1, magic: 1 }, value) as Change & { type: 'SCHEMA' };
    const again = encodeChange({ ...change, value: { ...change.value!, deleted: true } });
    expect(JSON.parse(again.value!.toString())).toEqual({ ...value, deleted: true });
  });

  it.each([
    ['no key', null, bytes({})],
    ['a key that is not JSON', Buffer.from('x'), bytes({})],
    ['an unknown kind', bytes({ keytype: 'CONTEXT', tenant: 'default', context: '.x', magic: 0 }), bytes({})],
    ['a value that is not JSON', bytes({ keytype: 'SCHEMA', subject: 's', version: 1, magic: 1 }), Buffer.from('{')],
    ['a value without id', bytes({ keytype: 'SCHEMA', subject: 's', version: 1, magic: 1 }), bytes({ subject: 's', version: 1, schema })],
    [
      'a subject of another context',
      bytes({ keytype: 'SCHEMA', subject: ':.ctx:s', version: 1, magic: 1 }),
      bytes({ subject: ':.ctx:s', version: 1, id: 1, schema }),
    ],
  ])('are left aside: %s', (_, key, value) => {
    expect(decodeRecord(key, value)).toMatchObject({ type: 'UNREADABLE' });
  });
});
