import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import type { TopicCatalogue } from '@spool/streams';
import { z } from 'zod';
import type { ConsumerService } from '../consumers/index.js';
import {
  causationTree,
  flowSteps,
  inCausalOrder,
  type EventStore,
  type FlowNode,
  type Delivery,
  type Tails,
} from '../event-store/index.js';
import { decodeCursor, encodeCursor, eventBytes, openEventStream, pageOf, pageQuery, route, type Route } from '../http/index.js';
import type { EventQueries, IndexedEvent } from '../telemetry/index.js';
import { change } from './aggregate-routes.js';
import { eventFilter, several, tailFilter, tailFrom } from './event-filter.js';
import { aggregateId, messageType, positionToken } from './messages.js';

export interface EventRoutesOptions {
  readonly events: EventQueries;
  readonly eventStore: Pick<EventStore, 'walk'>;
  readonly registry: Pick<Registry, 'component'>;
  readonly tails: Tails;
  readonly consumers: Pick<ConsumerService, 'list'>;
  readonly topics: TopicCatalogue;
}

const id = z.string().min(1).max(500);
const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));

const lag = z
  .object({
    records: z.int().describe('Records of the log that ClickHouse does not show yet, as of the last heartbeats'),
    seconds: z.number(),
  })
  .describe('How far ClickHouse is behind the log. Events are there about a second after they were decided');
const indexedEvent = z.object({
  id: z.string(),
  type: z.string(),
  aggregateType: z.string(),
  aggregateId: z.string(),
  version: z.int().describe('0 for none'),
  at: z.iso.datetime(),
  payload: z.unknown(),
  topic: z.string(),
  partition: z.int(),
  offset: z.string(),
  source: z.string().describe('bundle/component'),
  actor: z.string(),
  commandId: z.string(),
  correlationId: z.string(),
  causationId: z.string(),
  traceId: z.string(),
});
const shown = ({ at, ...event }: IndexedEvent): z.input<typeof indexedEvent> => ({ ...event, at: new Date(at).toISOString() });

const handling = z.object({
  bundle: z.string(),
  version: z.string(),
  instance: z.string(),
  component: z.string(),
  componentKind: z.string(),
  at: z.iso.datetime().describe('When the handling began'),
  status: z.string(),
  outcome: z.string(),
  errorClass: z.string(),
  totalUs: z.int().describe('Microseconds from the record to the commit'),
});
const flowNode = z.object({
  kind: z.string().describe('command, event, query, request or other'),
  id: z.string(),
  type: z.string().nullable().describe('null for a command that is known from its events alone'),
  causationId: z.string().nullable().describe('The message that caused it'),
  depth: z.int().describe('0 for what nothing of the flow caused'),
  at: z.iso.datetime(),
  bundle: z.string().nullable(),
  component: z.string().nullable(),
  aggregateId: z.string().nullable(),
  event: indexedEvent.pick({ aggregateType: true, version: true, topic: true, partition: true, offset: true, payload: true }).nullable(),
  handledBy: z.array(handling),
});
const shownNode = ({ at, handledBy, ...node }: FlowNode): z.input<typeof flowNode> => ({
  ...node,
  at: new Date(at).toISOString(),
  handledBy: handledBy.map((each) => ({ ...each, at: new Date(each.at).toISOString() })),
});

const searchQuery = z.object({
  ...pageQuery({ limit: 100, most: 1000 }),
  type: several(messageType).describe('May come several times: any of them'),
  aggregateType: several(messageType).describe('May come several times: any of them'),
  aggregateId: aggregateId.optional(),
  from: time.optional().describe('Not before this time'),
  to: time.optional().describe('Before this time'),
  correlationId: id.optional(),
  causationId: id.optional(),
  commandId: id.optional(),
  eventId: id.optional(),
  actor: id.optional(),
  contains: z.string().min(1).max(500).optional().describe('Somewhere in the JSON of the payload, in the same case'),
  where: several(z.string().regex(/^[^=]{1,200}=[\s\S]{0,500}$/, 'Expected path=value'), 10).describe(
    'A field of the payload, such as `route.from=VIE` or `legs.0.km=120`. May come several times: all of them',
  ),
  order: z.enum(['newest', 'oldest']).default('newest'),
});
const place = z.object({ at: z.int(), topic: z.string(), partition: z.int(), offset: z.string().regex(/^\d+$/) });

