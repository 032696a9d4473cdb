import { SpoolError, type AvroSchema, type RecordSchema } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { z } from 'zod';
import type { Bundle, Component } from './bundle.js';

const name = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,99}$/, 'a letter, then letters, digits, _ or -, 100 at most');

export const payloadDescriptor = z.object({
  /** The message type, unique over all bundles. */
  type: name,
  kind: z.enum(['command', 'event', 'query', 'view']),
  /** The component that owns it. */
  component: name,
  /** The topic that carries it; a view travels in replies. */
  topic: z.string(),
  /** For a query: the type of its view. */
  view: name.optional(),
  schemaName: z.string(),
  /** Avro. */
  schema: z.record(z.string(), z.unknown()) as unknown as z.ZodType<AvroSchema>,
});
export const componentDescriptor = z.object({
  name,
  kind: z.enum(['aggregate', 'service', 'projector', 'projection', 'saga', 'observer', 'invoker']),
  description: z.string(),
  /** Types of the messages it handles. */
  handles: z.array(name),
  /** Types of the messages it sends. */
  sends: z.array(name),
  /** The consumer that runs it, and the topics it reads; absent for what consumes nothing. */
  consumer: z.string().optional(),
  sources: z.array(z.string()).optional(),
  /** It can be rewound: it only projects. */
  replayable: z.boolean(),
});
export const bundleDescriptor = z.object({
  id: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'lower-case letters, digits and dashes, 63 at most'),
  version: z.string().regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/, 'a semantic version'),
  description: z.string(),
  components: z.array(componentDescriptor),
  payloads: z.array(payloadDescriptor),
});
export type PayloadDescriptor = z.infer<typeof payloadDescriptor>;
export type ComponentDescriptor = z.infer<typeof componentDescriptor>;
export type BundleDescriptor = z.infer<typeof bundleDescriptor>;

/** Bundle, component, version and context: a new version starts anew. */
export const consumerId = (bundleId: string, component: string, version: string | number, context = 'default'): string =>
  `${bundleId}.${component}-${version}.${context}`;

/** What the bundle is made of, derived from its components. @throws SpoolError INVALID_CONFIG with every problem found. */
export function describe(bundle: Bundle, topics: TopicCatalogue): BundleDescriptor {
  const parts = bundle.components.map((component) => describeComponent(bundle, component, topics));
  const result = bundleDescriptor.safeParse({
    id: bundle.id,
    version: bundle.version,
    description: bundle.description,
    components: parts.map((part) => part.component),
    payloads: parts.flatMap((part) => part.payloads),
  });
  if (!result.success) {
    const violations = result.error.issues.map(({ path, message }) => ({ pointer: `/${path.join('/')}`, message }));
    throw new SpoolError('INVALID_CONFIG', `bundle ${bundle.id}: ${violations.map((v) => `${v.pointer} ${v.message}`).join('; ')}`, {
      violations,
    });
  }
  const twice = repeated([
    ...result.data.payloads.map(({ type }) => type),
    ...result.data.components.map((component) => `component ${component.name}`),
  ]);
  if (twice.length > 0) throw new SpoolError('INVALID_CONFIG', `bundle ${bundle.id} declares twice: ${twice.join(', ')}`);
  return result.data;
}

interface Part {
  readonly component: ComponentDescriptor;
  readonly payloads: readonly PayloadDescriptor[];
}

function describeComponent(bundle: Bundle, component: Component, topics: TopicCatalogue): Part {
  const { name: componentName, kind, description } = component;
  const base = { name: componentName, kind, description, sends: [] as string[], replayable: false };
  const payload = (type: string, kindOf: PayloadDescriptor['kind'], topic: string, { fullName, schema }: RecordSchema<unknown>) => ({
    type,
    kind: kindOf,
    component: componentName,
    topic,
    schemaName: fullName,
    schema: schema as AvroSchema,
  });
  switch (component.kind) {
    case 'aggregate': {
      const commands = topics.commands(componentName).name;
      const events = topics.events(componentName).name;
      return {
        component: {
          ...base,
          handles: Object.keys(component.commands),
          sends: Object.keys(component.events),
          consumer: consumerId(bundle.id, componentName, 1),
          sources: [commands],
        },
        payloads: [
          ...Object.entries(component.commands).map(([type, schema]) => payload(type, 'command', commands, schema)),
          ...Object.entries(component.events).map(([type, schema]) => payload(type, 'event', events, schema)),
        ],
      };
    }
    case 'projector':
      return {
        component: {
          ...base,
          handles: Object.keys(component.handlers),
          consumer: consumerId(bundle.id, componentName, component.version),
          sources: [topics.events(component.of.name).name],
          replayable: true,
        },
        payloads: [],
      };
    case 'projection': {
      const topic = topics.queries(componentName).name;
      return {
        component: {
          ...base,
          handles: Object.keys(component.queries),
          consumer: consumerId(bundle.id, componentName, 1),
          sources: [topic],
        },
        payloads: Object.entries(component.queries).flatMap(([type, { request, view }]) => [
          { ...payload(type, 'query', topic, request), view: `${type}View` },
          payload(`${type}View`, 'view', topic, view),
        ]),
      };
    }
    case 'invoker':
      return { component: { ...base, handles: [], sends: [...component.sends] }, payloads: [] };
  }
}

function repeated(names: readonly string[]): string[] {
  const seen = new Set<string>();
  return names.filter((each) => seen.size === seen.add(each).size);
}
