/** The seven compatibility levels, and the messages in which Confluent's registry words a refusal. */
import { canRead, type Incompatibility } from './avro/compatibility.js';
import type { Schema } from './avro/schema.js';

export const levels = ['NONE', 'BACKWARD', 'BACKWARD_TRANSITIVE', 'FORWARD', 'FORWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE'] as const;
export type CompatibilityLevel = (typeof levels)[number];
export const levelNamed = (name: string): CompatibilityLevel | undefined => levels.find((level) => level === name.toUpperCase());

export interface EarlierVersion {
  readonly version: number;
  /** The schema as it is stored. */
  readonly text: string;
  /** `undefined` is a schema that is not AVRO or not readable, which nothing is compatible with. */
  readonly parse: () => Schema | undefined;
}

/**
 * Compares a new schema with earlier versions (oldest first): with the last one, or with all under a transitive level, newest first and
 * ending at the first that does not fit. Empty means compatible.
 */
export function incompatibilities(level: CompatibilityLevel, schema: Schema, earlier: readonly EarlierVersion[]): readonly string[] {
  if (level === 'NONE') return [];
  const newestFirst = [...earlier].reverse();
  for (const other of level.endsWith('_TRANSITIVE') ? newestFirst : newestFirst.slice(0, 1)) {
    const found = pairMessages(level, schema, other.parse());
    if (found.length > 0) {
      return [
        ...found,
        `{oldSchemaVersion: ${other.version}}`,
        `{oldSchema: '${other.text}'}`,
        `{validateFields: 'false', compatibility: '${level}'}`,
      ];
    }
  }
  return [];
}

function pairMessages(level: CompatibilityLevel, schema: Schema, other: Schema | undefined): readonly string[] {
  if (other === undefined) return ['Incompatible because the earlier schema is of a different schema type, or cannot be parsed'];
  const backward = level.startsWith('FORWARD') ? [] : canRead(schema, other).map((found) => message(found, 'new', 'old'));
  const forward = level.startsWith('BACKWARD') ? [] : canRead(other, schema).map((found) => message(found, 'old', 'new'));
  return [...backward, ...forward];
}

function message(found: Incompatibility, reader: string, writer: string): string {
  return `{errorType:'${found.type}', description:'${describe(found, reader, writer)}', additionalInfo:'${found.info}'}`;
}

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
