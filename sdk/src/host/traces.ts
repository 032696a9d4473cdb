import { randomFillSync } from 'node:crypto';
import { childOf, formatTraceparent, newTrace, parseTraceparent, type TraceContext } from '@spool/schemas';
import { activeSpan } from './open-telemetry.js';

/** Random bytes are drawn in large pieces: a call of its own for each id costs more than the rest of it. */
const pool = Buffer.alloc(24 * 512);
let next = pool.length;
function random(bytes: number): Buffer {
  if (next + bytes > pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  return pool.subarray(next, (next += bytes));
}

/** Goes on with the span that the application has open in OpenTelemetry, or begins a trace. */
export function newTraceparent(): string {
  const active = activeSpan();
  if (active === undefined) return formatTraceparent(newTrace(random(24)));
  return `00-${active.traceId}-${active.spanId}-${active.traceFlags.toString(16).padStart(2, '0')}`;
}

/** The span of a message's handling: a child of the sender's, or the first of a new trace. */
export function spanOf(traceparent: string | undefined): { readonly own: TraceContext; readonly parentSpanId: string | null } {
  const parent = traceparent === undefined ? undefined : parseTraceparent(traceparent);
  if (parent === undefined) return { own: newTrace(random(24)), parentSpanId: null };
  return { own: childOf(parent, random(8)), parentSpanId: parent.spanId };
}
