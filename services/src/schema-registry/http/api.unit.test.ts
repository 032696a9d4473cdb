import { request as rawRequest } from 'node:http';
import { createMemoryCluster, type Kafka } from '@spool/streams';
import { startSchemaRegistry, type RunningSchemaRegistry } from '../start.js';
import { apiOf, recordOf, type Answer, type Api } from '../testing/api.js';

let kafka: Kafka;
let registry: RunningSchemaRegistry;
let api: Api;

beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  registry = await startSchemaRegistry({ kafka, port: 0, maxBodyBytes: 20_000 });
  api = apiOf(registry.url);
});
afterEach(async () => {
  await registry.close();
  await kafka.close();
});

const refused = ({ status, body }: Answer) => [status, (body as { error_code: number }).error_code];
const messageOf = ({ body }: Answer) => (body as { message: string }).message;
const v1 = recordOf('R', ['a']);
const v2 = recordOf('R', ['a', 'b'], true);
const v3 = recordOf('R', ['a', 'b', 'c'], true);

describe('registering and reading', () => {
  it('starts empty', async () => {
    expect((await api.get('/')).body).toEqual({});
    expect((await api.get('/subjects')).body).toEqual([]);
    expect((await api.get('/schemas')).body).toEqual([]);
    expect((await api.get('/schemas/types')).body).toEqual(['AVRO']);
    expect((await api.get('/contexts')).body).toEqual(['.']);
    expect((await api.get('/config')).body).toEqual({ compatibilityLevel: 'BACKWARD' });
    expect((await api.get('/mode')).body).toEqual({ mode: 'READWRITE' });
    expect((await api.get('/v1/metadata/id')).body).toMatchObject({
      scope: { clusters: { 'schema-registry-cluster': 'schema-registry' } },
    });
  });

  it('gives ids and versions, and the schema back by either', async () => {
    expect(await api.register('s', v1)).toBe(1);
    expect(await api.register('s', v2)).toBe(2);
    expect((await api.get('/subjects')).body).toEqual(['s']);
    expect((await api.get('/subjects/s/versions')).body).toEqual([1, 2]);
    const second = { subject: 's', version: 2, id: 2, schema: v2 };
    expect((await api.get('/subjects/s/versions/2')).body).toEqual(second);
    expect((await api.get('/subjects/s/versions/latest')).body).toEqual(second);
    expect((await api.get('/subjects/s/versions/-1')).body).toEqual(second);
    expect((await api.get('/subjects/s/versions/1/schema')).body).toEqual(JSON.parse(v1));
    expect((await api.get('/schemas/ids/1')).body).toEqual({ schema: v1 });
    expect((await api.get('/schemas/ids/1?fetchMaxId=true')).body).toEqual({ schema: v1, maxId: 2 });
    expect((await api.get('/schemas/ids/1/schema')).body).toEqual(JSON.parse(v1));
    expect((await api.get('/schemas/ids/2/versions')).body).toEqual([{ subject: 's', version: 2 }]);
    expect((await api.get('/schemas')).body).toEqual([{ subject: 's', version: 1, id: 1, schema: v1 }, second]);
  });

  it('gives the same schema the same id in every subject, and registers it once', async () => {
    expect(await api.register('s', v1)).toBe(1);
    expect(await api.register('s', ` ${v1} `)).toBe(1);
    expect(await api.register('t', v1)).toBe(1);
    expect((await api.get('/subjects/s/versions')).body).toEqual([1]);
    expect((await api.get('/schemas/ids/1/subjects')).body).toEqual(['s', 't']);
    expect((await api.get('/schemas/ids/1/versions?subject=t')).body).toEqual([{ subject: 't', version: 1 }]);
  });

  it('stores the canonical text and keeps docs and exact defaults', async () => {
    await api.register(
      's',
      '{ "fields": [{"default": 9223372036854775807, "type":"long", "name":"a"}], "doc":"d", "name":"R", "type":"record" }',
    );
    expect((await api.get('/schemas/ids/1')).body).toEqual({
      schema: '{"type":"record","name":"R","doc":"d","fields":[{"name":"a","type":"long","default":9223372036854775807}]}',
    });
  });

  it('looks a schema up under a subject', async () => {
    await api.register('s', v1);
    expect((await api.post('/subjects/s', { schema: v1 })).body).toEqual({ subject: 's', version: 1, id: 1, schema: v1 });
    const unknown = await api.post('/subjects/s', { schema: v2 });
    expect([refused(unknown), messageOf(unknown)]).toEqual([[404, 40403], 'Schema not found']);
    expect(refused(await api.post('/subjects/t', { schema: v1 }))).toEqual([404, 40401]);
    expect(refused(await api.post('/subjects/s', { schema: '{' }))).toEqual([422, 42201]);
  });

  it('normalizes when asked, by flag or by setting', async () => {
    const plain = '{"type":"record","name":"R","fields":[{"name":"a","type":"int","y":1,"x":2}]}';
    const other = '{"type":"record","name":"R","fields":[{"name":"a","type":"int","x":2,"y":1}]}';
    await api.register('s', other);
    expect((await api.post('/subjects/s', { schema: plain })).status).toBe(404);
    expect((await api.post('/subjects/s?normalize=true', { schema: plain })).body).toMatchObject({ id: 1 });
    await api.put('/config', { normalize: true });
    expect(await api.register('s', plain)).toBe(1);
  });

  it('pages, filters by prefix and shows the latest alone', async () => {
    for (const subject of ['a-1', 'a-2', 'b-1']) await api.register(subject, v1);
    await api.register('a-1', v2);
    expect((await api.get('/subjects?subjectPrefix=a-')).body).toEqual(['a-1', 'a-2']);
    expect((await api.get('/subjects?offset=1&limit=1')).body).toEqual(['a-2']);
    expect((await api.get('/subjects/a-1/versions?offset=1')).body).toEqual([2]);
    expect((await api.get('/schemas?subjectPrefix=a-&latestOnly=true')).body).toMatchObject([
      { subject: 'a-1', version: 2 },
      { subject: 'a-2', version: 1 },
    ]);
    expect((await api.get('/schemas?limit=0')).body).toEqual([]);
    expect(refused(await api.get('/subjects?limit=many'))).toEqual([400, 400]);
  });

  it('takes subjects with any printable character', async () => {
    const subject = 'evt/Flight.über 1%';
    await api.register(subject, v1);
    expect((await api.get('/subjects')).body).toEqual([subject]);
    expect((await api.get(`/subjects/${encodeURIComponent(subject)}/versions/1`)).body).toMatchObject({ subject });
  });

  it.each([
    ['/subjects/x/versions', 40401],
    ['/subjects/x/versions/1', 40401],
    ['/subjects/x/versions/latest', 40401],
    ['/subjects/s/versions/9', 40402],
    ['/subjects/s/versions/0', 42202],
    ['/subjects/s/versions/2147483648', 42202],
    ['/subjects/s/versions/newest', 42202],
    ['/schemas/ids/9', 40403],
    ['/schemas/ids/9/schema', 40403],
    ['/schemas/ids/9/subjects', 40403],
    ['/schemas/ids/9/versions', 40403],
    ['/schemas/ids/x', 404],
    ['/subjects/s/versions/1/other', 404],
    ['/config/s', 40408],
    ['/mode/s', 40409],
    ['/subjects/%00/versions', 42208],
    ['/subjects/:.ctx:s/versions', 42208],
    ['/subjects/__GLOBAL/versions', 42208],

    ['/subjects/%ff/versions', 400],
  ])('GET %s is refused with %i', async (path, code) => {
    await api.register('s', v1);
    expect(refused(await api.get(path))).toEqual([code < 1000 ? code : Math.floor(code / 100), code]);
  });

  it.each([
    ['no schema', {}],
    ['an empty one', { schema: '' }],
    ['one that is not Avro', { schema: '{"type":"strin"}' }],
    ['one that is not text', { schema: { type: 'string' } }],
    ['another schema type', { schema: v1, schemaType: 'PROTOBUF' }],
    ['a default that does not fit', { schema: '{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}' }],
    ['an unknown reference', { schema: v1, references: [{ name: 'X', subject: 'x', version: 1 }] }],
    ['a broken reference', { schema: v1, references: [{ name: 'X', subject: 'x', version: 0 }] }],
    ['rules', { schema: v1, ruleSet: { domainRules: [] } }],
    ['a version that is not the next', { schema: v1, version: 5 }],
  ])('refuses %s', async (_, body) => {
    expect(refused(await api.post('/subjects/s/versions', body))).toEqual([422, 42201]);
    expect((await api.get('/subjects')).body).toEqual([]);
  });

  it('refuses a subject of more than a thousand characters', async () => {
    expect(refused(await api.get(`/subjects/${'x'.repeat(1_001)}/versions`))).toEqual([422, 42208]);
  });

  it('says where a schema is wrong', async () => {
    const answer = await api.post('/subjects/s/versions', {
      schema: '{"type":"record","name":"R","fields":[{"name":"a","type":"strin"}]}',
    });
    expect(messageOf(answer)).toContain("at '/fields/0/type': undefined name 'strin'");
  });
});

