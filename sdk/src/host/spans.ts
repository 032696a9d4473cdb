import type { ReadMeta, Span } from '@spool/schemas';
import type { ConsumedRecord, Instance } from '@spool/streams';
import { showSpan } from './open-telemetry.js';
import { spanOf } from './traces.js';

export interface Handled {
  readonly component: string;
  readonly componentKind: Span['componentKind'];
  readonly messageKind: Span['messageKind'];
  readonly type: string;
  /** Undefined for what came by another way than Kafka. */
  readonly record: ConsumedRecord | undefined;
  readonly meta: Partial<ReadMeta>;
  /** Microseconds. */
  readonly handleUs: number;
  readonly commitUs: number;
  readonly outcome: string | null;
  readonly errorClass: string | null;
  readonly replayId: string | null;
}

/** One span for each handled message, which is counted in any case. The queue time counts from the record's timestamp, which is the sender's clock. */
export function emitSpan(instance: Instance, handled: Handled): void {
  const { record, meta, handleUs, commitUs } = handled;
  instance.work.handled((handleUs + commitUs) / 1000, handled.errorClass !== null);
  const weight = instance.telemetry.weigh(handled.type, meta.traceparent?.slice(3, 35));
  if (weight === 0) return;
  const endUs = instance.now() * 1000;
  const workUs = handleUs + commitUs;
  const queueUs = record === undefined ? 0 : Math.max(0, endUs - workUs - record.timestamp * 1000);
  const { own, parentSpanId } = spanOf(meta.traceparent);
  const span: Span = {
    traceId: own.traceId,
    spanId: own.spanId,
    parentSpanId,
    messageKind: handled.messageKind,
    startedAt: endUs - workUs,
    queueUs,
    handleUs,
    commitUs,
    totalUs: queueUs + workUs,
    status: handled.errorClass === null ? 'ok' : 'error',
    outcome: handled.outcome,
    errorClass: handled.errorClass,
    bundle: instance.bundle,
    version: instance.version,
    instance: instance.id,
    component: handled.component,
    componentKind: handled.componentKind,
    handler: `${handled.component}.${handled.type}`,
    payloadType: handled.type,
    aggregateId: meta.subject ?? record?.key?.toString() ?? null,
    topic: record?.topic ?? null,
    partition: record?.partition ?? null,
    offset: record === undefined ? null : Number(record.offset),
    messageId: meta.id ?? null,
    correlationId: meta.correlationId ?? null,
    causationId: meta.causationId ?? null,
    replayId: handled.replayId,
    source: meta.source ?? null,
    weight,
  };
  instance.telemetry.span(span);
  showSpan(span);
}

/** @param began of `performance.now()` */
export const microsSince = (began: number): number => Math.round((performance.now() - began) * 1000);
