import { startRegistryServer, type RegistryServer } from '../testing/registry-server.js';
import { createHttpRegistry } from './http-registry.js';
import { registryConformance } from './registry.conformance.js';

describe('the registry over HTTP', () => {
  let server: RegistryServer;
  beforeEach(async () => {
    server = await startRegistryServer();
  });
  afterEach(() => server[Symbol.asyncDispose]());
  const open = (more: object = {}): ReturnType<typeof createHttpRegistry> =>
    createHttpRegistry({ url: `${server.url}/`, deadlineMs: 10_000, attemptTimeoutMs: 2_000, ...more });

  registryConformance(async () => open());

  it('sets the level of a new subject before its first version, and of no other', async () => {
    await open({ compatibility: 'BACKWARD' }).register('t-acme.A', 'string');
    expect(server.requests).toEqual([
      'POST /subjects/t-acme.A',
      'GET /subjects/t-acme.A/versions/latest',
      'PUT /config/t-acme.A',
      'POST /subjects/t-acme.A/versions',
    ]);
    expect(server.levels.get('t-acme.A')).toBe('BACKWARD');
    await open().register('t-acme.A', 'bytes');
    expect(server.levels.get('t-acme.A')).toBe('BACKWARD');
  });

  it('writes nothing when the schema is there already', async () => {
    await open().register('t-acme.A', 'string');
    const before = server.requests.length;
    await open().register('t-acme.A', 'string');
    expect(server.requests.slice(before)).toEqual(['POST /subjects/t-acme.A']);
  });

  it('takes names with a slash and other signs', async () => {
    const id = await open().register('a/b c-acme.A', 'string');
    expect((await open().versions('a/b c-acme.A'))[0]?.id).toBe(id);
  });

  it('tries again what may pass: a server error, silence, an overload', async () => {
    server.faults.push({ status: 500, body: '{"message":"boom"}' }, 'silence', { status: 429, body: '' }, { status: 503, body: '<html>' });
    expect(await open({ attemptTimeoutMs: 100 }).register('t-acme.A', 'string')).toBe(1);
    expect(server.requests.length).toBeGreaterThanOrEqual(4 + 4);
  });

  it('gives up at its deadline and says what it could not do', async () => {
    const registry = createHttpRegistry({ url: 'http://user:secret@127.0.0.1:1', deadlineMs: 300 });
    await expect(registry.schemaById(7)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'Schema registry at http://127.0.0.1:1: cannot read schema 7: connect ECONNREFUSED 127.0.0.1:1',
    });
    server.faults.push(...Array.from({ length: 50 }, () => 'silence' as const));
    await expect(open({ deadlineMs: 300 }).subjects()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('does not try again what will not pass', async () => {
    server.faults.push({ status: 401, body: 'who are you' });
    await expect(open().schemaById(1)).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    server.faults.push({ status: 405, body: '{"message":"no"}' });
    await expect(open().schemaById(1)).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    server.faults.push({ status: 200, body: '<html>hello</html>' });
    await expect(open().schemaById(1)).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('does not answer as a schema registry') as unknown,
    });
    expect(server.requests).toHaveLength(3);
  });

  it('refuses an address that is none', () => {
    expect(() => createHttpRegistry({ url: 'localhost' })).toThrow('The address of the schema registry is not a URL');
  });

  it('writes referenced schemas into the one that refers to them', async () => {
    const stop = { type: 'record', name: 'Stop', namespace: 'acme', fields: [{ name: 'at', type: 'acme.Place' }] };
    const place = { type: 'record', name: 'Place', namespace: 'acme', fields: [{ name: 'code', type: 'string' }] };
    const trip = {
      type: 'record',
      name: 'Trip',
      namespace: 'acme',
      fields: [{ name: 'stops', type: { type: 'array', items: 'acme.Stop' } }],
    };
    const refer = (name: string): object[] => [{ name: `acme.${name}`, subject: name, version: 1 }];
    server.bodies.set('/schemas/ids/9', { schema: JSON.stringify(trip), references: refer('Stop') });
    server.bodies.set('/subjects/Stop/versions/1', { id: 8, version: 1, schema: JSON.stringify(stop), references: refer('Place') });
    server.bodies.set('/subjects/Place/versions/1', { id: 7, version: 1, schema: JSON.stringify(place) });
    expect(JSON.stringify(await open().schemaById(9))).toContain('{"name":"code","type":"string"}');
    server.bodies.delete('/subjects/Place/versions/1');
    await expect(open().schemaById(9)).rejects.toMatchObject({
      code: 'SCHEMA_UNKNOWN',
      message: 'acme.Place refers to version 1 of Place, which is not there',
    });
  });

  it('refuses schemas of other languages', async () => {
    server.bodies.set('/schemas/ids/9', { schema: 'syntax = "proto3";', schemaType: 'PROTOBUF' });
    await expect(open().schemaById(9)).rejects.toMatchObject({
      code: 'SCHEMA_INVALID',
      message: 'schema 9 is a PROTOBUF schema; only Avro is read',
    });
  });
});