describe('compatibility', () => {
  const required = recordOf('R', ['a', 'z']);

  it('is enforced on registering, and the refusal says what is wrong and where', async () => {
    await api.register('s', v1);
    const answer = await api.post('/subjects/s/versions', { schema: required });
    expect(refused(answer)).toEqual([409, 409]);
    expect(messageOf(answer)).toMatch(
      /^Schema being registered is incompatible with an earlier schema for subject "s", details: \[\{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'z' at path '\/fields\/1' in the new schema/,
    );
    expect((await api.get('/subjects/s/versions')).body).toEqual([1]);
  });

  it('can be asked for one version or for all, with reasons', async () => {
    await api.register('s', v1);
    await api.register('s', recordOf('R', ['a', 'z'], true));
    const path = '/compatibility/subjects/s/versions';
    expect((await api.post(`${path}/latest`, { schema: required })).body).toEqual({ is_compatible: true });
    expect((await api.post(`${path}/1`, { schema: required })).body).toEqual({ is_compatible: false });
    expect((await api.post(path, { schema: required })).body).toEqual({ is_compatible: true });
    await api.put('/config/s', { compatibility: 'BACKWARD_TRANSITIVE' });
    expect((await api.post(path, { schema: required })).body).toEqual({ is_compatible: false });
    const { messages } = (await api.post(`${path}?verbose=true`, { schema: required })).body as { messages: string[] };
    expect(messages).toEqual([
      "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'z' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'z'}",
      '{oldSchemaVersion: 1}',
      `{oldSchema: '${v1}'}`,
      "{validateFields: 'false', compatibility: 'BACKWARD_TRANSITIVE'}",
    ]);
    // Where several versions do not go with it, the newest alone is told about.
    const both = (await api.post(`${path}?verbose=true`, { schema: recordOf('R', ['a', 'q']) })).body as { messages: string[] };
    expect(both.messages).toHaveLength(4);
    expect(both.messages[1]).toBe('{oldSchemaVersion: 2}');
    expect((await api.post(`${path}/1?verbose=true`, { schema: v1 })).body).toEqual({ is_compatible: true, messages: [] });
  });

  it('without a version to compare with is given; a version that is named must be there', async () => {
    expect((await api.post('/compatibility/subjects/x/versions/latest', { schema: v1 })).body).toEqual({ is_compatible: true });
    expect((await api.post('/compatibility/subjects/x/versions', { schema: v1 })).body).toEqual({ is_compatible: true });
    expect(refused(await api.post('/compatibility/subjects/x/versions/1', { schema: v1 }))).toEqual([404, 40401]);
    await api.register('s', v1);
    expect(refused(await api.post('/compatibility/subjects/s/versions/7', { schema: v1 }))).toEqual([404, 40402]);
    expect(refused(await api.post('/compatibility/subjects/s/versions/x', { schema: v1 }))).toEqual([422, 42202]);
    expect(refused(await api.post('/compatibility/subjects/s/versions/1', { schema: '"nope"' }))).toEqual([422, 42201]);
  });

  it('does not look at deleted versions', async () => {
    await api.register('s', required);
    await api.register('s', recordOf('R', ['z']));
    await api.delete('/subjects/s/versions/2');
    expect(await api.register('s', recordOf('R', ['a', 'z', 'n'], true))).toBe(3);
    expect((await api.get('/subjects/s/versions')).body).toEqual([1, 3]);
  });
});

describe('settings', () => {
  it('of the registry and of a subject are set, shown and taken back', async () => {
    expect((await api.put('/config', { compatibility: 'full' })).body).toEqual({ compatibility: 'FULL' });
    expect((await api.get('/config')).body).toEqual({ compatibilityLevel: 'FULL' });
    expect((await api.get('/config/s?defaultToGlobal=true')).body).toEqual({ compatibilityLevel: 'FULL' });
    expect((await api.put('/config/s', { compatibility: 'NONE' })).body).toEqual({ compatibility: 'NONE' });
    expect((await api.put('/config/s', { normalize: true })).body).toEqual({ normalize: true });
    expect((await api.get('/config/s')).body).toEqual({ compatibilityLevel: 'NONE', normalize: true });
    expect((await api.delete('/config/s')).body).toEqual({ compatibilityLevel: 'NONE', normalize: true });
    expect(refused(await api.delete('/config/s'))).toEqual([404, 40401]);
    expect((await api.delete('/config')).body).toEqual({ compatibilityLevel: 'FULL' });
    expect((await api.get('/config')).body).toEqual({ compatibilityLevel: 'BACKWARD' });
  });

  it.each([[{ compatibility: 'SOMETIMES' }], [{}], [{ compatibility: 'FULL', alias: 'x' }], [{ normalize: 'yes' }]])(
    'refuse %j',
    async (body) => {
      expect(refused(await api.put('/config', body))).toEqual([422, 42203]);
    },
  );

  it('of a subject decide what may follow', async () => {
    await api.register('s', v1);
    await api.put('/config/s', { compatibility: 'NONE' });
    expect(await api.register('s', '"string"')).toBe(2);
  });

  it('go when the subject goes', async () => {
    await api.register('s', v1);
    await api.put('/config/s', { compatibility: 'NONE' });
    await api.put('/mode/s', { mode: 'READWRITE' });
    await api.delete('/subjects/s');
    expect(refused(await api.get('/config/s'))).toEqual([404, 40408]);
    expect(refused(await api.get('/mode/s'))).toEqual([404, 40409]);
  });
});

describe('modes', () => {
  it('READONLY refuses writes, lets what is registered be registered again, and ends', async () => {
    await api.register('s', v1);
    expect((await api.put('/mode/s', { mode: 'readonly' })).body).toEqual({ mode: 'READONLY' });
    expect((await api.get('/mode/s')).body).toEqual({ mode: 'READONLY' });
    expect(refused(await api.post('/subjects/s/versions', { schema: v2 }))).toEqual([422, 42205]);
    expect(refused(await api.delete('/subjects/s'))).toEqual([422, 42205]);
    expect(refused(await api.delete('/subjects/s/versions/1'))).toEqual([422, 42205]);
    expect(refused(await api.put('/config/s', { compatibility: 'NONE' }))).toEqual([422, 42205]);
    expect(await api.register('s', v1)).toBe(1);
    expect(await api.register('t', v2)).toBe(2);
    expect((await api.delete('/mode/s')).body).toEqual({ mode: 'READONLY' });
    expect(await api.register('s', v2)).toBe(2);
  });

  it('of the registry holds for subjects without their own', async () => {
    await api.put('/mode', { mode: 'READONLY' });
    expect((await api.get('/mode/s?defaultToGlobal=true')).body).toEqual({ mode: 'READONLY' });
    expect(refused(await api.post('/subjects/s/versions', { schema: v1 }))).toEqual([422, 42205]);
    await api.put('/mode/s', { mode: 'READWRITE' });
    expect(await api.register('s', v1)).toBe(1);
    expect((await api.delete('/mode')).body).toEqual({ mode: 'READONLY' });
  });

  it('IMPORT takes schemas with their ids and versions, twice the same, and never one over another', async () => {
    await api.put('/mode/s', { mode: 'IMPORT' });
    expect(refused(await api.post('/subjects/s/versions', { schema: v1 }))).toEqual([422, 42205]);
    expect(await api.register('s', v1, { id: 70, version: 3 })).toBe(70);
    expect(await api.register('s', v1, { id: 70, version: 3 })).toBe(70);
    expect(await api.register('s', '"string"', { id: 71, version: 9 })).toBe(71);
    expect(refused(await api.post('/subjects/s/versions', { schema: v2, id: 70, version: 10 }))).toEqual([422, 42205]);
    expect(refused(await api.post('/subjects/s/versions', { schema: v2, id: 72, version: 3 }))).toEqual([422, 42205]);
    expect((await api.get('/subjects/s/versions')).body).toEqual([3, 9]);
    expect(await api.register('t', v2)).toBe(72);
  });

  it('IMPORT is refused where schemas are, unless forced; ids are refused outside of it', async () => {
    await api.register('s', v1);
    expect(refused(await api.put('/mode/s', { mode: 'IMPORT' }))).toEqual([422, 42205]);
    expect(refused(await api.put('/mode', { mode: 'IMPORT' }))).toEqual([422, 42205]);
    expect((await api.put('/mode/s?force=true', { mode: 'IMPORT' })).body).toEqual({ mode: 'IMPORT' });
    expect(refused(await api.post('/subjects/t/versions', { schema: v1, id: 5 }))).toEqual([422, 42205]);
  });

  it('IMPORT clears what was only soft-deleted', async () => {
    await api.register('s', v1);
    await api.delete('/subjects/s');
    await api.put('/mode/s', { mode: 'IMPORT' });
    expect((await api.get('/subjects?deleted=true')).body).toEqual([]);
    expect(await api.register('s', v2, { id: 1, version: 1 })).toBe(1);
  });

  it.each([[{ mode: 'WRITEONLY' }], [{}]])('refuse %j', async (body) => {
    expect(refused(await api.put('/mode', body))).toEqual([422, 42204]);
  });
});

describe('deleting', () => {
  beforeEach(async () => {
    await api.register('s', v1);
    await api.register('s', v2);
  });

  it('a version softly hides it, keeps its id readable, and gives the number to nobody else', async () => {
    expect((await api.delete('/subjects/s/versions/latest')).body).toBe(2);
    expect((await api.get('/subjects/s/versions')).body).toEqual([1]);
    expect((await api.get('/subjects/s/versions?deleted=true')).body).toEqual([1, 2]);
    expect((await api.get('/subjects/s/versions?deletedOnly=true')).body).toEqual([2]);
    expect(refused(await api.get('/subjects/s/versions/2'))).toEqual([404, 40402]);
    expect((await api.get('/subjects/s/versions/2?deleted=true')).body).toMatchObject({ id: 2, deleted: true });
    expect((await api.get('/schemas/ids/2')).body).toEqual({ schema: v2 });
    expect((await api.get('/schemas/ids/2/versions')).body).toEqual([]);
    expect((await api.get('/schemas/ids/2/versions?deleted=true')).body).toEqual([{ subject: 's', version: 2 }]);
    expect(refused(await api.post('/subjects/s', { schema: v2 }))).toEqual([404, 40403]);
    expect((await api.post('/subjects/s?deleted=true', { schema: v2 })).body).toMatchObject({ version: 2 });
    expect((await api.get('/schemas?deleted=true')).body).toHaveLength(2);
    expect(await api.register('s', v3)).toBe(3);
    expect((await api.get('/subjects/s/versions')).body).toEqual([1, 3]);
  });

  it('and registering again gives the same id and a new version in place of the deleted one', async () => {
    await api.delete('/subjects/s/versions/2');
    expect(await api.register('s', v2)).toBe(2);
    expect((await api.get('/subjects/s/versions?deleted=true')).body).toEqual([1, 3]);
  });

  it('a version for good needs the soft deletion first', async () => {
    expect(refused(await api.delete('/subjects/s/versions/1?permanent=true'))).toEqual([404, 40407]);
    await api.delete('/subjects/s/versions/1');
    expect(refused(await api.delete('/subjects/s/versions/1'))).toEqual([404, 40406]);
    expect((await api.delete('/subjects/s/versions/1?permanent=true')).body).toBe(1);
    expect(refused(await api.get('/schemas/ids/1'))).toEqual([404, 40403]);
    expect(refused(await api.delete('/subjects/s/versions/1'))).toEqual([404, 40402]);
    expect(refused(await api.delete('/subjects/x/versions/1'))).toEqual([404, 40401]);
  });

  it('a subject softly, then for good', async () => {
    expect(refused(await api.delete('/subjects/s?permanent=true'))).toEqual([404, 40405]);
    expect((await api.delete('/subjects/s')).body).toEqual([1, 2]);
    expect((await api.get('/subjects')).body).toEqual([]);
    expect((await api.get('/subjects?deleted=true')).body).toEqual(['s']);
    expect((await api.get('/subjects?deletedOnly=true')).body).toEqual(['s']);
    expect(refused(await api.get('/subjects/s/versions'))).toEqual([404, 40401]);
    expect(refused(await api.delete('/subjects/s'))).toEqual([404, 40404]);
    expect((await api.delete('/subjects/s?permanent=true')).body).toEqual([1, 2]);
    expect((await api.get('/subjects?deleted=true')).body).toEqual([]);
    expect(refused(await api.delete('/subjects/s'))).toEqual([404, 40401]);
  });

  it('for good gives the id to no other schema', async () => {
    await api.delete('/subjects/s');
    await api.delete('/subjects/s?permanent=true');
    expect(await api.register('t', v3)).toBe(3);
  });
});

describe('references', () => {
  const address = '{"type":"record","name":"Address","namespace":"org","fields":[{"name":"city","type":"string"}]}';
  const person = '{"type":"record","name":"Person","namespace":"org","fields":[{"name":"home","type":"Address"}]}';
  const references = [{ name: 'org.Address', subject: 'address', version: 1 }];

  beforeEach(async () => {
    await api.register('address', address);
    await api.register('person', person, { references });
  });

  it('are resolved, stored and shown', async () => {
    expect((await api.get('/subjects/person/versions/1')).body).toEqual({
      subject: 'person',
      version: 1,
      id: 2,
      references,
      schema: person,
    });
    expect((await api.get('/schemas/ids/2')).body).toEqual({ schema: person, references });
    expect((await api.get('/schemas/ids/2?format=resolved')).body).toMatchObject({
      schema: expect.stringContaining('"name":"city"') as string,
    });
    expect((await api.get('/subjects/address/versions/1/referencedby')).body).toEqual([2]);
    expect((await api.get('/subjects/person/versions/latest/referencedby')).body).toEqual([]);
  });

  it('to the latest version are pinned to it', async () => {
    expect(await api.register('person', person, { references: [{ ...references[0], version: -1 }] })).toBe(2);
  });

  it('keep what they point at from being deleted', async () => {
    expect(refused(await api.delete('/subjects/address'))).toEqual([422, 42206]);
    expect(refused(await api.delete('/subjects/address/versions/1'))).toEqual([422, 42206]);
    await api.delete('/subjects/person');
    expect((await api.delete('/subjects/address')).body).toEqual([1]);
  });

  it('are followed when compatibility is checked', async () => {
    const wider = address.replace('}]}', '},{"name":"zip","type":"string"}]}');
    await api.put('/config/address', { compatibility: 'NONE' });
    await api.register('address', wider);
    const answer = await api.post('/compatibility/subjects/person/versions/latest?verbose=true', {
      schema: person,
      references: [{ ...references[0], version: 2 }],
    });
    expect(answer.body).toMatchObject({ is_compatible: false });
    expect(JSON.stringify(answer.body)).toContain("The field 'zip' at path '/fields/0/type/fields/1'");
  });

  it('match the same schema written out in full', async () => {
    const whole = `{"type":"record","name":"Person","namespace":"org","fields":[{"name":"home","type":${address}}]}`;
    expect((await api.post('/subjects/person', { schema: whole })).body).toMatchObject({ id: 2, version: 1 });
    expect(await api.register('person', whole)).toBe(2);
  });

  it('of references are resolved too', async () => {
    const firm =
      '{"type":"record","name":"Firm","namespace":"org","fields":[{"name":"owner","type":"Person"},{"name":"at","type":"Address"}]}';
    const both = [{ name: 'org.Person', subject: 'person', version: 1 }];
    expect(await api.register('firm', firm, { references: both })).toBe(3);
    expect((await api.get('/subjects/firm/versions/1?format=resolved')).body).toMatchObject({
      schema: expect.stringContaining('"city"') as string,
    });
  });
});

describe('HTTP', () => {
  const raw = async (path: string, init: RequestInit) => {
    const response = await fetch(`${registry.url}${path}`, init);
    return { status: response.status, type: response.headers.get('content-type'), body: await response.text(), headers: response.headers };
  };

  it('speaks the media types of Confluent, the one that is asked for', async () => {
    expect((await api.get('/subjects')).type).toBe('application/vnd.schemaregistry.v1+json');
    expect((await raw('/subjects', { headers: { accept: 'application/json' } })).type).toBe('application/json');
    expect((await raw('/subjects', { headers: { accept: 'text/html' } })).status).toBe(406);
  });

  it('reads JSON under each of them, and nothing else', async () => {
    const body = JSON.stringify({ schema: v1 });
    for (const type of ['application/json', 'application/vnd.schemaregistry+json', 'application/octet-stream']) {
      expect((await raw('/subjects/s/versions', { method: 'POST', body, headers: { 'content-type': type } })).status).toBe(200);
    }
    const other = await raw('/subjects/s/versions', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect([other.status, other.body]).toEqual([415, expect.stringContaining('"error_code":415')]);
  });

  it('answers broken JSON, no body, too much of it and wrong methods in the form that clients parse', async () => {
    const json = { 'content-type': 'application/json' };
    expect(await raw('/subjects/s/versions', { method: 'POST', body: '{"schema":', headers: json })).toMatchObject({
      status: 400,
      body: expect.stringContaining('"error_code":400') as string,
    });
    expect((await raw('/subjects/s/versions', { method: 'POST' })).status).toBe(422);
    expect((await raw('/subjects/s/versions', { method: 'POST', body: '[1]', headers: json })).status).toBe(422);
    const large = JSON.stringify({ schema: 'x'.repeat(30_000) });
    expect((await raw('/subjects/s/versions', { method: 'POST', body: large, headers: json })).status).toBe(413);
    const wrong = await raw('/subjects', { method: 'DELETE' });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET']);
    expect((await raw('/nowhere', {})).body).toBe('{"error_code":404,"message":"HTTP 404 Not Found"}');
  });

  it('tells that it is ready, whoever asks', async () => {
    expect(await raw('/readyz', {})).toMatchObject({ status: 200, body: '{"status":"ready"}' });
    expect((await raw('/livez', {})).status).toBe(200);
  });

  it('runs the handlers of the platform before every route but health', async () => {
    await using guarded = await startSchemaRegistry({
      kafka,
      port: 0,
      topic: 'guarded',
      middleware: [
        (request, response, next) => {
          if (request.headers.authorization === 'Bearer x') next();
          else response.status(401).json({ error_code: 401, message: 'no' });
        },
      ],
    });
    expect((await fetch(`${guarded.url}/subjects`)).status).toBe(401);
    expect((await fetch(`${guarded.url}/subjects`, { headers: { authorization: 'Bearer x' } })).status).toBe(200);
    expect((await fetch(`${guarded.url}/readyz`)).status).toBe(200);
  });

  it('does not listen for everybody without such a handler', async () => {
    await expect(startSchemaRegistry({ kafka, port: 0, host: '0.0.0.0', topic: 'open' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it('names a port that is taken', async () => {
    await expect(startSchemaRegistry({ kafka, port: registry.port, topic: 'second' })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(String(registry.port)) as string,
    });
  });

  it('ends while a client keeps its connection open', async () => {
    const idle = rawRequest(`${registry.url}/subjects`, { method: 'POST', headers: { 'content-length': '10', expect: '100-continue' } });
    idle.on('error', () => undefined);
    idle.flushHeaders();
    await registry.close();
    idle.destroy();
  });
});
