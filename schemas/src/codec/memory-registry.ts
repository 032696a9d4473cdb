import { SpoolError } from '../errors/spool-error.js';
import type { AvroSchema } from '../avro/schema.js';
import { incompatibilities, type Compatibility } from '../compatibility/levels.js';
import { parseAvro } from '../compatibility/parse.js';
import type { RegisteredVersion, SchemaRegistry } from './registry.js';

export interface MemoryRegistryOptions {
  /** @default 'FULL_TRANSITIVE' */
  readonly compatibility?: Compatibility;
}

/** A registry that lives and dies with the object, for tests and for tools that need no Kafka. */
export function createMemoryRegistry({ compatibility = 'FULL_TRANSITIVE' }: MemoryRegistryOptions = {}): SchemaRegistry {
  /** The id of a schema is its place here, from 1. */
  const texts: string[] = [];
  const bySubject = new Map<string, RegisteredVersion[]>();

  const register = (subject: string, schema: AvroSchema): number => {
    const text = JSON.stringify(schema);
    parseAvro(text, { checkDefaults: true });
    const versions = bySubject.get(subject) ?? [];
    const id = texts.indexOf(text) + 1;
    const same = versions.find((version) => version.id === id);
    if (same !== undefined) return same.id;
    const problems = incompatibilities(compatibility, schema, versions);
    if (problems.length > 0) throw new SpoolError('SCHEMA_INCOMPATIBLE', `${subject}: ${problems.join('; ')}`);
    const version = {
      version: (versions.at(-1)?.version ?? 0) + 1,
      id: id > 0 ? id : texts.push(text),
      schema: JSON.parse(text) as AvroSchema,
    };
    bySubject.set(subject, [...versions, version]);
    return version.id;
  };
  return {
    register: (subject, schema) => Promise.resolve().then(() => register(subject, schema)),
    schemaById: (id) => {
      const text = texts[id - 1];
      return text === undefined
        ? Promise.reject(new SpoolError('SCHEMA_UNKNOWN', `No schema has the id ${id}`))
        : Promise.resolve(JSON.parse(text) as AvroSchema);
    },
    subjects: () => Promise.resolve([...bySubject.keys()].sort()),
    versions: (subject) => Promise.resolve(bySubject.get(subject) ?? []),
  };
}
