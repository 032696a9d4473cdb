import type { PayloadOf } from '@spool/schemas';
import type { Table } from '@spool/streams';
import { made } from '../bundle/source.js';
import type { UnknownEvents } from '../event/unknown.js';
import type { ContextOptions } from '../context/context.js';
import type { QueryAsker } from '../gateway/declared.js';
import type { Sql } from '../postgres/sql.js';
import type { EventOf, EventSource, EventTypesOf, QueryTarget } from '../messages.js';
import { partitionedHome } from './partitioned-home.js';
import type { HomeRequest, ModelHome } from './read-model.js';

export interface EventContext {
  /** The aggregate or service that the event is of. */
  readonly source: string;
  readonly eventId: string;
  readonly aggregateId: string;
  /** Version of the aggregate with this event. */
  readonly version: number;
  /** When the event was decided, in milliseconds since the epoch: the same on replay. */
  readonly at: number;
  /**
   * Set while the event is replayed, and in a copy of the read model that does not answer. What acts on the outside world does so where it is not set: of
   * each event that comes live, once on each instance, whatever is rewound or handed over.
   */
  readonly replayId: string | undefined;
  readonly correlationId: string | undefined;
}
export interface ProjectorContext<Q extends QueryTarget = never> extends EventContext {
  /**
   * Asks what `asks` declares, in the context of the event. The answer is as of now, on replay too: what has to be the same after a rebuild belongs into
   * an event. An answer that does not come in time (`timeoutMs`, 10 s) makes the group wait and be handled again.
   */
  readonly queries: QueryAsker<Q>;
}

/** The tables of a read model, by name: `{ airports: Table<AirportRow> }`. */
export type Tables = object;
export type TablesOf<T extends Tables> = T extends SqlTables ? Sql : { readonly [K in keyof T]: Table<T[K]> };
declare const sqlTables: unique symbol;
/** In place of row types: the tables are those of a database, see `postgresProjector`. */
export interface SqlTables {
  readonly [sqlTables]: true;
}

/** An event as a batch has it; `type`, and `source` where two of them have events of that type, tell what `data` is. */
export type ProjectedEvent<S extends EventSource, Context = EventContext> = S extends unknown
  ? {
      [K in keyof S['events'] & string]: {
        readonly source: S['name'];
        readonly type: K;
        readonly data: PayloadOf<S['events'][K]>;
        readonly context: Context;
      };
    }[keyof S['events'] & string]
  : never;

export interface ProjectorParts<S extends EventSource, Q extends QueryTarget> extends ContextOptions, UnknownEvents {
  readonly description?: string;
  /**
   * Whose events it reads. Those of several come in the order of their time as far as the logs reach, those of one aggregate always in their own.
   */
  readonly of: S | readonly S[];
  /** Whose queries it asks. @default none */
  readonly asks?: readonly Q[];
  /** A new version is a new read model, built from the first event. @default 1 */
  readonly version?: number;
  /** The bundle stays `starting`, unannounced and without its invokers, until this read model has reached where the log ended at the start. @default false */
  readonly gate?: boolean;
}
interface EventByEvent<S extends EventSource, Rows extends Tables, Q extends QueryTarget> {
  /** The events it cares for, one by one. Rows and position commit together: each event counts once. */
  readonly on: {
    readonly [K in EventTypesOf<S>]?: (event: EventOf<S, K>, tables: TablesOf<Rows>, context: ProjectorContext<Q>) => unknown;
  };
  readonly onBatch?: never;
}
interface BatchByBatch<S extends EventSource, Rows extends Tables, Q extends QueryTarget> {
  /**
   * All events of its sources, in place of `on`: those that came while the batch before was under way, 2,000 at the most, in order. Rows and position commit
   * together: each event counts once. When it fails for good, nothing of the batch is kept, and it gets the events one by one, so that the one to blame is parked.
   */
  readonly onBatch: (events: readonly ProjectedEvent<S, ProjectorContext<Q>>[], tables: TablesOf<Rows>) => unknown;
  readonly on?: never;
}
export type ProjectorHandlers<S extends EventSource, Rows extends Tables, Q extends QueryTarget> = NoInfer<
  EventByEvent<S, Rows, Q> | BatchByBatch<S, Rows, Q>
>;
export type ProjectorOptions<S extends EventSource, Rows extends Tables, Q extends QueryTarget = never> = ProjectorParts<S, Q> & {
  /** The names of the tables; a row type for each. */
  readonly tables: { readonly [K in keyof Rows]: TableOf<Rows[K]> };
  /**
   * `replicated`: every instance holds all of it. `partitioned`: each holds the rows of the partitions that it owns, for read models that are too big for
   * one; projections of it say by `keys` who answers. @default 'replicated'
   */
  readonly placement?: 'replicated' | 'partitioned';
} & ProjectorHandlers<S, Rows, Q>;

declare const rowType: unique symbol;
/** Names the row type of a table for the compiler. */
export interface TableOf<Row> {
  readonly [rowType]?: Row;
}
export const table = <Row>(): TableOf<Row> => ({});

type Handler = (...given: never[]) => unknown;
/** A projector with the types of its events forgotten, as the host runs it. */
export interface Projector<Name extends string = string, Rows extends Tables = Tables> extends ContextOptions, Required<UnknownEvents> {
  readonly kind: 'projector';
  readonly name: Name;
  readonly description: string;
  readonly version: number;
  readonly gate: boolean;
  readonly of: readonly EventSource[];
  readonly asks: readonly QueryTarget[];
  readonly tables: readonly string[];
  /** Empty where it takes batches. */
  readonly handlers: Readonly<Record<string, Handler | undefined>>;
  readonly onBatch?: Handler;
  /** Where it keeps its read model. @default on the disk of each instance */
  readonly home?: (request: HomeRequest) => Promise<ModelHome>;
  readonly partitioned?: true;
  readonly rows?: Rows;
}

/**
 * A projector turns events into a read model. It sends no command, and asks only what it declares. It has a read model for each context that it is bound
 * to; every instance holds the whole of it, or its part, see `placement`.
 */
export function projector<const Name extends string, S extends EventSource, Rows extends Tables, Q extends QueryTarget = never>(
  name: Name,
  options: ProjectorOptions<S, Rows, Q>,
): Projector<Name, Rows> {
  return made<Projector<Name, Rows>>(projector, {
    ...projectorOf(name, options),
    tables: Object.keys(options.tables),
    ...(options.placement === 'partitioned' ? { home: (request) => Promise.resolve(partitionedHome(request)), partitioned: true } : {}),
  });
}

/** What all kinds of projectors have, with their defaults. */
export function projectorOf<const Name extends string, S extends EventSource, Rows extends Tables, Q extends QueryTarget>(
  name: Name,
  options: ProjectorParts<S, Q> & ProjectorHandlers<S, Rows, Q>,
): Omit<Projector<Name, Rows>, 'tables'> {
  const { description = '', version = 1, gate = false, of, asks = [], on = {}, onBatch, contexts, unknown = 'skip' } = options;
  return {
    kind: 'projector',
    name,
    description,
    version,
    gate,
    of: [of].flat(),
    asks,
    unknown,
    handlers: on,
    ...(onBatch === undefined ? {} : { onBatch: onBatch }),
    ...(contexts === undefined ? {} : { contexts }),
  };
}
