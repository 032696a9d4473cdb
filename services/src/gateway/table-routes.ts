import { fromToken, toToken, type PositionToken } from '@spool/sdk';
import { offset, partitionKey, type Offset, type RecordPosition, type TableReader } from '@spool/streams';
import { z } from 'zod';
import { etagOf, isNotModified, openEventStream, route, type EventStream, type Route } from '../http/index.js';
import { positionToken } from './messages.js';

type Table<V> = Omit<TableReader<V>, 'close'>;

export interface ListOptions<T extends z.ZodType> {
  readonly path: string;
  readonly summary: string;
  readonly item: T;
  /** Whose position is the list's entity tag: several make one. */
  readonly tables: readonly Table<unknown>[];
  readonly read: () => readonly z.input<T>[];
}

/** How far tables have come, as a token and as an entity tag: in one order, so that all gateways give one tag. */
export function etagsOf(tables: readonly Table<unknown>[]) {
  const position = toToken(new Map(tables.flatMap(({ changed }) => [...changed]).sort(([a], [b]) => (a < b ? -1 : 1))));
  return { position, etag: { ETag: etagOf(position) } };
}

/** A list that is read from local tables: its entity tag is the position of what it shows, so that an unchanged one is not sent again. */
export const listRoute = <T extends z.ZodType>({ path, summary, item, tables, read }: ListOptions<T>): Route =>
  route({
    method: 'GET',
    path,
    summary,
    role: ['bundle', 'analyst'],
    headers: z.object({ 'if-none-match': z.string().optional() }),
    responses: {
      200: {
        description: 'All of them, as of the position',
        schema: z.object({ items: z.array(item), position: positionToken }),
        headers: { ETag: 'The position' },
      },
      304: { description: 'Nothing has changed since If-None-Match' },
    },
    handler({ headers }) {
      const { position, etag } = etagsOf(tables);
      if (isNotModified(headers['if-none-match'], position)) return { status: 304, headers: etag };
      return { status: 200, body: { items: [...read()], position }, headers: etag } as never;
    },
  });

export interface ChangesOptions<V> {
  readonly path: string;
  readonly summary: string;
  readonly table: Table<V>;
  /** A row as its list shows it. */
  readonly view: (row: V) => unknown;
  /** The name by which the list shows the row of a key. */
  readonly idOf: (key: string) => string;
}

/**
 * The changes of a table as they happen: `event: changed` with the row, `event: removed` with its id. Each event's id is the position after it, in
 * the same form as the list's: a client that reads the list and then the changes after its position misses none.
 */
export const changesRoute = <V>({ path, summary, table, view, idOf }: ChangesOptions<V>): Route =>
  route({
    method: 'GET',
    path,
    summary,
    description:
      'Server-sent events from the position of `after` or Last-Event-ID, else from now. `resync`: too much has been removed since then; read the list anew.',
    role: ['bundle', 'analyst'],
    stream: true,
    query: z.object({ after: positionToken.optional().describe('The position of a list, or the id of the last event') }),
    responses: { 200: { description: '`changed` with the row, `removed` with its id' } },
    errors: ['INVALID_REQUEST'],
    async handler(context) {
      const last = context.request.headers['last-event-id'];
      const after = typeof last === 'string' && last !== '' ? last : context.query.after;
      const reached = new Map(after === undefined ? table.changed : fromToken(after));
      const missed = after === undefined ? [] : table.changesSince(reached);
      const events = openEventStream(context);
      if (missed === undefined) {
        events.send({ event: 'resync', data: '{}' });
        return events.close();
      }
      const tell = (key: string, value: V | undefined, at: RecordPosition): void =>
        void events.send(eventOf(value === undefined ? undefined : view(value), idOf(key), advanced(reached, at)));
      // Before the first wait, so that no change falls between.
      const forget = table.onChange(tell);
      for (const { key, value, at } of missed) tell(key, value, at);
      await untilEnded(events, forget);
    },
  });

function eventOf(row: unknown, id: string, position: PositionToken) {
  return row === undefined
    ? { event: 'removed', id: position, data: JSON.stringify({ id }) }
    : { event: 'changed', id: position, data: JSON.stringify(row) };
}

function advanced(reached: Map<string, Offset>, at: RecordPosition): PositionToken {
  reached.set(partitionKey(at), offset(at.offset + 1n));
  return toToken(reached);
}

async function untilEnded(events: EventStream, forget: () => void): Promise<void> {
  await events.ended;
  forget();
}
