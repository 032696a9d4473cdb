import { z } from 'zod';
import type { EventStore } from '../event-store/index.js';
import { decodeCursor, encodeCursor, etagOf, isNotModified, pageOf, pageQuery, route, type Route } from '../http/index.js';
import { aggregateId, messageType, positionToken, version } from './messages.js';

const params = z.object({ type: messageType, id: aggregateId });
const storedEvent = z.object({
  id: z.string(),
  type: z.string(),
  version: z.int(),
  at: z.iso.datetime(),
  payload: z.unknown(),
  partition: z.int(),
  offset: z.string(),
  commandId: z.string().optional(),
  correlationId: z.string().optional(),
  causationId: z.string().optional(),
  actor: z.string().optional(),
});

/** One aggregate's state, then and now, and its events. */
export function aggregateRoutes(eventStore: EventStore): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/aggregates/{type}/{id}',
      summary: 'The state of an aggregate, now, at a version or at a time',
      role: ['bundle', 'analyst'],
      params,
      query: z.object({
        version: version.optional(),
        at: z.iso.datetime({ offset: true }).optional(),
        after: positionToken.optional(),
      }),
      headers: z.object({ 'if-none-match': z.string().optional() }),
      responses: {
        200: {
          description: 'Folded from its events by its own code',
          schema: z.object({
            aggregateType: z.string(),
            aggregateId: z.string(),
            version: z.int(),
            at: z.iso.datetime(),
            state: z.unknown(),
          }),
          headers: { ETag: 'The version' },
        },
        304: { description: 'Still at the version of If-None-Match' },
      },
      errors: ['UNKNOWN_AGGREGATE', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query, headers, deadline }) {
        const found = await eventStore.state({
          aggregateType: type,
          aggregateId: id,
          version: query.version,
          at: query.at === undefined ? undefined : Date.parse(query.at),
          after: query.after,
          deadline: deadline - 500,
        });
        const etag = { ETag: etagOf(found.version) };
        if (isNotModified(headers['if-none-match'], found.version)) return { status: 304, headers: etag };
        const body = { aggregateType: type, aggregateId: id, ...found, at: new Date(found.at).toISOString() };
        return { status: 200, body, headers: etag };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/aggregates/{type}/{id}/events',
      summary: 'The events of an aggregate, paged',
      role: ['bundle', 'analyst'],
      params,
      query: z.object({
        ...pageQuery({ limit: 100, most: 1000 }),
        direction: z.enum(['forwards', 'backwards']).default('forwards'),
        after: positionToken.optional(),
      }),
      responses: { 200: { description: 'In order of versions', schema: pageOf(storedEvent) } },
      errors: ['UNKNOWN_AGGREGATE', 'EXPIRED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query, deadline }) {
        const { limit, direction, cursor, after } = query;
        const kind = `${direction} ${type}/${id}`;
        const events = await eventStore.events({
          aggregateType: type,
          aggregateId: id,
          from: cursor === undefined ? undefined : decodeCursor(kind, cursor, z.int()),
          backwards: direction === 'backwards',
          limit: limit + 1,
          after,
          deadline: deadline - 500,
        });
        const next = events[limit];
        const items = events.slice(0, limit).map(({ at, ...event }) => ({ ...event, at: new Date(at).toISOString() }));
        return { status: 200, body: { items, ...(next === undefined ? {} : { nextCursor: encodeCursor(kind, next.version) }) } };
      },
    }),
  ];
}
