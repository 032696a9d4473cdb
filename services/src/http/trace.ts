import { randomIdBytes } from '@spool/schemas';

/** W3C trace context of one request. */
export interface Trace {
  /** 32 hex digits; the caller's, if it sent a valid `traceparent`. */
  readonly traceId: string;
  /** What to pass on: the caller's trace with a span id of our own. */
  readonly traceparent: string;
}

const pattern = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** Continues the caller's trace, or begins a new, sampled one if the header is missing or not valid. */
export function continueTrace(header: string | undefined, random: (bytes: number) => Buffer = randomIdBytes): Trace {
  const match = header === undefined || header.startsWith('ff') ? null : pattern.exec(header);
  const known = match !== null && !/^0+$/.test(match[1]!) && !/^0+$/.test(match[2]!);
  const traceId = known ? match[1]! : random(16).toString('hex');
  return { traceId, traceparent: `00-${traceId}-${random(8).toString('hex')}-${known ? match[3]! : '01'}` };
}
