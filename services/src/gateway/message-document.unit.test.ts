import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { aggregate, bundle, projection, projector, record, service, startBundle, table } from '@spool/sdk';
import { startInMemory, type BundleInMemory } from '@spool/sdk/testing';
import type { EventStore } from '../event-store/index.js';
import { stage, until } from '../event-store/testing.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { asyncApi, asyncApiRoute } from './async-api.js';
import { withMessages } from './message-document.js';
import { messageRoutes } from './message-routes.js';

const Meter = aggregate('Meter', {
  commands: { Read: record('meter.Read', { value: 'int', by: record('meter.Person', { name: 'string' }) }) },
  events: { WasRead: record('meter.WasRead', { value: 'int' }) },
  initial: () => ({}),
  decide: { Read: ({ value }) => [{ type: 'WasRead', data: { value } }] },
  evolve: { WasRead: (state) => state },
});
const Last = projector('Last', {
  of: Meter,
  tables: { last: table<{ value: number }>() },
  on: { WasRead: ({ value }, { last }, { aggregateId }) => last.put(aggregateId, { value }) },
});
const Meters = projection('Meters', {
  reads: Last,
  queries: { Value: { request: record('meter.Value', { id: 'string' }), view: record('meter.ValueView', { value: 'int' }) } },
  answer: { Value: ({ id }, { last }) => last.get(id) },
});
const Mail = service('Mail', { commands: { Send: record('mail.Send', { to: 'string' }) }, handle: { Send: () => undefined } });

let whole: BundleInMemory;
let server: TestServer;
const info = { name: 'test', title: 'Test', version: '1.2.3' };
beforeEach(async () => {
  whole = await startInMemory(bundle({ id: 'meters', version: '1.0.0', components: [Meter, Last, Meters, Mail] }));
  const { gateway, registry } = whole.running;
  server = await startTestServer({
    info,
    routes: [asyncApiRoute(info, registry), ...messageRoutes(gateway, registry, {} as EventStore)],
    described: { with: (document) => withMessages(document, registry), onChange: registry.onChange },
  });
});
afterEach(async () => {
  await server.close();
  await whole.close();
});
type Json = Record<string, unknown>;
const get = async (path: string): Promise<Json> => (await server.send({ path })).json() as Json;
const at = (document: Json, pointer: string): unknown =>
  pointer
    .slice(2)
    .split('/')
    .reduce<unknown>(
      (node, step) => (node as Json | undefined)?.[decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')],
      document,
    );
function refsOf(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([key, value]) => (key === '$ref' && typeof value === 'string' ? [value] : refsOf(value)));
}

