import { decode, encode } from '@msgpack/msgpack';
import { SpoolError } from '@spool/schemas';
import type { ConsumedRecord, ProducerRecord } from '@spool/streams';
import { z } from 'zod';
import { carriedEvent, carriedHeaders } from '../routed/record.js';
import type { CarriedEvent } from '../routed/transport.js';

/**
 * An event on its way from one node to another. What one run of a sender has for one node is numbered from 1, durable and transient events each for
 * themselves: the receiver passes over what it has had, and counts what it misses.
 */
export interface Arrival {
  readonly event: CarriedEvent;
  readonly sender: string;
  /** Tells the runs of a sender apart. */
  readonly run: string;
  readonly number: number;
  /** The run of the receiver that a transient event is for: a later one does not want it. */
  readonly to: string | undefined;
}

const names = { run: 'senderrun', number: 'sequence', to: 'receiverrun' } as const;

const headersOf = ({ event, run, number, to }: Arrival): Record<string, string> => ({
  ...carriedHeaders(event),
  [names.run]: run,
  [names.number]: String(number),
  ...(to === undefined ? {} : { [names.to]: to }),
});

export const toRecord = (topic: string, arrival: Arrival): ProducerRecord => ({
  ...{ topic, partition: 0, key: arrival.sender, value: Buffer.from(arrival.event.value), headers: headersOf(arrival) },
});

/** Undefined for what is none. */
export function toArrival({ key, ...record }: Pick<ConsumedRecord, 'key' | 'value' | 'headers' | 'timestamp'>): Arrival | undefined {
  const event = carriedEvent(record);
  const run = record.headers[names.run]?.toString();
  const number = Number(record.headers[names.number]?.toString());
  if (event === undefined || key === null || run === undefined || !Number.isSafeInteger(number) || number < 1) return undefined;
  return { event, sender: key.toString(), run, number, to: record.headers[names.to]?.toString() };
}

/** What a receiver has had of one run of a sender. */
export interface Had {
  /** The number of the last durable event. */
  readonly durable: number;
  /** The number of the last transient event, and how many there were. */
  readonly transient: number;
  readonly transients: number;
}
export const nothingHad: Had = { durable: 0, transient: 0, transients: 0 };

const pack = z.object({
  sender: z.string().min(1),
  events: z.array(z.tuple([z.record(z.string(), z.string()), z.instanceof(Uint8Array)])).max(10_000),
});
const had = z.object({
  taken: z.number().int().min(0),
  had: z.object({ durable: z.number(), transient: z.number(), transients: z.number() }),
});
/** How many of the events were taken, from the first on. */
export type Taken = z.infer<typeof had>;

/** One sender's events as the body of a request. */
export const toBody = (sender: string, arrivals: readonly Arrival[]): Uint8Array =>
  encode({ sender, events: arrivals.map((arrival) => [headersOf(arrival), arrival.event.value]) });

/** @throws SpoolError INVALID_REQUEST */
export function fromBody(body: Uint8Array, now: number): { readonly sender: string; readonly arrivals: readonly Arrival[] } {
  const { sender, events } = unpacked(pack, body);
  const key = Buffer.from(sender);
  const arrivals = events.map(([headers, value]) => {
    const bytes = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]));
    const arrival = toArrival({ key, headers: bytes, value: Buffer.from(value), timestamp: now });
    if (arrival === undefined) throw new SpoolError('INVALID_REQUEST', 'an event lacks headers of events');
    return arrival;
  });
  return { sender, arrivals };
}

export const takenBody = (taken: Taken): Uint8Array => encode(taken);
/** @throws SpoolError INVALID_REQUEST */
export const readTaken = (body: Uint8Array): Taken => unpacked(had, body);

function unpacked<T>(schema: z.ZodType<T>, body: Uint8Array): T {
  try {
    return schema.parse(decode(body));
  } catch (cause) {
    throw new SpoolError('INVALID_REQUEST', 'the body is not what nodes send to each other', { cause });
  }
}
