import { createHash } from 'node:crypto';
import { headerBytes, headerNames, SpoolError, type CommandOutcome } from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import { problemOf, type Answered } from '../host/replying.js';

/** Of a command whose id is a key of its caller's own. */
export const refuseReuseHeader = 'refusereuse';

/**
 * What tells commands under one key apart: `<digest of type and key> <id of the schema> <digest of the payload>`. Null for a command whose id is made of its
 * cause, such as an observer's: repeated by newer code its payload may differ, and it is the same command all the same.
 */
export function fingerprintOf({ headers, key, value }: ConsumedRecord): string | null {
  if (headers[refuseReuseHeader] === undefined || value === null || value.length < headerBytes) return null;
  const place = digest(JSON.stringify([headers[headerNames.type]?.toString(), key?.toString()]));
  return `${place} ${value.readUInt32BE(1)} ${digest(value.subarray(headerBytes))}`;
}
const digest = (data: string | Buffer): string => createHash('sha256').update(data).digest('base64url').slice(0, 22);

/** The answer to another command under the key of a recorded one. The bytes of another version of the schema may say the same, and are not compared. */
export function reused({ fingerprint, commandId }: CommandOutcome, record: ConsumedRecord): Answered | undefined {
  const own = fingerprintOf(record);
  // A row of the store that older code wrote has none.
  if (own === null || typeof fingerprint !== 'string' || own === fingerprint) return undefined;
  const [place, schema] = own.split(' ');
  const [firstPlace, firstSchema] = fingerprint.split(' ');
  if (place === firstPlace && schema !== firstSchema) return undefined;
  const error = new SpoolError('IDEMPOTENCY_KEY_REUSED', `the key ${commandId} was first used for another command`);
  return { outcome: 'failed', problem: problemOf(error) };
}
