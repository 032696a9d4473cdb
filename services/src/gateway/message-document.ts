import { jsonSchemaOf, type JsonSchema } from '@spool/schemas';
import type { RegisteredPayload, Registry } from '@spool/sdk';
import type { OpenApiDocument } from '../http/index.js';

type Json = Record<string, unknown>;
interface Operation extends Json {
  readonly responses: Readonly<Record<string, Json>>;
  readonly parameters?: readonly Json[];
}

/**
 * OpenAPI with an operation for each command and each query that is announced, its payload described: `POST /api/v1/commands/ScheduleFlight` beside
 * `POST /api/v1/commands/{type}`, which answers it.
 */
export function withMessages(document: OpenApiDocument, registry: Pick<Registry, 'payloads' | 'payload' | 'components'>): OpenApiDocument {
  const paths: Json = { ...document.paths };
  const schemas: Json = { ...document.components?.schemas };
  const shared: Json = { ...document.components?.responses };
  const define = (payload: RegisteredPayload, given: boolean): JsonSchema => {
    const place = (name: string): string =>
      name === payload.schemaName ? `${payload.kind}.${payload.type}` : `${payload.kind}.${payload.type}.${name}`;
    const refer = (name: string): string => `#/components/schemas/${place(name)}`;
    for (const [name, schema] of Object.entries(jsonSchemaOf(payload.recordSchema, refer, given))) schemas[place(name)] = schema;
    return { $ref: refer(payload.schemaName) };
  };
  /** The problems of the operation for all types, once for all. */
  const sharedResponses = (name: string, { responses }: Operation): Json =>
    Object.fromEntries(
      Object.entries(responses).map(([status, response]) => {
        if (Number(status) < 400) return [status, response];
        shared[`${name}.${status}`] = response;
        return [status, { $ref: `#/components/responses/${name}.${status}` }];
      }),
    );
  const bodyOf = (operation: Operation, payload: JsonSchema, required: readonly string[]): Json => {
    const { content } = operation['requestBody'] as { readonly content: Readonly<Record<string, { readonly schema: Json }>> };
    const { schema } = content['application/json']!;
    const properties = { ...(schema['properties'] as Json), payload };
    return { required: true, content: { 'application/json': { schema: { ...schema, properties, required } } } };
  };
  const operationOf = (general: Operation, payload: RegisteredPayload, more: Json): Json => ({
    ...general,
    ...more,
    operationId: `${payload.kind}.${payload.type}`,
    tags: [payload.component],
    description: `Of ${payload.component}, by ${payload.bundle} ${payload.bundleVersion}.`,
    parameters: (general.parameters ?? []).filter((each) => each['in'] !== 'path'),
  });

  const services = new Set(registry.components().flatMap(({ kind, name }) => (kind === 'service' ? [name] : [])));
  const command = operationAt(document, '/api/v1/commands/{type}');
  const query = operationAt(document, '/api/v1/queries/{type}');
  for (const payload of registry.payloads()) {
    if (payload.kind === 'command' && command !== undefined) {
      // Of a service the id may be left out.
      const required = services.has(payload.component) ? ['payload'] : ['aggregateId', 'payload'];
      const requestBody = bodyOf(command, define(payload, false), required);
      const more = { summary: `Send ${payload.type}`, requestBody, responses: sharedResponses('command', command) };
      paths[`/api/v1/commands/${payload.type}`] = { post: operationOf(command, payload, more) };
    }
    const view = payload.kind === 'query' ? registry.payload('view', payload.view ?? '') : undefined;
    if (view === undefined || query === undefined) continue;
    const answer = {
      description: 'The view, and the position that it reflects',
      content: {
        'application/json': {
          schema: {
            type: 'object',
            properties: { view: define(view, true), position: { type: 'string' } },
            required: ['view', 'position'],
            additionalProperties: false,
          },
        },
      },
    };
    const requestBody = bodyOf(query, define(payload, false), ['payload']);
    const more = { summary: `Ask ${payload.type}`, requestBody, responses: { ...sharedResponses('query', query), 200: answer } };
    paths[`/api/v1/queries/${payload.type}`] = { post: operationOf(query, payload, more) };
  }
  return { ...document, paths, components: { ...document.components, schemas, responses: shared } } as OpenApiDocument;
}

const operationAt = (document: OpenApiDocument, path: string): Operation | undefined =>
  document.paths?.[path]?.post as unknown as Operation | undefined;
