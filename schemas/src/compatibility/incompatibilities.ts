import type { AvroSchema } from '../avro/schema.js';
import type { Compatibility } from '../codec/registry.js';
import { sentence, unreadableParts } from './readable.js';

export interface EarlierVersion {
  readonly version: number;
  readonly schema: AvroSchema;
}

/**
 * What keeps `schema` from being the next version under a compatibility level, one sentence each; empty when nothing does.
 * BACKWARD: the new schema reads old records. FORWARD: old schemas read new records. Not transitive: the last version alone counts.
 * @param earlier oldest first.
 */
export function incompatibilities(level: Compatibility, schema: AvroSchema, earlier: readonly EarlierVersion[]): readonly string[] {
  if (level === 'NONE') return [];
  const compared = level.endsWith('_TRANSITIVE') ? earlier : earlier.slice(-1);
  const backward = level.startsWith('BACKWARD') || level.startsWith('FULL');
  const forward = level.startsWith('FORWARD') || level.startsWith('FULL');
  return compared.flatMap((other) => {
    const sentences = (who: string, parts: ReturnType<typeof unreadableParts>): readonly string[] =>
      parts.map((part) => `${who}: ${sentence(part)}`);
    return [
      ...(backward ? sentences(`the new schema cannot read version ${other.version}`, unreadableParts(schema, other.schema)) : []),
      ...(forward ? sentences(`version ${other.version} cannot read the new schema`, unreadableParts(other.schema, schema)) : []),
    ];
  });
}
