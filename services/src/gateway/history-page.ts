import { z } from 'zod';
import type { EventsRequest } from '../event-store/index.js';
import { decodeCursor, encodeCursor, pageQuery } from '../http/index.js';
import { positionToken } from './messages.js';

/** How a history is read: by versions, a page at a time. */
export const historyQuery = z.object({
  ...pageQuery({ limit: 100, most: 1000 }),
  direction: z.enum(['forwards', 'backwards']).default('forwards'),
  after: positionToken.optional(),
});

interface HistoryPage<Row, Item> extends Pick<EventsRequest, 'aggregateType' | 'aggregateId'> {
  /** Of whom; a cursor of one history is none of another. */
  readonly whose: string;
  readonly query: z.output<typeof historyQuery>;
  readonly deadline: number;
  readonly read: (request: EventsRequest) => Promise<readonly Row[]>;
  readonly show: (row: Row) => Item;
}

/** The body of a page. It is read until half a second before the deadline, so that there is time to say that it was too late. */
export async function historyPage<Row extends { readonly version: number }, Item>(page: HistoryPage<Row, Item>) {
  const { aggregateType, aggregateId, deadline, read, show } = page;
  const { limit, direction, cursor, after } = page.query;
  const kind = `${direction} ${page.whose}`;
  const rows = await read({
    aggregateType,
    aggregateId,
    from: cursor === undefined ? undefined : decodeCursor(kind, cursor, z.int()),
    backwards: direction === 'backwards',
    limit: limit + 1,
    after,
    deadline: deadline - 500,
  });
  const next = rows[limit];
  return { items: rows.slice(0, limit).map(show), ...(next === undefined ? {} : { nextCursor: encodeCursor(kind, next.version) }) };
}
