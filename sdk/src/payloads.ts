import type { PayloadOf, RecordSchema } from '@spool/schemas';

/** Payload schemas by message type, the short name that is unique over all bundles: `{ ScheduleFlight: record(...) }`. */
export type Payloads = Readonly<Record<string, RecordSchema<unknown>>>;

/** A message of one of the types: `{ type: 'FlightDeparted', data: { ... } }`. */
export type MessageOf<P extends Payloads> = { [K in keyof P & string]: { readonly type: K; readonly data: PayloadOf<P[K]> } }[keyof P &
  string];

/** What a query asks, and what it is answered with. */
export interface QuerySchemas {
  readonly request: RecordSchema<unknown>;
  readonly view: RecordSchema<unknown>;
}
/** By type. */
export type Queries = Readonly<Record<string, QuerySchemas>>;
