/** Avro schemas as plain JSON, and the typed constant that ties one to the TypeScript type of its values. */

export type AvroSchema = string | readonly AvroSchema[] | AvroDefinition;

/** A schema written as an object. Which attributes are there depends on `type`; attributes of others are kept. */
export interface AvroDefinition {
  readonly type: AvroSchema;
  readonly name?: string;
  readonly namespace?: string;
  readonly doc?: string;
  readonly aliases?: readonly string[];
  readonly fields?: readonly AvroField[];
  readonly symbols?: readonly string[];
  readonly items?: AvroSchema;
  readonly values?: AvroSchema;
  readonly size?: number;
  readonly logicalType?: string;
  /** Of an enum: the symbol that a reader takes for one that it does not know. */
  readonly default?: unknown;
  /** Ours, on records: the version that upcasters go by. @default 1 */
  readonly version?: number;
}

export interface AvroField {
  readonly name: string;
  readonly type: AvroSchema;
  readonly doc?: string;
  readonly default?: unknown;
  readonly aliases?: readonly string[];
}

export interface RecordDefinition extends AvroDefinition {
  readonly type: 'record';
  readonly name: string;
  readonly fields: readonly AvroField[];
}

declare const valueType: unique symbol;
/** The schema of a record whose values are `T`. `T` exists for the compiler alone. */
export interface RecordSchema<T> {
  /** Name with namespace, such as `spool.Span`. */
  readonly fullName: string;
  /** Complete in itself: no names that are defined elsewhere. */
  readonly schema: RecordDefinition;
  readonly [valueType]?: T;
}
/** The type of the values of a schema: `PayloadOf<typeof SpanSchema>` is `Span`. */
export type PayloadOf<S> = S extends RecordSchema<infer T> ? T : never;

const primitives = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const;
export type PrimitiveKind = (typeof primitives)[number];
export const isPrimitive = (name: string): name is PrimitiveKind => (primitives as readonly string[]).includes(name);

export const isDefinition = (schema: AvroSchema): schema is AvroDefinition => typeof schema === 'object' && !Array.isArray(schema);

/** A name as written, made full by the namespace in force. */
export const qualified = (name: string, namespace: string | undefined): string =>
  name.includes('.') || namespace === undefined || namespace === '' ? name : `${namespace}.${name}`;

/** The namespace that holds inside a named definition. */
export function namespaceWithin(definition: AvroDefinition, outer: string | undefined): string | undefined {
  if (definition.name?.includes('.')) return definition.name.slice(0, definition.name.lastIndexOf('.'));
  return definition.namespace ?? outer;
}

export const fullNameOf = (definition: AvroDefinition & { readonly name: string }, outer?: string): string =>
  qualified(definition.name, definition.namespace ?? outer);

/** A definition with the schemas directly inside it changed: of its fields, items and values. */
export function mapParts(definition: AvroDefinition, change: (part: AvroSchema) => AvroSchema): AvroDefinition {
  return {
    ...definition,
    ...(definition.fields && { fields: definition.fields.map((field) => ({ ...field, type: change(field.type) })) }),
    ...(definition.items !== undefined && { items: change(definition.items) }),
    ...(definition.values !== undefined && { values: change(definition.values) }),
  };
}
