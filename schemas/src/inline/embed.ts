import { SpoolError } from '../errors/spool-error.js';
import {
  fullNameOf,
  isDefinition,
  isPrimitive,
  mapParts,
  namespaceWithin,
  qualified,
  type AvroDefinition,
  type AvroSchema,
} from '../avro/schema.js';

/** What each name stands for in the schema that is being built. */
export type DefinedNames = Map<string, string>;

/**
 * A schema as a part of another: Avro wants each named type written out once and called by its name from then on.
 * @throws SpoolError SCHEMA_INVALID when a name stands for something else already.
 */
export function embed(schema: AvroSchema, defined: DefinedNames, namespace?: string): AvroSchema {
  if (typeof schema === 'string') return isPrimitive(schema) ? schema : qualified(schema, namespace);
  if (!isDefinition(schema)) return schema.map((branch) => embed(branch, defined, namespace));
  if (schema.name !== undefined) {
    const name = fullNameOf({ ...schema, name: schema.name }, namespace);
    const meaning = signature(schema, namespace);
    const known = defined.get(name);
    if (known === meaning) return name;
    if (known !== undefined) throw new SpoolError('SCHEMA_INVALID', `${name} stands for two different types`);
    defined.set(name, meaning);
  }
  return mapParts(schema, (part) => embed(part, defined, namespaceWithin(schema, namespace)));
}

/** A definition with the named types inside it cut down to their names, so that where they were written out first makes no difference. */
function signature(schema: AvroDefinition, namespace: string | undefined): string {
  const cut = (part: AvroSchema, inner: string | undefined): AvroSchema => {
    if (typeof part === 'string') return isPrimitive(part) ? part : qualified(part, inner);
    if (!isDefinition(part)) return part.map((branch) => cut(branch, inner));
    if (part.name !== undefined) return fullNameOf({ ...part, name: part.name }, inner);
    return mapParts(part, (each) => cut(each, inner));
  };
  return JSON.stringify(mapParts(schema, (part) => cut(part, namespaceWithin(schema, namespace))));
}
