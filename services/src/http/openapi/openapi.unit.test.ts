import { catalogue, type ErrorCode } from '@spool/schemas';
import { z } from 'zod';
import { pageOf, pageQuery } from '../cursor.js';
import { problemCodes } from '../problem-codes.js';
import { problemSchema } from '../problem.js';
import { route } from '../route.js';
import { startTestServer, type TestServer } from '../testing.js';

const item = z
  .strictObject({ id: z.string().describe('its <name>'), at: z.iso.datetime().optional() })
  .meta({ id: 'Item', description: 'One thing' });
const routes = [
  route({
    method: 'GET',
    path: '/api/v1/things',
    summary: 'Lists things',
    role: ['analyst', 'bundle'],
    query: z.object({ ...pageQuery({ limit: 20, most: 100 }), after: z.coerce.number().optional() }),
    responses: { 200: { description: 'A page', schema: pageOf(item) } },
    handler: () => ({ status: 200, body: { items: [] } }),
  }),
  route({
    method: 'POST',
    path: '/api/v1/things/{id}/actions',
    summary: 'Acts <on> a thing',
    description: 'More & more',
    role: 'operator',
    params: z.object({ id: z.string() }),
    headers: z.object({ 'if-match': z.string().optional() }),
    body: z.strictObject({ item, note: z.string().max(10).nullable() }),
    responses: { 200: { description: 'Done', schema: item, headers: { ETag: 'its version' } }, 202: { description: 'Later' } },
    errors: ['VERSION_CONFLICT', 'REPLAY_RUNNING', 'REJECTED'],
    handler: () => ({ status: 202 }),
  }),
  route({
    method: 'GET',
    path: '/api/v1/events',
    summary: 'Tail',
    role: 'analyst',
    stream: true,
    responses: { 200: { description: 'Events', schema: item } },
    handler: () => Promise.resolve(),
  }),
];
const sockets = [
  { path: '/api/v1/stream/{topic}', summary: 'Live', role: 'analyst', params: z.object({ topic: z.string() }), handler: () => undefined },
] as const;

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
    readonly schema: { readonly type: unknown };
  }[];
  readonly requestBody?: { readonly required: boolean; readonly content: Record<string, { readonly schema: unknown }> };
  readonly responses: Record<
    string,
    {
      readonly description: string;
      readonly headers?: Record<string, unknown>;
      readonly content?: Record<string, { readonly schema: unknown }>;
    }
  >;
  readonly security: readonly Record<string, readonly string[]>[];
  readonly 'x-required-role': readonly string[];
  readonly 'x-problem-codes': readonly ErrorCode[];
}
interface Document {
  readonly openapi: string;
  readonly info: object;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, Record<string, unknown>>; readonly securitySchemes: Record<string, unknown> };
  readonly 'x-problems': unknown;
}

let server: TestServer;
let document: Document;
let operations: readonly { readonly path: string; readonly method: string; readonly operation: Operation }[];
beforeAll(async () => {
  server = await startTestServer({ routes, sockets });
  document = (await server.send({ path: '/openapi.json' })).json() as Document;
  operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
});
afterAll(() => server.close());

/** Every `$ref` of the document, wherever it stands. */
function references(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([key, value]) => (key === '$ref' ? [value as string] : references(value)));
}

