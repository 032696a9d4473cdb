import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { COMPATIBILITY, SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { testKafka } from '@spool/embedded';
import { connectKafka, type Kafka } from '@spool/streams';
import { startSchemaRegistry, type RunningSchemaRegistry } from './start.js';
import { apiOf, eventually, recordOf, type Api } from './testing/api.js';
import { registerTogether, type Row } from './testing/together.js';

let topic: string;
let open: { close(): Promise<void> }[];

beforeEach(() => {
  topic = `schemas-${randomUUID()}`;
  open = [];
});
afterEach(async () => {
  for (const resource of open.reverse()) await resource.close();
});

async function connect(): Promise<Kafka> {
  const kafka = await connectKafka({ brokers: testKafka(), clientId: 'schema-registry-test' });
  open.push(kafka);
  return kafka;
}
async function start(): Promise<RunningSchemaRegistry & { readonly api: Api }> {
  const registry = await startSchemaRegistry({ kafka: await connect(), port: 0, topic });
  open.push(registry);
  return { ...registry, api: apiOf(registry.url) };
}

describe('the client @kafkajs/confluent-schema-registry, unmodified', () => {
  const flight = {
    type: 'record',
    name: 'Flight',
    namespace: 'org.acme',
    fields: [
      { name: 'id', type: 'string' },
      { name: 'delay', type: 'int' },
    ],
  } as const;
  const register = async (client: SchemaRegistry, schema: object, subject?: string) =>
    client.register({ type: SchemaType.AVRO, schema: JSON.stringify(schema) }, subject === undefined ? undefined : { subject });

  it('registers, encodes and decodes, also in a second process that knows the id alone', async () => {
    const { url } = await start();
    const client = new SchemaRegistry({ host: url });
    const { id } = await register(client, flight);
    const payload = { id: 'WN-1', delay: -3 };
    const bytes = await client.encode(id, payload);
    expect(await new SchemaRegistry({ host: url }).decode(bytes)).toEqual(payload);
    expect(await client.getLatestSchemaId('org.acme.Flight')).toBe(id);
    expect(await client.getRegistryId('org.acme.Flight', 1)).toBe(id);
    expect(await client.getRegistryIdBySchema('org.acme.Flight', { type: SchemaType.AVRO, schema: JSON.stringify(flight) })).toBe(id);
    expect((await register(client, flight, 'evt.Flight-value')).id).toBe(id);
  });

  it('is told when a schema does not fit, and when it expects another compatibility', async () => {
    const { url } = await start();
    const client = new SchemaRegistry({ host: url });
    await register(client, flight);
    const wider = { ...flight, fields: [...flight.fields, { name: 'gate', type: 'string' }] };
    await expect(register(client, wider)).rejects.toThrow(/incompatible with an earlier schema for subject "org.acme.Flight".*gate/s);
    await expect(
      client.register({ type: SchemaType.AVRO, schema: JSON.stringify(flight) }, { compatibility: COMPATIBILITY.FULL }),
    ).rejects.toThrow(/Compatibility does not match/);
    await expect(client.getSchema(999)).rejects.toThrow(/Schema 999 not found/);
    await expect(client.getLatestSchemaId('nobody')).rejects.toThrow(/Subject 'nobody' not found/);
  });

  it('follows references', async () => {
    const { url } = await start();
    const client = new SchemaRegistry({ host: url });
    const airport = { type: 'record', name: 'Airport', namespace: 'org.acme', fields: [{ name: 'code', type: 'string' }] };
    await register(client, airport, 'airport');
    const route = { type: 'record', name: 'Route', namespace: 'org.acme', fields: [{ name: 'from', type: 'org.acme.Airport' }] };
    const { id } = await client.register(
      { type: SchemaType.AVRO, schema: JSON.stringify(route), references: [{ name: 'org.acme.Airport', subject: 'airport', version: 1 }] },
      { subject: 'route' },
    );
    const bytes = await client.encode(id, { from: { code: 'SFO' } });
    expect(await new SchemaRegistry({ host: url }).decode(bytes)).toEqual({ from: { code: 'SFO' } });
  });
});

describe('on the broker', () => {
  it('two replicas register two hundred schemas at once', async () => {
    const [a, b] = [await start(), await start()];
    await registerTogether(a.api, b.api, 200);
  }, 120_000);

  it('writes the topic in the format of Confluent, compacted, one partition', async () => {
    const { api } = await start();
    await api.register('s', '"int"');
    const kafka = await connect();
    const [described] = await kafka.admin.describeTopics([topic]);
    expect([described?.partitions, described?.config['cleanup.policy']]).toEqual([1, 'compact']);
    await using reader = await kafka.reader();
    reader.assign({ topic, partition: 0 }, 'earliest');
    const records = (await reader.fetch()).flatMap((slice) => slice.records);
    const written = records.find(({ key }) => key?.includes('SCHEMA'));
    expect([written?.key?.toString(), written?.value?.toString()]).toEqual([
      '{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}',
      '{"subject":"s","version":1,"id":1,"schema":"\\"int\\"","deleted":false}',
    ]);
  });

  it('finds everything again after a restart', async () => {
    const first = await start();
    await first.api.register('s', recordOf('R', ['a']));
    await first.api.register('s', recordOf('R', ['a', 'b'], true));
    await first.api.put('/config/s', { compatibility: 'FULL_TRANSITIVE' });
    await first.api.delete('/subjects/s/versions/1');
    const before = (await first.api.get('/schemas?deleted=true')).body;
    await first.close();
    const second = await start();
    expect((await second.api.get('/schemas?deleted=true')).body).toEqual(before);
    expect((await second.api.get('/config/s')).body).toEqual({ compatibilityLevel: 'FULL_TRANSITIVE' });
    expect(await second.api.register('t', '"int"')).toBe(3);
  });
});

describe('kill -9 of a replica', () => {
  async function spawnReplica(): Promise<{ readonly child: ChildProcess; readonly api: Api }> {
    const program = `
      const { connectKafka } = await import(${JSON.stringify(import.meta.resolve('@spool/streams'))});
      const { startSchemaRegistry } = await import(${JSON.stringify(new URL('./start.js', import.meta.url).href)});
      const kafka = await connectKafka({ brokers: ${JSON.stringify(testKafka())}, clientId: 'killed' });
      const { url } = await startSchemaRegistry({ kafka, port: 0, topic: ${JSON.stringify(topic)} });
      console.log(url);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    open.push({ close: async () => Promise.resolve(void child.kill('SIGKILL')) });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return { child, api: apiOf(line.toString().trim()) };
  }

  it('in the middle of its writes loses nothing acknowledged, and the other goes on', async () => {
    const survivor = await start();
    await survivor.api.put('/config', { compatibility: 'NONE' });
    const acknowledged = new Map<string, number>();
    for (let round = 0; round < 3; round++) {
      const { child, api } = await spawnReplica();
      const writes = Array.from({ length: 60 }, async (_, index) => {
        const schema = recordOf('R', [`r${round}f${index}`]);
        acknowledged.set(schema, await api.register(`s${index % 6}`, schema));
      });
      const atLeast = 5 + acknowledged.size;
      await eventually(async () => expect(acknowledged.size).toBeGreaterThan(atLeast));
      child.kill('SIGKILL');
      await Promise.allSettled(writes);
      await survivor.api.register('after', recordOf('R', [`after${round}`]));
    }
    const rows = (await survivor.api.get('/schemas')).body as readonly Row[];
    const ids = new Map(rows.map(({ schema, id }) => [schema, id]));
    for (const [schema, id] of acknowledged) expect(ids.get(schema)).toBe(id);
    expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
    const restarted = await start();
    expect((await restarted.api.get('/schemas')).body).toEqual(rows);
  }, 120_000);
});
