import { childOf, formatTraceparent, newTrace, parseTraceparent, randomIdBytes, type TraceContext } from '@spool/schemas';
import { activeSpan } from './open-telemetry.js';

/** Goes on with the span that the application has open in OpenTelemetry, or begins a trace. */
export function newTraceparent(): string {
  const active = activeSpan();
  if (active === undefined) return formatTraceparent(newTrace(randomIdBytes(24)));
  return `00-${active.traceId}-${active.spanId}-${active.traceFlags.toString(16).padStart(2, '0')}`;
}

/** The span of a message's handling: a child of the sender's, or the first of a new trace. */
export function spanOf(traceparent: string | undefined): { readonly own: TraceContext; readonly parentSpanId: string | null } {
  const parent = traceparent === undefined ? undefined : parseTraceparent(traceparent);
  if (parent === undefined) return { own: newTrace(randomIdBytes(24)), parentSpanId: null };
  return { own: childOf(parent, randomIdBytes(8)), parentSpanId: parent.spanId };
}
