import type { Interaction } from '@spool/schemas';
import { bundleDescriptor, type RegisteredBundle, type Registry } from '@spool/sdk';
import type { TableReader } from '@spool/streams';
import { z } from 'zod';
import { isNotModified, route, type Route } from '../http/index.js';
import { graphOf, graphView, type Registrar } from '../registry/index.js';
import { actorOf } from './messages.js';
import { changesRoute, etagsOf, listRoute } from './table-routes.js';

const bundleView = z.object({
  id: z.string(),
  version: z.string(),
  description: z.string(),
  generation: z.int(),
  instances: z.array(z.string()),
  updatedAt: z.iso.datetime(),
  components: z.array(z.string()),
});
const componentView = z.object({
  bundle: z.string(),
  bundleVersion: z.string(),
  name: z.string(),
  kind: z.string(),
  description: z.string(),
  handles: z.array(z.string()),
  sends: z.array(z.string()),
  consumer: z.string().optional(),
  sources: z.array(z.string()).optional(),
  replayable: z.boolean(),
});
const handlerView = z.object({
  bundle: z.string(),
  component: z.string(),
  kind: z.string().describe('Of the component'),
  payload: z.string().describe('Type of the message that it handles'),
  owner: z.string().optional().describe('<bundle>/<component> that declares the message'),
  topic: z.string().optional().describe('Where it comes from'),
});
const payloadView = z.object({
  bundle: z.string(),
  bundleVersion: z.string(),
  component: z.string(),
  type: z.string(),
  kind: z.enum(['command', 'event', 'query', 'view']),
  topic: z.string(),
  view: z.string().optional(),
  schemaName: z.string(),
  schema: z.unknown(),
});

const viewOf = ({ payloads: _, components, updatedAt, ...bundle }: RegisteredBundle): z.input<typeof bundleView> => ({
  ...bundle,
  instances: [...bundle.instances],
  updatedAt: new Date(updatedAt).toISOString(),
  components: components.map(({ name }) => name),
});

export interface RegistryRoutesOptions {
  readonly registry: Registry;
  readonly registrar: Registrar;
  readonly interactions: TableReader<Interaction>;
}

/** What is registered: bundles, their components and handlers, the payloads with their schemas, and who sends what to whom. */
export function registryRoutes({ registry, registrar, interactions }: RegistryRoutesOptions): readonly Route[] {
  const list = <T extends z.ZodType>(what: string, item: T, read: () => readonly z.input<T>[]): Route =>
    listRoute({ path: `/api/v1/registry/${what}`, summary: `The registered ${what}`, item, tables: [registry.table], read });
  return [
    list('bundles', bundleView, () => registry.bundles().map(viewOf)),
    changesRoute({
      path: '/api/v1/registry/changes',
      summary: 'The changes of bundles, as they happen',
      table: registry.table,
      view: viewOf,
      idOf: (key) => key.slice(key.indexOf('/') + 1),
    }),
    list('components', componentView, () => [...registry.components()]),
    list('handlers', handlerView, () => handlersOf(registry)),
    list('payloads', payloadView, () => registry.payloads().map(({ recordSchema: _, ...payload }) => payload)),
    route({
      method: 'GET',
      path: '/api/v1/registry/graph',
      summary: 'Who sends and handles what, declared and seen',
      description:
        'What handlers were seen to handle is at most a minute old. `drift` marks what was declared and never seen, and what was seen and never declared.',
      role: ['bundle', 'analyst'],
      headers: z.object({ 'if-none-match': z.string().optional() }),
      responses: {
        200: { description: 'The graph', schema: graphView, headers: { ETag: 'The position' } },
        304: { description: 'Nothing has changed since If-None-Match' },
      },
      handler({ headers }) {
        const { position, etag } = etagsOf([registry.table, interactions]);
        if (isNotModified(headers['if-none-match'], position)) return { status: 304, headers: etag };
        const seen = [...interactions.entries()].map(([, row]) => row);
        return { status: 200, body: graphOf(registry, seen), headers: etag };
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/registry/bundles',
      summary: 'Register a bundle by its descriptor',
      description:
        'For bundles that do not announce themselves. Nothing is registered unless all of it can be: each reason against it is listed under errors.',
      role: 'operator',
      body: bundleDescriptor,
      responses: { 201: { description: 'Registered; the same again changes nothing', schema: bundleView } },
      errors: [
        'BUNDLE_REFUSED',
        'SCHEMA_INCOMPATIBLE',
        'SCHEMA_INVALID',
        'UNSAFE_TOPIC',
        'PARTITIONS_CHANGED',
        'UNAVAILABLE',
        'KAFKA_UNAVAILABLE',
      ],
      handler: async ({ body, principal }) => ({ status: 201, body: viewOf(await registrar.register(body, actorOf(principal))) }),
    }),
  ];
}

const handlersOf = (registry: Registry): z.input<typeof handlerView>[] => {
  const payloads = new Map(registry.payloads().map((payload) => [payload.type, payload]));
  return registry.components().flatMap(({ bundle, name, kind, handles }) =>
    handles.map((type) => {
      const payload = payloads.get(type);
      const of = payload === undefined ? {} : { owner: `${payload.bundle}/${payload.component}`, topic: payload.topic };
      return { bundle, component: name, kind, payload: type, ...of };
    }),
  );
};
