import type { Registry } from '@spool/sdk';
import { z } from 'zod';
import { route, type Route } from '../http/index.js';

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

/** What is registered: bundles, their components, and the payloads with their schemas. */
export function registryRoutes(registry: Registry): readonly Route[] {
  const list = <T extends z.ZodType>(what: string, item: T, read: () => z.input<T>[]): Route =>
    route({
      method: 'GET',
      path: `/api/v1/registry/${what}`,
      summary: `The registered ${what}`,
      role: ['bundle', 'analyst'],
      responses: { 200: { description: what, schema: z.object({ items: z.array(item) }) } },
      handler: () => ({ status: 200, body: { items: read() } }) as never,
    });
  return [
    list('bundles', bundleView, () =>
      registry.bundles().map(({ payloads: _, components, updatedAt, ...bundle }) => ({
        ...bundle,
        instances: [...bundle.instances],
        updatedAt: new Date(updatedAt).toISOString(),
        components: components.map(({ name }) => name),
      })),
    ),
    list('components', componentView, () => [...registry.components()]),
    list('payloads', payloadView, () => registry.payloads().map(({ recordSchema: _, ...payload }) => payload)),
  ];
}
