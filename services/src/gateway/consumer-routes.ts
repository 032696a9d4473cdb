import { z } from 'zod';
import {
  consumerView,
  deadLetterView,
  letterPlace,
  orderResult,
  place,
  type ConsumerOrder,
  type ConsumerService,
} from '../consumers/index.js';
import { decodeCursor, encodeCursor, pageOf, pageQuery, route, type Route } from '../http/index.js';

const params = z.object({ id: z.string().min(1).max(300).describe('Id of the consumer, or the name of its component') });
const reason = z.string().max(500).default('').describe('Why; kept in the audit log');

const letters = {
  key: z.string().max(10_000).optional().describe('All parked records of this key'),
  record: z
    .strictObject({
      topic: z.string().max(249),
      partition: z.int().min(0),
      offset: z.string().regex(/^\d{1,19}$/, 'Expected an offset, as text'),
    })
    .optional()
    .describe('One record, by the place it was read from; a timer by its place in the dead-letter topic'),
};

/** The processors of all instances, and what may be ordered of them. */
export function consumerRoutes(consumers: ConsumerService): readonly Route[] {
  const order = <B extends z.ZodRawShape>(
    action: ConsumerOrder['action'],
    summary: string,
    shape: B,
    description?: string,
    path: string = action,
  ): Route =>
    route({
      method: 'POST',
      path: `/api/v1/consumers/{id}/${path}`,
      summary,
      ...(description === undefined ? {} : { description }),
      role: 'operator',
      params,
      body: z.strictObject({ ...shape, reason }),
      responses: {
        200: { description: 'Every live instance that runs the consumer has done it', schema: orderResult },
        202: { description: 'Ordered; not every instance has said so yet', schema: orderResult },
      },
      errors: [
        'UNKNOWN_CONSUMER',
        'NOT_FOUND',
        'OFFSET_OUT_OF_RANGE',
        'INVALID_PAYLOAD',
        'ORDER_REFUSED',
        'INDETERMINATE',
        'UNAVAILABLE',
        'KAFKA_UNAVAILABLE',
      ],
      async handler({ params: { id }, body, principal, deadline }) {
        const { reason: why, ...wish } = body as { reason: string };
        const { name, roles } = principal;
        const ordering = { actor: { name, roles }, reason: why, deadline };
        const result = await consumers.order(id, { action, ...wish } as ConsumerOrder, ordering);
        return { status: result.acknowledged ? 200 : 202, body: result };
      },
    });
  return [
    route({
      method: 'GET',
      path: '/api/v1/consumers',
      summary: 'Every processor that a live instance runs: position, lag, errors',
      role: ['bundle', 'analyst'],
      responses: { 200: { description: 'Consumers', schema: z.object({ items: z.array(consumerView) }) } },
      handler: async () => ({ status: 200, body: { items: await consumers.list() } }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/consumers/{id}',
      summary: 'One consumer on all its instances',
      role: ['bundle', 'analyst'],
      params,
      responses: { 200: { description: 'The consumer', schema: consumerView } },
      errors: ['UNKNOWN_CONSUMER'],
      handler: async ({ params: { id } }) => ({ status: 200, body: await consumers.get(id) }),
    }),
    order('pause', 'Hold a consumer; it stays in its group', {}),
    order('resume', 'Let a consumer that was held go on', {}),
    order('step', 'Let a held consumer handle some records', {
      records: z
        .int()
        .min(1)
        .max(10_000)
        .default(1)
        .describe('How many, for each task: a partition of the group, or an instance that reads all'),
    }),
    order('rate', 'Limit the rate of a consumer', {
      recordsPerSecond: z.number().positive().max(10_000_000).nullable().describe('Over all partitions; null lifts the limit'),
    }),
    order(
      'seek',
      'Move a consumer to offsets or to a time',
      {
        to: place.describe('The end or the start of the log, the first records at or after a time, or an offset for each partition'),
        topic: z.string().max(249).optional().describe('Which of its topics; else all'),
      },
      'Partitions that are not named stay where they are. What it has stored stays: records before the position may be handled twice.',
    ),
    order('reset', 'Empty the store of a consumer and let it begin at the start of the log', {}),
    route({
      method: 'GET',
      path: '/api/v1/consumers/{id}/dead-letters',
      summary: 'The parked records of a consumer, in order',
      description: 'By partition, then in the order in which they were parked. Nothing else of their keys is handled before them.',
      role: 'analyst',
      params,
      query: z.object({ ...pageQuery({ limit: 50, most: 500 }), resolved: z.enum(['true', 'false']).default('false') }),
      responses: { 200: { description: 'Dead letters', schema: pageOf(deadLetterView) } },
      errors: ['UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { id }, query: { cursor, limit, resolved } }) {
        const kind = `dead-letters ${resolved} ${id}`;
        const after = cursor === undefined ? undefined : decodeCursor(kind, cursor, letterPlace);
        const { items, next } = await consumers.deadLetters(id, { after, limit, resolved: resolved === 'true' });
        return { status: 200, body: { items, ...(next === undefined ? {} : { nextCursor: encodeCursor(kind, next) }) } };
      },
    }),
    order(
      'retry',
      'Handle parked records again, in order',
      {
        ...letters,
        value: z.unknown().optional().describe('Handled in the place of the first one: JSON as its schema has it, or {"base64": "..."}'),
      },
      'A key goes on to its first failure; what is behind that stays parked. Without a key or a record: all keys.',
      'dead-letters/retry',
    ),
    order('discard', 'Give parked records up; their key goes on when none is left', letters, undefined, 'dead-letters/discard'),
  ];
}