/** Events over all aggregates: searched, as the tree of a flow, and as they happen. */
export function eventRoutes({ events, eventStore, registry, tails, consumers, topics }: EventRoutesOptions): readonly Route[] {
  const lagOf = async (): Promise<z.input<typeof lag>> => {
    const sinks = (await consumers.list()).filter((consumer) => consumer.id.startsWith(`${topics.namespace}spool.telemetry`));
    const lags = sinks.map((consumer) => consumer.lag);
    return { records: lags.reduce((sum, { records }) => sum + records, 0), seconds: Math.max(0, ...lags.map(({ seconds }) => seconds)) };
  };
  return [
    route({
      method: 'GET',
      path: '/api/v1/events/search',
      summary: 'Find events by type, time, flow and content',
      description:
        'Answered by ClickHouse, which follows the log; `lag` says how closely. For one aggregate, read its own events: they are never behind.',
      role: 'analyst',
      rateClass: 'costly',
      query: searchQuery,
      responses: { 200: { description: 'By time', schema: pageOf(indexedEvent).extend({ lag }) } },
      errors: ['OVERLOADED', 'UNAVAILABLE'],
      async handler({ query: { cursor, limit, order, type, aggregateType, where, ...filters } }) {
        const kind = `events ${order}`;
        const found = await events.search({
          ...filters,
          types: type,
          aggregateTypes: aggregateType,
          fields: where?.map(fieldOf),
          newestFirst: order === 'newest',
          beyond: cursor === undefined ? undefined : decodeCursor(kind, cursor, place),
          limit: limit + 1,
        });
        const items = found.slice(0, limit);
        const last = found.length > limit ? items.at(-1) : undefined;
        const next = last === undefined ? {} : { nextCursor: encodeCursor(kind, place.parse(last)) };
        return { status: 200, body: { items: items.map(shown), ...next, lag: await lagOf() } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/correlations/{correlationId}',
      summary: 'The messages of a flow, each behind the one that caused it',
      description:
        'From what ClickHouse holds: all events, and of the last seven days who handled which command, event and query. `lag` says how closely it follows.',
      role: 'analyst',
      rateClass: 'costly',
      params: z.object({ correlationId: id }),
      responses: {
        200: {
          description: 'The tree, depth first, in the order of time among siblings; empty for a flow that is not known',
          schema: z.object({
            correlationId: z.string(),
            truncated: z.boolean().describe('There is more than 5,000 events or 20,000 handled messages'),
            nodes: z.array(flowNode),
            lag,
          }),
        },
      },
      errors: ['OVERLOADED', 'UNAVAILABLE'],
      async handler({ params: { correlationId } }) {
        const flow = await events.flow(correlationId);
        const nodes = causationTree(flow).map(shownNode);
        return { status: 200, body: { correlationId, truncated: flow.truncated, nodes, lag: await lagOf() } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/correlations/{correlationId}/steps',
      summary: 'A flow step by step: its commands and events, and what each event did to the state of its aggregate',
      description: [
        'By time, each behind its cause and behind the earlier events of its aggregate. Events are folded by the code of their aggregates, as it runs now. A page of',
        'large states ends before its limit. From what ClickHouse holds, as the tree of the flow.',
      ].join(' '),
      role: 'analyst',
      rateClass: 'costly',
      params: z.object({ correlationId: id }),
      query: z.object(pageQuery({ limit: 50, most: 200 })),
      responses: {
        200: {
          description: 'Without states for commands and for the events of services and sagas; empty for a flow that is not known',
          schema: pageOf(
            flowNode.extend({
              before: z.unknown().describe('null where there is no state'),
              after: z.unknown().describe('null where there is no state'),
              changes: z.array(change),
            }),
          ).extend({ correlationId: z.string(), truncated: z.boolean(), lag }),
        },
      },
      errors: ['INVALID_REQUEST', 'UNKNOWN_AGGREGATE', 'EXPIRED', 'INDETERMINATE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { correlationId }, query: { cursor, limit }, deadline }) {
        const whose = `correlation ${correlationId}`;
        const flow = await events.flow(correlationId);
        const nodes = inCausalOrder(causationTree(flow)).filter(({ kind }) => kind === 'command' || kind === 'event');
        const last = cursor === undefined ? undefined : decodeCursor(whose, cursor, z.string());
        const begin = last === undefined ? 0 : nodes.findIndex((node) => node.id === last) + 1;
        if (last !== undefined && begin === 0) throw new SpoolError('INVALID_REQUEST', `${last} is no longer in the flow: begin anew`);
        const ofAggregate = (type: string): boolean => registry.component(type)?.kind === 'aggregate';
        const steps = await flowSteps(nodes.slice(begin, begin + limit), eventStore, ofAggregate, deadline - 500);
        const items = steps.map(({ node, step }) => {
          const { before, after, changes } = step ?? { before: null, after: null, changes: [] };
          return { ...shownNode(node), before, after, changes: [...changes] };
        });
        const next = begin + items.length < nodes.length ? { nextCursor: encodeCursor(whose, items.at(-1)!.id) } : {};
        return { status: 200, body: { items, ...next, correlationId, truncated: flow.truncated, lag: await lagOf() } };
      },
    }),
    tailRoute({ tails, topics }),
  ];
}

const fieldOf = (text: string): { readonly path: readonly string[]; readonly value: string } => {
  const at = text.indexOf('=');
  return { path: text.slice(0, at).split('.'), value: text.slice(at + 1) };
};

/** What may wait for one client of a tail; what waits for many is the same bytes. */
const maxBufferedBytes = 256 * 1024;

export const tailRoute = ({ tails, topics }: Pick<EventRoutesOptions, 'tails' | 'topics'>): Route =>
  route({
    method: 'GET',
    path: '/api/v1/events',
    summary: 'Events as they happen, and those of the past before them',
    description: [
      'Server-sent events, read from the log: in order within a partition, each once, without a seam between the past and the present. The id of each is the',
      'position behind it, and Last-Event-ID goes on there. `position` comes at the start and when many events were passed over; it carries the position alone.',
      'A client that reads the past slowly is read to slowly; one that is too slow for the present gets `resync` and is cut off, and goes on behind its last id.',
    ].join(' '),
    role: ['bundle', 'analyst'],
    stream: true,
    query: z.object({
      from: tailFrom.describe('`earliest`, `now`, a time (approximate), or a position: partitions that it does not name begin now'),
      ...eventFilter,
    }),
    headers: z.object({ 'last-event-id': positionToken.optional() }),
    responses: { 200: { description: '`event` with the event, `position` with nothing' } },
    errors: ['INVALID_REQUEST', 'OFFSET_OUT_OF_RANGE', 'OVERLOADED', 'KAFKA_UNAVAILABLE'],
    async handler(context) {
      const { from, ...filter } = context.query;
      const last = context.headers['last-event-id'];
      const resume = last === undefined || last === '' ? undefined : last;
      const ending = new AbortController();
      // Refused before the first byte, and so told as a problem.
      const tail = await tails.open({ ...tailFilter(filter, topics), from, resume, signal: ending.signal });
      const stream = openEventStream(context, { maxBufferedBytes });
      void stream.ended.then(() => {
        ending.abort();
      });
      try {
        await tail.follow({ deliver: (item) => stream.write(item.encoded('sse', bytesOf)), ready: () => stream.ready() });
      } catch (thrown) {
        // The client comes back by itself, and goes on where it was.
        context.log.warn({ error: toSpoolError(thrown).message }, 'a tail of events ends');
      }
      await stream.close();
    },
  });

const bytesOf = ({ position, data }: Delivery): Buffer =>
  eventBytes(data === '' ? { event: 'position', id: position, data: '{}' } : { event: 'event', id: position, data });
