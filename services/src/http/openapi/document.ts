import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from '@asteasolutions/zod-to-openapi';
import { catalogue, type ErrorCode } from '@spool/schemas';
import { z } from 'zod';
import { jsonBodyTypes } from '../media.js';
import { problemCodes } from '../problem-codes.js';
import { problemMediaType, problemSchema } from '../problem.js';
import { namedRoles } from '../roles.js';
import type { Route } from '../route.js';
import { bearerProtocol, type SocketRoute } from '../socket-route.js';

export interface ApiInfo {
  /** Of the service: `gateway`; a label of its metrics. */
  readonly name: string;
  readonly title: string;
  readonly version: string;
  readonly description?: string;
}

export type OpenApiDocument = ReturnType<OpenApiGeneratorV31['generateDocument']>;

/**
 * OpenAPI 3.1, made from the declarations alone. Besides the standard: `x-required-role` (a list; any one of them) and
 * `x-problem-codes` at each operation, and the whole error catalogue as `x-problems`.
 */
export function describeApi(info: ApiInfo, routes: readonly Route[], sockets: readonly SocketRoute[]): OpenApiDocument {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'apiKey', {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
    description: 'A key of the key file: spool_…',
  });
  registry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: 'A JSON web token of the identity provider, or an API key',
  });
  for (const each of routes) registry.registerPath(operation(each));
  for (const each of sockets) registry.registerPath(socketOperation(each));
  const document = new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: info.title, version: info.version, ...(info.description === undefined ? {} : { description: info.description }) },
    servers: [{ url: '/' }],
  });
  return { ...withoutNullParameters(document), 'x-problems': catalogue };
}

function operation(route: Route): RouteConfig {
  const codes = problemCodes(route);
  return {
    ...described(route),
    method: route.method.toLowerCase() as 'get',
    operationId: operationId(route.method, route.path),
    ...(route.stream === true ? { 'x-stream': true } : {}),
    'x-rate-class': route.rateClass ?? 'standard',
    'x-problem-codes': [...codes],
    request: {
      ...(route.params === undefined ? {} : { params: route.params }),
      ...(route.query === undefined ? {} : { query: route.query }),
      ...(route.headers === undefined ? {} : { headers: route.headers }),
      ...(route.rawBody === undefined
        ? {}
        : { body: { content: Object.fromEntries(Object.entries(route.rawBody).map(([type, schema]) => [type, { schema }])) } }),
      ...(route.body === undefined
        ? {}
        : { body: { required: !route.body.safeParse(undefined).success, content: content(route.bodyTypes ?? jsonBodyTypes, route.body) } }),
    },
    responses: { ...problemResponses(codes), ...responses(route, codes) },
  };
}

function socketOperation(socket: SocketRoute): RouteConfig {
  const codes: ErrorCode[] = [
    ...new Set<ErrorCode>([
      ...(socket.errors ?? []),
      ...(socket.role === 'public' ? [] : (['UNAUTHENTICATED', 'FORBIDDEN'] as const)),
      'HOST_REFUSED',
      'CROSS_ORIGIN',
      'UPGRADE_REQUIRED',
      'OVERLOADED',
      'INTERNAL',
    ]),
  ];
  return {
    ...described(socket),
    method: 'get',
    operationId: operationId('socket', socket.path),
    description: `${socket.description === undefined ? '' : `${socket.description}\n\n`}A WebSocket. A browser sends its credentials as the subprotocol \`${bearerProtocol}<token>\`.`,
    'x-websocket': true,
    'x-problem-codes': codes,
    request: socket.params === undefined ? {} : { params: socket.params },
    responses: { ...problemResponses(codes), 101: { description: 'Switches to the WebSocket protocol' } },
  };
}

function described(each: Route | SocketRoute) {
  return {
    path: each.path,
    summary: each.summary,
    ...(each.description === undefined ? {} : { description: each.description }),
    tags: [each.tag ?? each.path.replace(/^\/api\/v\d+/, '').split('/')[1] ?? 'service'],
    'x-required-role': each.role === 'public' ? [] : [...namedRoles(each.role)],
    security: each.role === 'public' ? [] : [{ apiKey: [] }, { bearer: [] }],
  };
}

function responses(route: Route, codes: readonly ErrorCode[]): RouteConfig['responses'] {
  const made: RouteConfig['responses'] = {};
  for (const [status, { description, schema, contentType, headers }] of Object.entries(route.responses)) {
    const type = contentType ?? (route.stream === true ? 'text/event-stream' : schema === undefined ? undefined : 'application/json');
    const problems = withStatus(codes, Number(status));
    const bodies = {
      ...(type === undefined ? {} : content([type], schema ?? (type === 'application/json' ? z.looseObject({}) : z.string()))),
      ...(problems.length === 0 ? {} : content([problemMediaType], problemSchema)),
    };
    made[status] = {
      description: problems.length === 0 ? description : `${description}; or ${problems.join(', ')}`,
      ...(headers === undefined
        ? {}
        : {
            headers: Object.fromEntries(
              Object.entries(headers).map(([name, text]) => [name, { description: text, schema: { type: 'string' as const } }]),
            ),
          }),
      ...(Object.keys(bodies).length === 0 ? {} : { content: bodies }),
    };
  }
  return made;
}

function problemResponses(codes: readonly ErrorCode[]): RouteConfig['responses'] {
  const statuses = [...new Set(codes.map((code) => catalogue[code].status))];
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: withStatus(codes, status)
          .map((code) => `${code}: ${catalogue[code].title}`)
          .join('\n\n'),
        ...(status === 429 || status === 503
          ? { headers: { 'Retry-After': { description: 'seconds to wait', schema: { type: 'integer' as const } } } }
          : {}),
        content: content([problemMediaType], problemSchema),
      },
    ]),
  );
}

const withStatus = (codes: readonly ErrorCode[], status: number): readonly ErrorCode[] =>
  codes.filter((code) => catalogue[code].status === status);

const content = (types: readonly string[], schema: z.ZodType) => Object.fromEntries(types.map((type) => [type, { schema }]));

/** `GET /api/v1/aggregates/{type}/{id}` becomes `getAggregatesByTypeById`. */
function operationId(method: string, path: string): string {
  const words = path
    .replace(/^\/api\/v\d+/, '')
    .split(/[/.]/)
    .filter((word) => word !== '')
    .map((word) => (word.startsWith('{') ? `By${capital(word.slice(1, -1))}` : word.split(/[-_~]/).map(capital).join('')));
  return `${method.toLowerCase()}${words.join('')}`;
}

const capital = (word: string): string => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`;

/** `z.coerce.number()` takes null too, and is described so; nothing in a query or a path can be null. */
function withoutNullParameters(document: OpenApiDocument): OpenApiDocument {
  for (const item of Object.values(document.paths ?? {})) {
    for (const each of Object.values(item as Record<string, { parameters?: { schema?: { type?: unknown } }[] }>)) {
      for (const { schema } of each.parameters ?? []) {
        if (schema === undefined || !Array.isArray(schema.type)) continue;
        const types = schema.type.filter((type) => type !== 'null');
        schema.type = types.length === 1 ? types[0] : types;
      }
    }
  }
  return document;
}
