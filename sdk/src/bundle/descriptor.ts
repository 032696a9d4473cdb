import type { AvroSchema } from '@spool/schemas';
import { z } from 'zod';

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
/** Where something stands in the code. */
const place = z.object({
  /** Relative to the package that it is in. */
  file: z.string(),
  line: z.number().int().min(1),
  /** Where people read it. */
  url: z.string().optional(),
});
export const componentDescriptor = z.object({
  name,
  kind: z.enum(['aggregate', 'service', 'projector', 'projection', 'saga', 'observer', 'invoker']),
  description: z.string(),
  /** Types of the messages it handles. */
  handles: z.array(name),
  /** Types of the messages it sends. */
  sends: z.array(name),
  /** Those among them that are queries, where it asks any. */
  asks: z.array(name).optional(),
  /** Commands that it answers with streams of events, by direct calls. */
  streams: z.array(z.object({ command: name, events: z.array(name) })).optional(),
  /** The consumer that runs it, and the topics it reads; absent for what consumes nothing. */
  consumer: z.string().optional(),
  /** What it is bound to, `all` for whatever there is: the consumer is that of the first, and each has one. Absent where it takes all by nature. */
  contexts: z.array(z.string()).optional(),
  /** What it does with events that it does not know. */
  unknown: z.enum(['skip', 'park', 'fail']).optional(),
  sources: z.array(z.string()).optional(),
  /** It can be rewound: it only projects. */
  replayable: z.boolean(),
  /** A second copy of its read model can be built beside the one that answers. */
  copyable: z.boolean().optional(),
  /** Each instance holds but the partitions of its read model that it owns. Absent where each holds all, or a database does. */
  placement: z.literal('partitioned').optional(),
  /** Where it is declared. */
  source: place.optional(),
});
export const bundleDescriptor = z.object({
  id: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'lower-case letters, digits and dashes, 63 at most'),
  version: z.string().regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/, 'a semantic version'),
  description: z.string(),
  /** URL of the repository. */
  repository: z.string().optional(),
  components: z.array(componentDescriptor),
  payloads: z.array(payloadDescriptor),
});
export type PayloadDescriptor = z.infer<typeof payloadDescriptor>;
export type ComponentDescriptor = z.infer<typeof componentDescriptor>;
export type BundleDescriptor = z.infer<typeof bundleDescriptor>;

/** Bundle, component, version and context: a new version starts anew. */
export const consumerId = (bundleId: string, component: string, version: string | number, context = 'default'): string =>
  `${bundleId}.${component}-${version}.${context}`;

const senders: readonly ComponentDescriptor['kind'][] = ['saga', 'observer', 'invoker', 'projector'];
/** The types of the commands and queries that its components declare: what others take from it by direct calls. */
export const invokedBy = ({ components }: BundleDescriptor): readonly string[] => [
  ...new Set(components.flatMap(({ kind, sends }) => (senders.includes(kind) ? sends : []))),
];
