import { z } from 'zod';
import type { AggregateState, EventStore } from '../event-store/index.js';
import { decodeCursor, encodeCursor, etagOf, isNotModified, pageOf, pageQuery, route, type Route } from '../http/index.js';
import { historyPage, historyQuery } from './history-page.js';
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

/** One change of a state. */
export const change = z.object({
  op: z.enum(['add', 'remove', 'replace']),
  path: z.string().describe('JSON pointer'),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
});
const side = z.object({ version: z.int(), at: z.iso.datetime().nullable().describe('null before the first event'), deleted: z.boolean() });
const moment = z
  .string()
  .regex(/^\d{1,12}$|^\d{4}-\d\d-\d\dT/, 'Expected a version or a time such as 2026-01-31T12:00:00Z')
  .refine(
    (text) => /^\d{1,12}$/.test(text) || Number.isFinite(Date.parse(text)),
    'Expected a version or a time such as 2026-01-31T12:00:00Z',
  )
  .transform((text) => (/^\d{1,12}$/.test(text) ? { version: Number(text) } : { at: Date.parse(text) }));
const sideOf = ({ version: shown, at, deleted }: AggregateState) => ({
  version: shown,
  at: shown === 0 ? null : new Date(at).toISOString(),
  deleted,
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
            deleted: z.boolean().describe('Its last event ended it'),
            state: z.unknown(),
          }),
          headers: { ETag: 'The version' },
        },
        304: { description: 'Still at the version of If-None-Match' },
      },
      errors: ['UNKNOWN_AGGREGATE', 'INVALID_REQUEST', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
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
      path: '/api/v1/aggregates/{type}/{id}/diff',
      summary: 'What lies between two states of an aggregate',
      role: ['bundle', 'analyst'],
      params,
      query: z.object({
        from: moment.describe('A version, 0 for the state before the first event, or a time'),
        to: moment.optional().describe('As `from`. Now if it is left out'),
        after: positionToken.optional(),
      }),
      responses: {
        200: {
          description: 'Changes after RFC 6902, in an order in which they can be applied, with what was there before',
          schema: z.object({ aggregateType: z.string(), aggregateId: z.string(), from: side, to: side, changes: z.array(change) }),
        },
      },
      errors: ['UNKNOWN_AGGREGATE', 'INVALID_REQUEST', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query, deadline }) {
        const { from, to = {}, after } = query;
        const request = { aggregateType: type, aggregateId: id, from, to, after, deadline: deadline - 500 };
        const found = await eventStore.difference(request);
        const sides = { from: sideOf(found.from), to: sideOf(found.to) };
        return { status: 200, body: { aggregateType: type, aggregateId: id, ...sides, changes: [...found.changes] } };
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/aggregates/{type}/{id}/snapshot',
      summary: 'Take a snapshot of an aggregate now',
      description:
        'Its owner writes its state to the log, behind the commands that wait before this one. A restore and a read of its state begin there.',
      role: 'operator',
      params,
      query: z.object({
        rebuild: z
          .enum(['true', 'false'])
          .default('false')
          .describe(
            'Folds it from its first event on, and puts the outcome in the place of the state of its owner and of the snapshots before',
          ),
      }),
      responses: {
        200: {
          description: 'Written, or, if it is not rebuilt, there already for this version',
          schema: z.object({ aggregateType: z.string(), aggregateId: z.string(), version: z.int() }),
        },
      },
      errors: ['UNKNOWN_AGGREGATE', 'INVALID_REQUEST', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query: { rebuild }, principal, deadline }) {
        const asked = { deadline: deadline - 500, actor: principal.name };
        const taken = await (rebuild === 'true' ? eventStore.rebuild(type, id, asked) : eventStore.snapshot(type, id, asked));
        return { status: 200, body: { aggregateType: type, aggregateId: id, version: taken } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/aggregates/{type}/{id}/events',
      summary: 'The events of an aggregate, a service or a saga, paged',
      role: ['bundle', 'analyst'],
      params,
      query: historyQuery,
      responses: { 200: { description: 'In order of versions', schema: pageOf(storedEvent) } },
      errors: ['UNKNOWN_AGGREGATE', 'EXPIRED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query, deadline }) {
        const body = await historyPage({
          whose: `${type}/${id}`,
          aggregateType: type,
          aggregateId: id,
          query,
          deadline,
          read: (request) => eventStore.events(request),
          show: ({ at, ...event }) => ({ ...event, at: new Date(at).toISOString() }),
        });
        return { status: 200, body };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/aggregates/{type}/{id}/steps',
      summary: 'An aggregate step by step: each event, and its state before and after it',
      description: 'Its events are folded by its own code, as it runs now. A page of large states ends before its limit.',
      role: ['bundle', 'analyst'],
      params,
      query: z.object({
        ...pageQuery({ limit: 50, most: 500 }),
        from: version.optional().describe('The first version, for the first page'),
        after: positionToken.optional(),
      }),
      responses: {
        200: {
          description: 'In order of versions',
          schema: pageOf(storedEvent.extend({ before: z.unknown(), after: z.unknown(), changes: z.array(change) })),
        },
      },
      errors: ['UNKNOWN_AGGREGATE', 'INVALID_REQUEST', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { type, id }, query: { cursor, limit, from, after }, deadline }) {
        const whose = `steps ${type}/${id}`;
        const first = cursor === undefined ? from : decodeCursor(whose, cursor, z.int());
        const request = { aggregateType: type, aggregateId: id, after, deadline: deadline - 500 };
        const events = await eventStore.events({ ...request, from: first, limit: limit + 1 });
        const steps = await eventStore.walk({ ...request, versions: events.slice(0, limit).map((event) => event.version) });
        const items = steps.map(({ changes, ...states }, index) => {
          const event = events[index]!;
          return { ...event, at: new Date(event.at).toISOString(), ...states, changes: [...changes] };
        });
        const next = events[items.length];
        return { status: 200, body: { items, ...(next === undefined ? {} : { nextCursor: encodeCursor(whose, next.version) }) } };
      },
    }),
  ];
}
