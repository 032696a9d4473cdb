/** The seven compatibility levels, and what is wrong in the words of Confluent's registry. */
import type { AvroSchema } from '../avro/schema.js';
import { canRead, type Incompatibility, type IncompatibilityType } from './can-read.js';
import { parseAvro } from './parse.js';
import type { ParsedAvro } from './parsed.js';

export const compatibilityLevels = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
] as const;
/** BACKWARD: the new schema reads old records. FORWARD: old schemas read new records. Not transitive: the last version alone counts. */
export type Compatibility = (typeof compatibilityLevels)[number];

export interface EarlierVersion {
  readonly version: number;
  /** `undefined` is a schema that is not Avro or not readable, which nothing is compatible with. Called only if this version counts. */
  readonly parse: () => ParsedAvro | undefined;
}

export interface Conflict {
  /** The earlier version that does not go with the new schema. */
  readonly version: number;
  readonly type: IncompatibilityType | 'UNREADABLE';
  /** A sentence with the path in the reader's schema. */
  readonly description: string;
  /** What exactly: the field, the symbols, the two types. */
  readonly info: string;
}

/**
 * What keeps `next` from being the next version: everything about the newest version first, then about those before; empty when nothing does.
 * @param earlier oldest first.
 * @throws SpoolError SCHEMA_INVALID when two schemas are too large to be compared
 */
export function checkCompatibility(level: Compatibility, next: ParsedAvro, earlier: readonly EarlierVersion[]): readonly Conflict[] {
  if (level === 'NONE') return [];
  const compared = level.endsWith('_TRANSITIVE') ? earlier.toReversed() : earlier.slice(-1);
  return compared.flatMap(({ version, parse }): readonly Conflict[] => {
    const old = parse();
    if (old === undefined) {
      const description = 'The earlier schema is of a different schema type, or cannot be parsed';
      return [{ version, type: 'UNREADABLE', description, info: '' }];
    }
    const backward = level.startsWith('FORWARD') ? [] : canRead(next, old).map((found) => inWords(found, 'new', 'old'));
    const forward = level.startsWith('BACKWARD') ? [] : canRead(old, next).map((found) => inWords(found, 'old', 'new'));
    return [...backward, ...forward].map((conflict) => ({ version, ...conflict }));
  });
}

/** As `checkCompatibility` for schemas as plain JSON: a sentence for each conflict. @throws SpoolError SCHEMA_INVALID also for one that is not Avro */
export function incompatibilities(
  level: Compatibility,
  next: AvroSchema,
  earlier: readonly { readonly version: number; readonly schema: AvroSchema }[],
): readonly string[] {
  const versions = earlier.map(({ version, schema }) => ({ version, parse: () => parsed(schema) }));
  return checkCompatibility(level, parsed(next), versions).map((conflict) => `version ${conflict.version}: ${sentence(conflict)}`);
}

/** Why `reader` cannot read what `writer` wrote, a sentence for each problem. @throws SpoolError SCHEMA_INVALID for one that is not Avro */
export const unreadableParts = (reader: AvroSchema, writer: AvroSchema): readonly string[] =>
  canRead(parsed(reader), parsed(writer)).map((found) => sentence(inWords(found, 'reader', 'writer')));

const parsed = (schema: AvroSchema): ParsedAvro => parseAvro(JSON.stringify(schema));

type Wording = Omit<Conflict, 'version'>;
const sentence = ({ description, info }: Wording): string => (description.includes(info) ? description : `${description}: ${info}`);

const inWords = (found: Incompatibility, reader: string, writer: string): Wording => ({
  type: found.type,
  description: describe(found, reader, writer),
  info: found.info,
});

function describe({ type, path, info }: Incompatibility, reader: string, writer: string): string {
  switch (type) {
    case 'FIXED_SIZE_MISMATCH':
      return `The size of FIXED type field at path '${path}' in the ${reader} schema does not match with the ${writer} schema`;
    case 'TYPE_MISMATCH':
      return `The type (path '${path}') of a field in the ${reader} schema does not match with the ${writer} schema`;
    case 'NAME_MISMATCH':
      return `The name of the schema has changed (path '${path}')`;
    case 'MISSING_ENUM_SYMBOLS':
      return `The ${reader} schema is missing enum symbols '${info}' at path '${path}' in the ${writer} schema`;
    case 'MISSING_UNION_BRANCH':
      return `The ${reader} schema is missing a type inside a union field at path '${path}' in the ${writer} schema`;
    case 'READER_FIELD_MISSING_DEFAULT_VALUE':
      return `The field '${info}' at path '${path}' in the ${reader} schema has no default value and is missing in the ${writer} schema`;
  }
}
