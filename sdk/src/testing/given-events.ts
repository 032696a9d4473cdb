import type { PayloadOf } from '@spool/schemas';
import { createMemoryStore, type Store, type Table } from '@spool/streams';
import type { Projection, Queries } from '../projection/projection.js';
import type { EventContext, Projector } from '../projector/projector.js';
import { frozenPlain, received, same } from './compare.js';

/** An event of an aggregate, with as much of what goes around it as the test cares for. */
export interface GivenEvent {
  readonly type: string;
  readonly data: unknown;
  /** @default 'id' */
  readonly aggregateId?: string;
  /** When it was decided, in milliseconds. @default 0 */
  readonly at?: number;
}

export interface GivenEvents {
  /** The events go to this projector, one by one, in order. */
  on(projector: Projector): GivenReadModel;
}
export interface GivenReadModel {
  /** @throws AssertionError when the rows of the table are others, by key */
  thenRows(table: string, rows: Readonly<Record<string, unknown>>): Promise<void>;
  whenAsked<Q extends Queries, K extends keyof Q & string>(
    projection: Projection<string, Q>,
    type: K,
    request: PayloadOf<Q[K]['request']>,
  ): Asked<PayloadOf<Q[K]['view']>>;
}
export interface Asked<View> {
  /** @throws AssertionError */
  thenView(view: View): Promise<void>;
  /** The caller gets 404. @throws AssertionError */
  thenNotFound(): Promise<void>;
}

/**
 * Given events, on a projector, when a projection is asked, then a view:
 * `await givenEvents([arrived]).on(FlightDelays).whenAsked(Delays, 'AirportDelays', { airport: 'LAX' }).thenView(view)`.
 *
 * The rows are in memory; events, requests and views go through their Avro schemas as they do in Kafka.
 */
export const givenEvents = (events: readonly GivenEvent[]): GivenEvents => ({
  on(projector) {
    const store = createMemoryStore();
    const projected = project(projector, store, events);
    // Whoever looks at the rows hears of it.
    projected.catch(() => undefined);
    return {
      async thenRows(table, rows) {
        await projected;
        if (!projector.tables.includes(table))
          throw new Error(`${projector.name} has no table ${table}; it has ${projector.tables.join(', ')}`);
        same(`the rows of ${table}`, Object.fromEntries(store.range(table)), rows);
      },
      whenAsked(projection, type, request) {
        const answer = async (): Promise<unknown> => {
          await projected;
          if (projection.reads.name !== projector.name)
            throw new Error(`${projection.name} reads ${projection.reads.name}, not ${projector.name}`);
          const tables = Object.fromEntries(projector.tables.map((name) => [name, tableOf(store, name)]));
          const { request: asked, view } = projection.queries[type]!;
          const found = await projection.answer[type]!(received(asked, request) as never, tables as never, {
            signal: new AbortController().signal,
          });
          return found === undefined ? undefined : received(view, found);
        };
        return {
          thenView: async (view) => same(`the answer to ${type}`, await answer(), received(projection.queries[type]!.view, view)),
          thenNotFound: async () => same(`the answer to ${type}`, await answer(), undefined),
        };
      },
    };
  },
});

async function project(projector: Projector, store: Store, events: readonly GivenEvent[]): Promise<void> {
  const tables = Object.fromEntries(projector.tables.map((name) => [name, tableOf(store, name)]));
  const versions = new Map<string, number>();
  for (const [index, { type, data, aggregateId = 'id', at = 0 }] of events.entries()) {
    const schema = projector.of.events[type];
    if (schema === undefined) throw new Error(`${type} is not among the events of ${projector.of.name}`);
    const version = (versions.get(aggregateId) ?? 0) + 1;
    versions.set(aggregateId, version);
    const context: EventContext = {
      eventId: `event-${index + 1}`,
      aggregateId,
      version,
      at,
      replayId: undefined,
      correlationId: undefined,
    };
    await projector.handlers[type]?.(received(schema, data) as never, tables as never, context);
  }
}

/** Each row is kept at once: events come one by one. */
const tableOf = (store: Store, name: string): Table<unknown> => {
  const change = (key: string, value: unknown): void => store.commit(new Map([[name, new Map([[key, value]])]]), store.checkpoint);
  return {
    get: (key) => store.get(name, key),
    range: (options) => store.range(name, options),
    put: (key, value) => change(key, frozenPlain(value, `a row of ${name}`)),
    delete: (key) => change(key, undefined),
  };
};
