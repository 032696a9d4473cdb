/** W3C Trace Context: `00-<trace id>-<span id>-<flags>`. */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hexadecimal digits, not all zero. */
  readonly spanId: string;
  readonly sampled: boolean;
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Undefined when it is not one: a broken trace never stops a message. Versions after 00 are read as 00, as the standard says. */
export function parseTraceparent(text: string): TraceContext | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, more] = match;
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId!) || /^0+$/.test(spanId!)) return undefined;
  return { traceId: traceId!, spanId: spanId!, sampled: (parseInt(flags!, 16) & 1) === 1 };
}

export const formatTraceparent = ({ traceId, spanId, sampled }: TraceContext): string => `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;

/** A new trace. @param random 24 random bytes. */
export const newTrace = (random: Buffer, sampled = true): TraceContext => ({
  traceId: hex(random, 0, 16),
  spanId: hex(random, 16, 24),
  sampled,
});

/** A new span in the trace of `parent`. @param random 8 random bytes. */
export const childOf = (parent: TraceContext, random: Buffer): TraceContext => ({ ...parent, spanId: hex(random, 0, 8) });

/** All zero is not a valid id; it comes once in 2^64 times, or from a test's source of randomness. */
function hex(random: Buffer, start: number, end: number): string {
  const digits = random.toString('hex', start, end).padStart((end - start) * 2, '0');
  return /^0+$/.test(digits) ? `${digits.slice(0, -1)}1` : digits;
}
