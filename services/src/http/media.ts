import type { IncomingMessage } from 'node:http';
import { SpoolError } from '@spool/schemas';
import type { Request } from 'express';

/**
 * A browser form or a `no-cors` fetch cannot send these without a preflight, so insisting on them keeps other sites' pages out even
 * where nobody has to log in.
 */
export const jsonBodyTypes: readonly string[] = ['application/json', 'application/cloudevents+json'];

/** @throws SpoolError UNSUPPORTED_MEDIA_TYPE if there is a body of another type, BODY_TOO_LARGE if it announces too much. */
export function checkBodyHeaders(request: IncomingMessage, allowed: readonly string[], limitBytes: number): void {
  if (!hasBody(request)) return;
  const type = mediaTypeOf(request.headers['content-type']);
  if (!allowed.includes('*/*') && (type === undefined || !allowed.includes(type))) {
    throw new SpoolError(
      'UNSUPPORTED_MEDIA_TYPE',
      `The body is ${type === undefined ? 'of no declared type' : `declared as ${type}`}; send ${allowed.join(' or ')}`,
    );
  }
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw bodyTooLarge(limitBytes);
}

/** Without its parameters. */
export const mediaTypeOf = (header: string | undefined): string | undefined => header?.split(';', 1)[0]!.trim().toLowerCase();

export const bodyTooLarge = (limitBytes: number): SpoolError =>
  new SpoolError('BODY_TOO_LARGE', `The body is larger than ${limitBytes} bytes`, { facts: { limitBytes } });

/** Whether the request announces a body that is not empty. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

/** @throws SpoolError NOT_ACCEPTABLE if Accept excludes all of `offered` (types without parameters); a missing header accepts everything. */
export function checkAccept(request: Request, offered: readonly string[]): void {
  const { accept } = request.headers;
  if (accept === undefined || accept === '*/*' || offered.length === 0 || offered.includes(accept)) return;
  if (request.accepts([...offered]) !== false) return;
  throw new SpoolError('NOT_ACCEPTABLE', `This is given as ${offered.join(' or ')} only`);
}
