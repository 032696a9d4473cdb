/** The Confluent wire format: a zero byte, the schema id as four bytes big endian, then Avro. */
import { SpoolError } from '../errors/spool-error.js';

export const headerBytes = 5;

/** Whether the bytes begin as the wire format does. */
export const isFramed = (value: Buffer): boolean => value.length >= headerBytes && value[0] === 0;

/** The id of the writer's schema. @throws SpoolError RECORD_UNREADABLE when the bytes are not in the wire format. */
export function schemaIdOf(value: Buffer): number {
  if (!isFramed(value)) {
    const start = value.subarray(0, headerBytes).toString('hex');
    throw new SpoolError('RECORD_UNREADABLE', `Not in the Confluent wire format: ${value.length} bytes that begin with 0x${start}`);
  }
  return value.readUInt32BE(1);
}
