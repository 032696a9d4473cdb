import type { PayloadOf, RecordSchema } from '@spool/schemas';

/** Payload schemas by message type, the short name that is unique over all bundles: `{ ScheduleFlight: record(...) }`. */
export type Payloads = Readonly<Record<string, RecordSchema<unknown>>>;

/** A message of one of the types: `{ type: 'FlightDeparted', data: { ... } }`. */
export type MessageOf<P extends Payloads> = { [K in keyof P & string]: { readonly type: K; readonly data: PayloadOf<P[K]> } }[keyof P &
  string];