describe('the description of announced messages', () => {
  it('has an operation for each command and each query, with the JSON schema of its payload', async () => {
    const document = await get('/openapi.json');
    expect(at(document, '#/paths/~1api~1v1~1commands~1Read/post')).toMatchObject({
      operationId: 'command.Read',
      tags: ['Meter'],
      requestBody: {
        content: {
          'application/json': {
            schema: { properties: { payload: { $ref: '#/components/schemas/command.Read' } }, required: ['aggregateId', 'payload'] },
          },
        },
      },
      responses: { 200: { description: expect.any(String) as string }, 409: { $ref: '#/components/responses/command.409' } },
    });
    expect(at(document, '#/components/schemas/command.Read')).toEqual({
      type: 'object',
      properties: { value: expect.anything() as unknown, by: { $ref: '#/components/schemas/command.Read.meter.Person' } },
      required: ['value', 'by'],
      additionalProperties: false,
    });
    expect(at(document, '#/paths/~1api~1v1~1commands~1Send/post/requestBody/content/application~1json/schema/required')).toEqual([
      'payload',
    ]);
    expect(at(document, '#/paths/~1api~1v1~1queries~1Value/post/responses/200/content/application~1json/schema')).toMatchObject({
      properties: { view: { $ref: '#/components/schemas/view.ValueView' } },
    });
    expect((await server.send({ path: '/docs' })).text).toContain('/api/v1/commands/Read');
  });

  it('is well formed: what it refers to is there, and names and operations are as OpenAPI has them', async () => {
    const document = await get('/openapi.json');
    for (const ref of refsOf(document)) expect([ref, at(document, ref) === undefined]).toEqual([ref, false]);
    const components = document['components'] as Record<string, Json>;
    for (const name of Object.values(components).flatMap((each) => Object.keys(each))) expect(name).toMatch(/^[A-Za-z0-9._-]+$/);
    const operations = Object.entries(document['paths'] as Record<string, Json>).flatMap(([path, item]) =>
      Object.values(item).map((operation) => ({ path, operation: operation as Json })),
    );
    const ids = operations.map(({ operation }) => operation['operationId']);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations) {
      expect(operation['responses']).toBeDefined();
      const declared = ((operation['parameters'] ?? []) as Json[]).filter((each) => each['in'] === 'path').map((each) => each['name']);
      expect(declared).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    }
  });

  it('has what a bundle announces, as soon as the registry knows it', async () => {
    await using on = await stage();
    await using shop = await startTestServer({
      routes: messageRoutes(on.gateway, on.registry, {} as EventStore),
      described: { with: (document) => withMessages(document, on.registry), onChange: on.registry.onChange },
    });
    const paths = async (): Promise<object> => ((await shop.send({ path: '/openapi.json' })).json() as { paths: object }).paths;
    expect(await paths()).toHaveProperty(['/api/v1/commands/Put']);
    expect(await paths()).not.toHaveProperty(['/api/v1/commands/Send']);
    const { kafka, codec, topics } = on;
    const dataDir = mkdtempSync(join(tmpdir(), 'spool-document-'));
    const config = { kafka, codec, topics, dataDir, instance: 'mail-0', log: () => undefined };
    const mail = await startBundle(bundle({ id: 'mail', version: '1.0.0', components: [Mail] }), config);
    await until(() => on.registry.component('Mail') !== undefined);
    expect(await paths()).toHaveProperty(['/api/v1/commands/Send']);
    await mail.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
});

describe('AsyncAPI', () => {
  it('lists topics and messages, as Avro', async () => {
    const document = await get('/asyncapi.json');
    expect(document).toMatchObject({
      asyncapi: '3.0.0',
      info: { title: 'Test', version: '1.2.3' },
      channels: {
        'evt.Meter': { address: 'evt.Meter', messages: { 'event.WasRead': { $ref: '#/components/messages/event.WasRead' } } },
        'cmd.Meter': { messages: { 'command.Read': expect.anything() as unknown } },
      },
      operations: {
        'event.WasRead': { action: 'send', channel: { $ref: '#/channels/evt.Meter' } },
        'command.Read': { action: 'receive' },
        'query.Value': { action: 'receive' },
      },
    });
    expect(at(document, '#/components/messages/event.WasRead/payload')).toMatchObject({
      schemaFormat: 'application/vnd.apache.avro+json;version=1.9.0',
      schema: { type: 'record', name: 'WasRead', namespace: 'meter' },
    });
  });

  it('is well formed: what it refers to is there, each channel has messages, and an operation takes those of its channel', async () => {
    const document = await get('/asyncapi.json');
    for (const ref of refsOf(document)) expect([ref, at(document, ref) === undefined]).toEqual([ref, false]);
    for (const operation of Object.values(
      document['operations'] as Record<string, { action: string; channel: { $ref: string }; messages: { $ref: string }[] }>,
    )) {
      expect(['send', 'receive']).toContain(operation.action);
      expect(operation.messages.every(({ $ref }) => $ref.startsWith(`${operation.channel.$ref}/messages/`))).toBe(true);
    }
    expect(Object.keys(document).toSorted()).toEqual(['asyncapi', 'channels', 'components', 'defaultContentType', 'info', 'operations']);
  });

  it('of no bundle has no channels', () => {
    expect(asyncApi(info, { payloads: () => [] })).toMatchObject({ channels: {}, operations: {} });
  });
});
