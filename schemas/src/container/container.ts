import type { Duplex } from 'node:stream';
import avro from 'avsc';
import type { AvroSchema } from '../avro/schema.js';

/** Takes values and gives the bytes of an Avro container file: the schema, then blocks of deflated values. For a pipeline. */
export function containerEncoder(schema: AvroSchema): Duplex {
  return new avro.streams.BlockEncoder(schema as avro.Schema, { codec: 'deflate', writeHeader: 'always' } as object);
}

/** Takes the bytes of an Avro container file and gives its values, as its own schema has them. For a pipeline, which it fails where they are damaged. */
export function containerDecoder(): Duplex {
  return new avro.streams.BlockDecoder();
}