describe('the OpenAPI document', () => {
  it('is 3.1 and has what its own rules ask for', () => {
    expect(document).toMatchObject({ openapi: '3.1.0', info: { title: 'Test', version: '1.2.3' } });
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const described = (operation.parameters ?? []).filter((each) => each.in === 'path');
      expect(described.map(({ name }) => name)).toEqual(inPath);
      expect(described.every(({ required }) => required)).toBe(true);
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status).toMatch(/^[1-5]\d\d$/);
        expect(response.description).not.toBe('');
      }
      for (const scheme of operation.security.flatMap((each) => Object.keys(each)))
        expect(document.components.securitySchemes).toHaveProperty(scheme);
    }
    const found = references(document);
    expect(found.length).toBeGreaterThan(10);
    for (const reference of found) expect(document.components.schemas).toHaveProperty(reference.replace('#/components/schemas/', ''));
  });

  it('has every declared route, with its role', () => {
    expect(
      operations.map(({ method, path, operation }) => `${method} ${path} ${operation.operationId} ${operation['x-required-role'].join()}`),
    ).toEqual([
      'get /livez getLivez ',
      'get /readyz getReadyz ',
      'get /metrics getMetrics analyst',
      'get /openapi.json getOpenapiJson ',
      'get /docs getDocs ',
      'get /api/v1/things getThings analyst,bundle',
      'post /api/v1/things/{id}/actions postThingsByIdActions operator',
      'get /api/v1/events getEvents analyst',
      'get /api/v1/stream/{topic} socketStreamByTopic analyst',
    ]);
    for (const { operation } of operations) expect(operation.security.length > 0).toBe(operation['x-required-role'].length > 0);
  });

  it('lists each problem that a route may answer, by code and under its status', () => {
    for (const each of routes) {
      const operation = document.paths[each.path]![each.method.toLowerCase()]!;
      expect(operation['x-problem-codes']).toEqual(problemCodes(each));
      expect(operation['x-problem-codes']).toEqual(expect.arrayContaining([...(each.errors ?? [])]));
      for (const code of operation['x-problem-codes']) {
        const response = operation.responses[catalogue[code].status]!;
        expect(response.description).toContain(code);
        expect(response.content?.['application/problem+json']).toEqual({ schema: { $ref: '#/components/schemas/Problem' } });
      }
    }
  });

  it('agrees with the error catalogue', () => {
    expect(document['x-problems']).toEqual(catalogue);
    const problem = document.components.schemas['Problem'] as { properties: { code: { enum: string[] } }; required: string[] };
    expect(problem.properties.code.enum).toEqual(Object.keys(catalogue));
    for (const { operation } of operations) for (const code of operation['x-problem-codes']) expect(catalogue).toHaveProperty(code);
  });

  it('describes what the edge really answers', async () => {
    const answer = await server.send({ method: 'POST', path: '/api/v1/things/a/actions', body: {} });
    expect(problemSchema.parse(answer.json())).toMatchObject({ code: 'INVALID_REQUEST' });
    const { responses } = document.paths['/api/v1/things/{id}/actions']!['post']!;
    expect(responses[answer.status]!.content).toHaveProperty([answer.headers['content-type']!]);
  });

  it('describes bodies, parameters, headers and streams', () => {
    const { parameters } = document.paths['/api/v1/things']!['get']!;
    expect(parameters).toEqual([
      expect.objectContaining({ name: 'cursor', in: 'query', required: false }),
      expect.objectContaining({ name: 'limit', in: 'query', required: false }),
      expect.objectContaining({ name: 'after', in: 'query', required: false, schema: { type: 'number' } }),
    ]);
    const { requestBody, responses } = document.paths['/api/v1/things/{id}/actions']!['post']!;
    expect(requestBody).toMatchObject({ required: true });
    expect(Object.keys(requestBody!.content)).toEqual(['application/json', 'application/cloudevents+json']);
    expect(responses['200']).toMatchObject({
      headers: { ETag: { description: 'its version' } },
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Item' } } },
    });
    expect(responses['202']).toEqual({ description: 'Later' });
    expect(document.paths['/api/v1/events']!['get']!.responses['200']!.content).toHaveProperty(['text/event-stream']);
  });
});

describe('the page for people', () => {
  it('shows every operation, schema and problem, and fetches nothing from outside', async () => {
    const { text, headers } = await server.send({ path: '/docs' });
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    for (const { path } of operations) expect(text).toContain(`<code>${path}</code>`);
    for (const code of Object.keys(catalogue)) expect(text).toContain(`id="problem-${code}"`);
    for (const name of Object.keys(document.components.schemas)) expect(text).toContain(`id="schema-${name}"`);
    expect(text).not.toMatch(/https?:|<script|<link|@import|src=|url\(/);
    expect(text).toContain('Acts &lt;on&gt; a thing');
    expect(text).toContain('More &amp; more');
    expect(text).toContain('<a href="#schema-Item">Item</a>');
    expect(text).toContain('note: string | null');
  });

  it('has a policy that lets its own style through and nothing else', async () => {
    const { text, headers } = await server.send({ path: '/docs' });
    const style = /<style>([\s\S]*)<\/style>/.exec(text)![1]!;
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha256').update(style).digest('base64');
    expect(headers['content-security-policy']).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    );
  });
});
