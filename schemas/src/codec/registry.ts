import type { AvroSchema } from '../avro/schema.js';

/** What a schema registry does for the codec. Adapters: `createHttpRegistry`, `createMemoryRegistry`. */
export interface SchemaRegistry {
  /**
   * Makes sure that `schema` is a version of the subject and gives its id; the same schema always has the same id. A subject that is new
   * gets the compatibility level that the adapter was made with.
   * @throws SpoolError SCHEMA_INCOMPATIBLE, SCHEMA_INVALID, UNAVAILABLE (after the adapter's deadline), INVALID_CONFIG (credentials refused).
   */
  register(subject: string, schema: AvroSchema): Promise<number>;
  /** The schema with the definitions of all names it refers to. @throws SpoolError SCHEMA_UNKNOWN, SCHEMA_INVALID (not Avro), UNAVAILABLE, INVALID_CONFIG. */
  schemaById(id: number): Promise<AvroSchema>;
  subjects(): Promise<readonly string[]>;
  /** All versions of a subject, oldest first; empty when there is no such subject. */
  versions(subject: string): Promise<readonly RegisteredVersion[]>;
}

export interface RegisteredVersion {
  readonly version: number;
  readonly id: number;
  readonly schema: AvroSchema;
}

/** TopicRecordNameStrategy: one subject for each record type of a topic. */
export const subjectOf = (topic: string, fullName: string): string => `${topic}-${fullName}`;
