import { messageHeaders, readMeta } from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import type { CarriedEvent } from './transport.js';

/** Beside those of every message: how an event is to be kept, and who fired it. */
const names = { delivery: 'delivery', emitter: 'emitter' } as const;

/** An event as headers of a record; what it says is the record's value. */
export function carriedHeaders({ id, routing, emitter, at, delivery, contentType, ...rest }: CarriedEvent): Record<string, string> {
  const { correlationId, causationId, traceparent } = rest;
  const who = `${emitter.host}.${emitter.kind}.${emitter.id}`;
  const headers = messageHeaders({ id, type: routing, source: who, time: at, contentType, correlationId, causationId, traceparent });
  return { ...headers, [names.delivery]: delivery, [names.emitter]: who };
}

/** Undefined for what is no event of ours. */
export function carriedEvent({
  value,
  headers,
  timestamp,
}: Pick<ConsumedRecord, 'value' | 'headers' | 'timestamp'>): CarriedEvent | undefined {
  const { id, type: routing, time, contentType, correlationId, causationId, traceparent } = readMeta(headers);
  const [host, kind, ...name] = headers[names.emitter]?.toString().split('.') ?? [];
  if (routing === undefined || value === null || id === undefined || contentType === undefined || kind === undefined || name.length === 0)
    return undefined;
  return {
    id,
    routing,
    emitter: { host: host!, kind, id: name.join('.') },
    at: time ?? timestamp,
    delivery: headers[names.delivery]?.toString() === 'transient' ? 'transient' : 'durable',
    contentType,
    value,
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(causationId === undefined ? {} : { causationId }),
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}
