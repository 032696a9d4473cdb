import { SpoolError, type PayloadOf } from '@spool/schemas';
import { createMemoryStore, type Store, type Table } from '@spool/streams';
import type { Projection } from '../projection/projection.js';
import type { Queries } from '../payloads.js';
import { boundContexts, inContext } from '../context/context.js';
import { declaredQueries } from '../gateway/declared.js';
import type { QueryGateway } from '../gateway/messages.js';
import type { EventSource, QueryTarget } from '../messages.js';
import type { Projector, ProjectorContext } from '../projector/projector.js';
import { frozenPlain, received, same } from './compare.js';

/** An event of an aggregate or a service, with as much of what goes around it as the test cares for. */
export interface GivenEvent {
  readonly type: string;
  readonly data: unknown;
  /** Whose event it is. @default the only one that has events of this type */
  readonly source?: string;
  /** @default 'id' */
  readonly aggregateId?: string;
  /** When it was decided, in milliseconds. @default 0 */
  readonly at?: number;
  /** @default 'default' */
  readonly context?: string;
}

export interface GivenEvents {
  /** What the projector hears when it asks that; `undefined` is NOT_FOUND. @returns the same, with this answer */
  answering<Q extends Queries, K extends keyof Q & string>(
    projection: QueryTarget<string, Q>,
    type: K,
    answer: (request: PayloadOf<Q[K]['request']>) => PayloadOf<Q[K]['view']> | undefined,
  ): GivenEvents;
  /**
   * The events go to this projector, in order: one by one, or all in one batch; a batch has to give the rows that its events give one by one.
   * @param context whose read model it is. @default the first one that the projector is bound to
   */
  on(projector: Projector, context?: string): GivenReadModel;
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
export const givenEvents = (events: readonly GivenEvent[]): GivenEvents => given(events, new Map());

/** By projection and type. */
type Stubs = ReadonlyMap<string, (request: never) => unknown>;

const given = (events: readonly GivenEvent[], stubs: Stubs): GivenEvents => ({
  answering: (projection, type, answer) => given(events, new Map([...stubs, [`${projection.name}.${type}`, answer]])),
  on(projector, context = boundContexts(projector.contexts)[0]!) {
    if (projector.tables.length === 0) throw new Error(`${projector.name} writes to a database, and this has none: run its bundle on one`);
    const store = createMemoryStore();
    const projected = project(projector, store, () => taken(projector, context, events, stubs));
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

/** What the handlers get: of the events, those of the context. */
function taken(projector: Projector, bound: string, events: readonly GivenEvent[], stubs: Stubs): readonly Taken[] {
  const versions = new Map<string, number>();
  return events.flatMap((event, index) => {
    const { type, aggregateId = 'id', at = 0, context } = event;
    const { name: source, events: declared } = sourceOf(projector, event);
    const lane = `${source}/${aggregateId}`;
    const version = (versions.get(lane) ?? 0) + 1;
    versions.set(lane, version);
    if (!inContext(bound, { context })) return [];
    const about = { source, eventId: `event-${index + 1}`, aggregateId, version, at, replayId: undefined, correlationId: undefined };
    const queries = declaredQueries({ ask: stubbed(stubs) }, projector.name, projector.asks, (asked) => asked);
    return [{ source, type, data: () => received(declared[type]!, event.data), context: { ...about, queries } }];
  });
}
interface Taken {
  readonly source: string;
  readonly type: string;
  /** @throws SpoolError INVALID_PAYLOAD */
  readonly data: () => unknown;
  readonly context: ProjectorContext;
}

function sourceOf(projector: Projector, { type, source }: GivenEvent): EventSource {
  const names = projector.of.map(({ name }) => name).join(', ');
  const found = projector.of.filter(({ name, events }) => (source ?? name) === name && Object.hasOwn(events, type));
  if (found.length === 0) throw new Error(`${type} is not among the events of ${source ?? names}`);
  if (found.length > 1) throw new Error(`several of ${names} have an event ${type}: say which by its source`);
  return found[0]!;
}

const stubbed =
  (stubs: Stubs): QueryGateway['ask'] =>
  async ({ name, queries }, type, request) => {
    const { request: asked, view } = queries[type]!;
    const stub = stubs.get(`${name}.${type}`);
    if (stub === undefined)
      throw new Error(`${type} of ${name} is asked and not stubbed: givenEvents(...).answering(${name}, '${type}', ...)`);
    const answer = stub(received(asked, request) as never);
    if (answer === undefined) throw new SpoolError('NOT_FOUND', `${type} found nothing for this request`);
    return Promise.resolve({ view: received(view, answer) as never, position: '' });
  };

async function project(projector: Projector, store: Store, given: () => readonly Taken[]): Promise<void> {
  const events = given();
  const { onBatch, name } = projector;
  const tablesIn = (of: Store) => Object.fromEntries(projector.tables.map((table) => [table, tableOf(of, table)]));
  const tables = tablesIn(store);
  if (onBatch === undefined) {
    for (const { type, data, context } of events) await projector.handlers[type]?.(...([data(), tables, context] as never[]));
    return;
  }
  const batch = events.map(({ data, ...event }) => ({ ...event, data: data() }));
  await onBatch(...([batch, tables] as never[]));
  const each = createMemoryStore();
  for (const event of batch) await onBatch(...([[event], tablesIn(each)] as never[]));
  for (const table of projector.tables) {
    same(`the rows of ${table} of ${name}, one by one,`, Object.fromEntries(each.range(table)), Object.fromEntries(store.range(table)));
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
