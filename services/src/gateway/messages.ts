import { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import type { Actor } from '../consumers/index.js';
import { maxAggregateIdBytes } from '../event-store/index.js';
import type { Principal } from '../http/index.js';

/** Who asks, for the audit log. */
export const actorOf = ({ name, roles }: Principal): Actor => ({ name, roles });

/** Shapes that several routes share. */
export const messageType = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,99}$/, 'Expected a message type, such as ScheduleFlight');
export const aggregateId = z
  .string()
  .min(1)
  .refine((id) => Buffer.byteLength(id) <= maxAggregateIdBytes, `Expected ${maxAggregateIdBytes} bytes at the most`)
  // Control characters separate the parts of keys.
  .refine((id) => !/[\u0000-\u001f\u007f]/.test(id), 'Expected no control characters');
export const version = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
export const positionToken = z.string().max(100_000).describe('A position, as a command or a query gave it');

/** An Idempotency-Key is the command id; it may come quoted, as the IETF draft has it. */
export function commandIdOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.replace(/^"(.*)"$/, '$1');
  if (/^[\x21-\x7e]{1,200}$/.test(key)) return key;
  throw new SpoolError('INVALID_REQUEST', 'Idempotency-Key is to be 1 to 200 visible ASCII characters', {
    violations: [{ pointer: 'header:idempotency-key', message: 'Expected 1 to 200 visible ASCII characters' }],
  });
}
