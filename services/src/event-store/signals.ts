import { SpoolError, toSpoolError, type Codec } from '@spool/schemas';
import { avroSerializer, jsonSerializer, messagePackSerializer, type CarriedEvent } from '@spool/sdk/routed';

/** A routed event, as a tail gives it. */
export interface Signal {
  readonly id: string;
  readonly routing: string;
  /** `host.kind.id` */
  readonly emitter: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly partition: number;
  readonly offset: string;
  /** Null where it cannot be read. Bytes are base64. */
  readonly data: unknown;
  /** Why there is no data; null where there is. */
  readonly unreadable: string | null;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
}

export const emitterOf = ({ emitter }: CarriedEvent): string => `${emitter.host}.${emitter.kind}.${emitter.id}`;

/** @throws SpoolError what cannot be read at present */
export async function signalOf(
  event: CarriedEvent,
  at: { readonly partition: number; readonly offset: bigint },
  codec: Codec,
): Promise<Signal> {
  let data: unknown = null;
  let unreadable: string | null = null;
  try {
    const text = JSON.stringify(await load(event, codec), asText) as string | undefined;
    data = text === undefined ? null : JSON.parse(text);
  } catch (thrown) {
    const error = toSpoolError(thrown);
    if (error.entry.retryable === 'backoff') throw error;
    unreadable = `${error.code}: ${error.message}`;
  }
  return {
    ...{ id: event.id, routing: event.routing, emitter: emitterOf(event), at: event.at },
    ...{ partition: at.partition, offset: at.offset.toString(), data, unreadable },
    ...{ correlationId: event.correlationId, causationId: event.causationId },
  };
}

function load({ contentType, value, routing }: CarriedEvent, codec: Codec): unknown {
  const readers = [jsonSerializer, messagePackSerializer, avroSerializer(codec, '', {})];
  const reader = readers.find((each) => each.contentType === contentType);
  if (reader === undefined) throw new SpoolError('RECORD_UNREADABLE', `${routing} comes in ${contentType}, which is not read here`);
  return reader.load(value);
}

/** Before what they would be made of themselves. */
function asText(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  const own = this[key];
  if (own instanceof Uint8Array) return Buffer.from(own).toString('base64');
  return typeof own === 'bigint' ? own.toString() : value;
}
