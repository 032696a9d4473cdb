import { isDeepStrictEqual } from 'node:util';
import { SpoolError } from '../errors/spool-error.js';
import type { AvroSchema } from '../avro/schema.js';
import { avroType } from '../avro/types.js';
import { incompatibilities } from '../compatibility/incompatibilities.js';
import type { Compatibility, RegisteredVersion, SchemaRegistry } from './registry.js';

export interface MemoryRegistryOptions {
  /** @default 'FULL_TRANSITIVE' */
  readonly compatibility?: Compatibility;
}

/** A registry that lives and dies with the object, for tests and for tools that need no Kafka. */
export function createMemoryRegistry({ compatibility = 'FULL_TRANSITIVE' }: MemoryRegistryOptions = {}): SchemaRegistry {
  const schemas: AvroSchema[] = [];
  const bySubject = new Map<string, RegisteredVersion[]>();

  const register = (subject: string, schema: AvroSchema): number => {
    avroType(schema);
    const versions = bySubject.get(subject) ?? [];
    const same = versions.find((version) => isDeepStrictEqual(version.schema, schema));
    if (same !== undefined) return same.id;
    const problems = incompatibilities(compatibility, schema, versions);
    if (problems.length > 0) throw new SpoolError('SCHEMA_INCOMPATIBLE', `${subject}: ${problems.join('; ')}`);
    let index = schemas.findIndex((known) => isDeepStrictEqual(known, schema));
    if (index < 0) index = schemas.push(structuredClone(schema)) - 1;
    const last = versions.at(-1);
    bySubject.set(subject, [...versions, { version: (last?.version ?? 0) + 1, id: index + 1, schema: schemas[index]! }]);
    return index + 1;
  };
  return {
    register: (subject, schema) => Promise.resolve().then(() => register(subject, schema)),
    schemaById: (id) => {
      const schema = schemas[id - 1];
      return schema === undefined
        ? Promise.reject(new SpoolError('SCHEMA_UNKNOWN', `No schema has the id ${id}`))
        : Promise.resolve(schema);
    },
    subjects: () => Promise.resolve([...bySubject.keys()].sort()),
    versions: (subject) => Promise.resolve(bySubject.get(subject) ?? []),
  };
}
