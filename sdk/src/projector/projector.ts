import type { PayloadOf } from '@spool/schemas';
import type { Table } from '@spool/streams';
import type { Aggregate } from '../aggregate/aggregate.js';
import type { Payloads } from '../payloads.js';
import { made } from '../bundle/source.js';

export interface EventContext {
  readonly eventId: string;
  readonly aggregateId: string;
  /** Version of the aggregate with this event. */
  readonly version: number;
  /** When the event was decided, in milliseconds since the epoch: the same on replay. */
  readonly at: number;
  /** Set while the event is replayed. */
  readonly replayId: string | undefined;
  readonly correlationId: string | undefined;
}

/** The tables of a read model, by name: `{ airports: Table<AirportRow> }`. */
export type Tables = object;
export type TablesOf<T extends Tables> = { readonly [K in keyof T]: Table<T[K]> };

export interface ProjectorOptions<Events extends Payloads, Rows extends Tables> {
  readonly description?: string;
  /** The aggregate whose events it reads. */
  readonly of: Aggregate<string, Payloads, Events>;
  /** A new version is a new read model, built from the first event. @default 1 */
  readonly version?: number;
  /** The bundle stays `starting`, unannounced and without its invokers, until this read model has reached where the log ended at the start. @default false */
  readonly gate?: boolean;
  /** The names of the tables; a row type for each. */
  readonly tables: { readonly [K in keyof Rows]: TableOf<Rows[K]> };
  /** The events it cares for. Rows and position commit together: each event counts once. */
  readonly on: {
    readonly [K in keyof Events]?: (event: PayloadOf<Events[K]>, tables: TablesOf<Rows>, context: EventContext) => void | Promise<void>;
  };
}

declare const rowType: unique symbol;
/** Names the row type of a table for the compiler. */
export interface TableOf<Row> {
  readonly [rowType]?: Row;
}
export const table = <Row>(): TableOf<Row> => ({});

export interface Projector<Name extends string = string, Rows extends Tables = Tables> {
  readonly kind: 'projector';
  readonly name: Name;
  readonly description: string;
  readonly version: number;
  readonly gate: boolean;
  readonly of: Aggregate;
  readonly tables: readonly string[];
  readonly handlers: Readonly<Record<string, ((event: never, tables: never, context: EventContext) => void | Promise<void>) | undefined>>;
  readonly rows?: Rows;
}

/** A projector turns events into a read model. It sends no command. Every instance holds the whole read model. */
export function projector<const Name extends string, Events extends Payloads, Rows extends Tables>(
  name: Name,
  options: ProjectorOptions<Events, Rows>,
): Projector<Name, Rows> {
  return made<Projector<Name, Rows>>(projector, {
    kind: 'projector',
    name,
    description: options.description ?? '',
    version: options.version ?? 1,
    gate: options.gate ?? false,
    of: options.of,
    tables: Object.keys(options.tables),
    handlers: options.on,
  });
}
