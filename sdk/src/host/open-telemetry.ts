import {
  context,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type HrTime,
  type SpanContext,
  type Tracer,
} from '@opentelemetry/api';
import type { Span } from '@spool/schemas';
import { attribute, kafkaSystem, processing } from './semantic-conventions.js';

const scope = '@spool/sdk';

/** Of the application's SDK; undefined where it has none, which costs next to nothing. */
function tracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- the one way to learn that there is no SDK, before anything is made for it
  return provider instanceof ProxyTracerProvider ? provider.getDelegateTracer(scope) : provider.getTracer(scope);
}

/** The span that the application has open where it sends, so that what it sends belongs to its trace. */
export function activeSpan(): SpanContext | undefined {
  const active = trace.getSpanContext(context.active());
  return active !== undefined && trace.isSpanContextValid(active) ? active : undefined;
}

/**
 * Shows a span to the OpenTelemetry SDK of the application, if it has one: the same trace, parent and times. Its span id is the SDK's own, which no
 * API can set; Spool's children hang on the sender's span, so that nothing points at it.
 */
export function showSpan(span: Span): void {
  const to = tracer();
  if (to === undefined) return;
  const { traceId, parentSpanId, startedAt } = span;
  // A root is given the trace by a parent of its own that nobody records.
  const parent: SpanContext = { traceId, spanId: parentSpanId ?? span.spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
  const shown = to.startSpan(
    `${processing} ${span.topic ?? span.payloadType}`,
    { kind: SpanKind.CONSUMER, startTime: timeOf(startedAt), attributes: attributesOf(span) },
    trace.setSpanContext(ROOT_CONTEXT, parent),
  );
  if (span.status === 'error')
    shown.setStatus({ code: SpanStatusCode.ERROR, ...(span.errorClass === null ? {} : { message: span.errorClass }) });
  shown.end(timeOf(startedAt + span.handleUs + span.commitUs));
}

const timeOf = (us: number): HrTime => [Math.floor(us / 1e6), Math.round(us % 1e6) * 1000];

/** What is null stays out. */
const attributesOf = (span: Span): Attributes => {
  const all: Record<string, string | number | null> = {
    [attribute.system]: kafkaSystem,
    [attribute.operationType]: processing,
    [attribute.operationName]: processing,
    [attribute.destination]: span.topic,
    [attribute.partition]: span.partition === null ? null : String(span.partition),
    [attribute.offset]: span.offset,
    [attribute.messageId]: span.messageId,
    [attribute.conversationId]: span.correlationId,
    [attribute.errorType]: span.errorClass,
    [attribute.serviceInstance]: span.instance,
    [attribute.bundle]: span.bundle,
    [attribute.version]: span.version,
    [attribute.component]: span.component,
    [attribute.componentKind]: span.componentKind,
    [attribute.handler]: span.handler,
    [attribute.messageKind]: span.messageKind,
    [attribute.payloadType]: span.payloadType,
    [attribute.aggregateId]: span.aggregateId,
    [attribute.causationId]: span.causationId,
    [attribute.outcome]: span.outcome,
    [attribute.replayId]: span.replayId,
    [attribute.queueUs]: span.queueUs,
    [attribute.handleUs]: span.handleUs,
    [attribute.commitUs]: span.commitUs,
    [attribute.weight]: span.weight,
  };
  return Object.fromEntries(Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [[name, value]])));
};
