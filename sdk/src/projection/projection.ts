import type { PayloadOf } from '@spool/schemas';
import type { ReadonlyTable } from '@spool/streams';
import type { Sql } from '../postgres/sql.js';
import type { Projector, SqlTables, Tables } from '../projector/projector.js';
import type { Queries } from '../payloads.js';
import { made } from '../bundle/source.js';

export type ViewsOf<Rows extends Tables> = Rows extends SqlTables ? Sql : { readonly [K in keyof Rows]: ReadonlyTable<Rows[K]> };

/** What a handler has besides the request and the tables. */
export interface QueryContext {
  /** Fires at the deadline of the query, when a subscription to it ends, and when the instance stops: nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export interface CacheOptions {
  /** Answers kept for each query; the one unused for longest goes first. */
  readonly maxEntries: number;
  /** For answers that depend on the time too, in milliseconds. @default as long as the read model does not change */
  readonly ttlMs?: number;
}

export interface ProjectionOptions<Rows extends Tables, Q extends Queries> {
  readonly description?: string;
  readonly reads: Projector<string, Rows>;
  readonly queries: Q;
  /** Where the read model is partitioned, and only there: the id of the aggregate of which each query wants to know. Who owns its partition answers. */
  readonly keys?: { readonly [K in keyof Q]: (request: PayloadOf<Q[K]['request']>) => string };
  /** Answers are kept and served again until the read model changes. @default each query is answered anew */
  readonly cache?: CacheOptions;
  /** Subscriptions that one instance serves; more are refused with OVERLOADED. @default 1000 */
  readonly maxSubscriptions?: number;
  /** One for each query. `undefined` means that there is no such thing: the caller gets 404. */
  readonly answer: {
    readonly [K in keyof Q]: (
      request: PayloadOf<Q[K]['request']>,
      tables: ViewsOf<Rows>,
      context: QueryContext,
    ) => PayloadOf<Q[K]['view']> | undefined | Promise<PayloadOf<Q[K]['view']> | undefined>;
  };
}

export interface Projection<Name extends string = string, Q extends Queries = Queries> {
  readonly kind: 'projection';
  readonly name: Name;
  readonly description: string;
  readonly reads: Projector;
  readonly queries: Q;
  readonly keys: Readonly<Record<string, (request: never) => string>> | undefined;
  readonly cache: CacheOptions | undefined;
  readonly maxSubscriptions: number;
  readonly answer: Readonly<Record<string, (request: never, tables: never, context: QueryContext) => unknown>>;
}

/** A projection answers queries from the read model of a projector. It sends nothing. */
export function projection<const Name extends string, Rows extends Tables, Q extends Queries>(
  name: Name,
  options: ProjectionOptions<Rows, Q>,
): Projection<Name, Q> {
  return made<Projection<Name, Q>>(projection, {
    kind: 'projection',
    name,
    description: options.description ?? '',
    reads: options.reads,
    queries: options.queries,
    keys: options.keys,
    cache: options.cache,
    maxSubscriptions: options.maxSubscriptions ?? 1000,
    answer: options.answer,
  });
}
