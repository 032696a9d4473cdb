import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SpoolError } from '../errors/spool-error.js';
import { fullNameOf, isDefinition, isPrimitive, mapParts, namespaceWithin, qualified } from '../avro/schema.js';
import type { AvroSchema, RecordDefinition } from '../avro/schema.js';

/** One `.avsc` file: what it says, and the same with every foreign name replaced by its definition. */
export interface Contract {
  readonly fullName: string;
  /** File name without `.avsc`, such as `ReplayJob`. */
  readonly file: string;
  readonly written: RecordDefinition;
  readonly complete: RecordDefinition;
}

/** Reads every `.avsc` of a folder, in the order of their names. @throws SpoolError SCHEMA_INVALID naming the file. */
export function readContracts(folder: string): readonly Contract[] {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.avsc'))
    .sort();
  const written = new Map<string, { file: string; record: RecordDefinition }>();
  for (const name of files) {
    const file = name.slice(0, -'.avsc'.length);
    const record = parse(name, readFileSync(join(folder, name), 'utf8'));
    if (record.name !== file) throw new SpoolError('SCHEMA_INVALID', `${name} defines ${record.name}; the file must bear its name`);
    written.set(fullNameOf(record), { file, record });
  }
  return [...written].map(([fullName, { file, record }]) => ({
    fullName,
    file,
    written: record,
    complete: complete(record, file, (name) => written.get(name)?.record),
  }));
}

function parse(file: string, text: string): RecordDefinition {
  let schema: AvroSchema;
  try {
    schema = JSON.parse(text) as AvroSchema;
  } catch (cause) {
    throw new SpoolError('SCHEMA_INVALID', `${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isDefinition(schema) || schema.type !== 'record' || schema.name === undefined || schema.fields === undefined)
    throw new SpoolError('SCHEMA_INVALID', `${file} is not a record with a name and fields`);
  return schema as RecordDefinition;
}

/** Puts the definition of another file in place of the first mention of its name; later mentions stay names, as Avro has it. */
function complete(record: RecordDefinition, file: string, lookUp: (name: string) => RecordDefinition | undefined): RecordDefinition {
  const defined = new Set<string>();
  const walk = (schema: AvroSchema, namespace: string | undefined): AvroSchema => {
    if (typeof schema === 'string') {
      if (isPrimitive(schema)) return schema;
      const name = qualified(schema, namespace);
      if (defined.has(name)) return name;
      const found = lookUp(name);
      if (found === undefined) throw new SpoolError('SCHEMA_INVALID', `${file}.avsc refers to ${name}, which no file defines`);
      return walk(found, undefined);
    }
    if (!isDefinition(schema)) return schema.map((branch) => walk(branch, namespace));
    const inner = namespaceWithin(schema, namespace);
    if (schema.name !== undefined) defined.add(fullNameOf({ ...schema, name: schema.name }, namespace));
    return mapParts(schema, (part) => walk(part, inner));
  };
  return walk(record, undefined) as RecordDefinition;
}
