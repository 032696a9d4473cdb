import { z } from 'zod';
import { sagaStates, type EventStore, type ReadStep } from '../event-store/index.js';
import { decodeCursor, encodeCursor, pageOf, pageQuery, route, type Route } from '../http/index.js';
import { historyPage, historyQuery } from './history-page.js';
import { aggregateId, messageType, positionToken } from './messages.js';

const saga = z.object({ name: messageType });
const sagaInstance = z.object({ name: messageType, id: aggregateId });
const time = z.iso.datetime();
const timer = z.object({ name: z.string(), at: time });
const pending = z.object({ id: z.string(), type: z.string(), target: z.string(), key: z.string() });
const state = z.enum(sagaStates);
const step = z.object({
  version: z.int(),
  input: z.object({
    kind: z.enum(['event', 'outcome', 'timer']),
    type: z.string(),
    id: z.string(),
    at: time,
    topic: z.string().describe('empty for a timer'),
    partition: z.int(),
    offset: z.int(),
    payload: z.unknown(),
  }),
  state: z.unknown().describe('after the step'),
  ended: z.boolean(),
  commands: z.array(
    z.object({
      ...pending.shape,
      payload: z.unknown(),
      compensates: z.string().describe('id of the command that it undoes; empty for none'),
    }),
  ),
  timersSet: z.array(timer),
  timersCancelled: z.array(z.string()),
});

const timed = (timers: ReadStep['timers']) => timers.map(({ name, at }) => ({ name, at: new Date(at).toISOString() }));
const errors = ['NOT_FOUND', 'UNKNOWN_AGGREGATE', 'EXPIRED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'] as const;

/** The instances of sagas: who runs, where they stand, and how they came there. */
export function sagaRoutes(eventStore: EventStore): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/sagas/{name}',
      summary: 'The instances of a saga, in the order of their ids',
      role: ['bundle', 'analyst'],
      params: saga,
      query: z.object({ ...pageQuery({ limit: 100, most: 1000 }), state: state.optional(), after: positionToken.optional() }),
      responses: {
        200: {
          description: 'A page',
          schema: pageOf(z.object({ id: z.string(), state, version: z.int(), at: time.describe('of what it last reacted to') })),
        },
      },
      errors: [...errors],
      async handler({ params: { name }, query: { limit, cursor, ...query }, deadline }) {
        const kind = `sagas ${name} ${query.state ?? ''}`;
        const from = cursor === undefined ? undefined : decodeCursor(kind, cursor, z.string());
        const found = await eventStore.instances({ aggregateType: name, ...query, from, limit: limit + 1, deadline: deadline - 500 });
        const next = found[limit];
        const items = found.slice(0, limit).map((each) => ({ ...each, at: new Date(each.at).toISOString() }));
        return { status: 200, body: { items, ...(next === undefined ? {} : { nextCursor: encodeCursor(kind, next.id) }) } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sagas/{name}/{id}',
      summary: 'Where an instance of a saga stands',
      role: ['bundle', 'analyst'],
      params: sagaInstance,
      query: z.object({ after: positionToken.optional() }),
      responses: {
        200: {
          description: 'After its last step',
          schema: z.object({
            saga: z.string(),
            id: z.string(),
            state,
            version: z.int(),
            at: time,
            data: z.unknown().describe('its state; null when something was still undone after its end'),
            timers: z.array(timer).describe('open ones'),
            pending: z.array(pending).describe('commands whose outcome is awaited'),
          }),
        },
      },
      errors: [...errors],
      async handler({ params: { name, id }, query: { after }, deadline }) {
        const request = { aggregateType: name, aggregateId: id, after, backwards: true, limit: 1, deadline: deadline - 500 };
        const [last] = await eventStore.steps(request);
        const { ended, version, input, state: data, timers, pending: awaited } = last!;
        const shown = { saga: name, id, state: ended ? ('ended' as const) : ('running' as const), version, data };
        return { status: 200, body: { ...shown, at: new Date(input.at).toISOString(), timers: timed(timers), pending: [...awaited] } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sagas/{name}/{id}/history',
      summary: 'The steps of an instance of a saga, paged: what came, what it did, and its state after each',
      role: ['bundle', 'analyst'],
      params: sagaInstance,
      query: historyQuery,
      responses: { 200: { description: 'In order of versions', schema: pageOf(step) } },
      errors: [...errors],
      async handler({ params: { name, id }, query, deadline }) {
        const body = await historyPage({
          whose: `saga ${name}/${id}`,
          aggregateType: name,
          aggregateId: id,
          query,
          deadline,
          read: (request) => eventStore.steps(request),
          show: ({ timers: _timers, pending: _pending, input, timersSet, ...rest }) => ({
            ...rest,
            commands: [...rest.commands],
            timersCancelled: [...rest.timersCancelled],
            input: { ...input, at: new Date(input.at).toISOString() },
            timersSet: timed(timersSet),
          }),
        });
        return { status: 200, body };
      },
    }),
  ];
}
