import { SpoolError } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { z } from 'zod';
import { decodeCursor, encodeCursor, mayAct, pageOf, pageQuery, route, type Route } from '../http/index.js';
import type { Topics } from '../topics/index.js';

export interface TopicRoutesOptions {
  readonly topicService: Topics;
  readonly topics: TopicCatalogue;
}

export const topicName = z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, 'Expected the name of a topic');
const partition = z.int().min(0).max(1_000_000);
const base64 = z
  .base64()
  .max(1_400_000)
  .transform((text) => Buffer.from(text, 'base64'));
const key = z
  .union([z.string().max(10_000), z.strictObject({ base64: base64 }), z.null()])
  .default(null)
  .describe('Records of one key go to one partition, in order; null: to any')
  .transform((each) => (typeof each === 'object' && each !== null ? each.base64 : each));
const headers = z
  .record(z.string().min(1).max(200), z.string().max(10_000))
  .refine((each) => Object.keys(each).length <= 100, 'Expected 100 headers at the most')
  .default({});
const place = { headers, partition: partition.optional().describe('@default by the key') };
const recordBody = z.union([
  z
    .strictObject({ key, ...place, type: z.string().min(1).max(500).describe('Full name of a type of the topic'), value: z.unknown() })
    .transform(({ type, value, ...rest }) => ({ ...rest, value: { type, json: value } }))
    .describe('JSON that is written as Avro, by the newest schema that is registered for the topic and the type'),
  z
    .strictObject({ key, ...place, base64 })
    .transform(({ base64: value, ...rest }) => ({ ...rest, value }))
    .describe('Bytes, as they are'),
  z.strictObject({ key, ...place, value: z.null() }).describe('A tombstone: removes what the key has, where the topic is compacted'),
]);
export const writtenRecords = z.object({
  records: z.array(z.object({ partition: z.int(), offset: z.string() })).describe('Where each stands, in the order of the request'),
});
export const writeErrors = [
  'TOPIC_NOT_WRITABLE',
  'UNKNOWN_TOPIC',
  'SCHEMA_UNKNOWN',
  'SCHEMA_INVALID',
  'INVALID_PAYLOAD',
  'RECORD_TOO_LARGE',
  'OVERLOADED',
  'UNAVAILABLE',
  'KAFKA_UNAVAILABLE',
  'KAFKA_REFUSED',
] as const;

const browsed = z.object({
  partition: z.int(),
  offset: z.string(),
  at: z.iso.datetime().describe("By the producer's clock"),
  key: z.string().nullable(),
  keyBase64: z.string().nullable().describe('The bytes of a key that is no text'),
  headers: z.record(z.string(), z.string()),
  type: z.string().nullable().describe('ce_type, else the full name of the type that it was written as'),
  value: z.unknown().describe('By the schema of its writer, or as JSON where its content-type says so; else null'),
  base64: z.string().nullable().describe('The bytes, where they could not be decoded'),
  unreadable: z.string().nullable().describe('Why they could not, where they name a schema'),
});
const from = z
  .string()
  .max(100)
  .regex(/^(oldest|newest|\d{1,18}|\d{4}-\d\d-\d\dT.+)$/, 'Expected oldest, newest, an offset or a time')
  .refine((text) => !text.includes('T') || Number.isFinite(Date.parse(text)), 'Expected a time such as 2026-01-31T12:00:00Z')
  .transform((text) => {
    if (text === 'oldest' || text === 'newest') return text;
    return /^\d+$/.test(text) ? { offset: BigInt(text) } : { at: Date.parse(text) };
  })
  .default('newest');
const places = z.record(z.string(), z.string().regex(/^\d{1,18}$/));
const shownAt = (at: number): string => new Date(Math.min(Math.max(at, 0), 8.64e15)).toISOString();

/** Topics for those who are not in Node: to produce, and to look at what is there. */
export function topicRoutes({ topicService, topics }: TopicRoutesOptions): readonly Route[] {
  const events = topics.events('').name;
  return [
    route({
      method: 'GET',
      path: '/api/v1/topics',
      summary: 'The topics of the cluster',
      role: ['bundle', 'analyst'],
      query: z.object(pageQuery({ limit: 100, most: 500 })),
      responses: {
        200: {
          description: 'By name',
          schema: pageOf(
            z.object({
              name: z.string(),
              partitions: z.int(),
              replicationFactor: z.int(),
              cleanup: z.string().describe('delete or compact, or both'),
              retentionMs: z.number().describe('-1: for ever'),
              writable: z.boolean().describe('Whether records may be posted to it; to its own the platform alone writes'),
              types: z.array(z.string()).describe('The record types that are registered for it'),
            }),
          ),
        },
      },
      errors: ['UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ query: { cursor, limit } }) {
        const after = cursor === undefined ? '' : decodeCursor('topics', cursor, z.string());
        const found = await topicService.list(after, limit + 1);
        const items = found.slice(0, limit);
        const next = found.length > limit ? { nextCursor: encodeCursor('topics', items.at(-1)!.name) } : {};
        return { status: 200, body: { items, ...next } };
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/topics/{topic}/records',
      summary: 'Write records to a topic',
      description:
        'Answers when all in-sync replicas hold them. All are checked before the first is written; the writing itself is not atomic.',
      role: 'bundle',
      params: z.object({ topic: topicName }),
      body: z.strictObject({ records: z.array(recordBody).min(1).max(1000) }),
      responses: { 200: { description: 'Written', schema: writtenRecords } },
      errors: writeErrors,
      async handler({ params: { topic }, body: { records } }) {
        const written = await topicService.write(topic, records);
        return { status: 200, body: { records: written.map((at) => ({ partition: at.partition, offset: at.offset.toString() })) } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/topics/{topic}/records',
      summary: 'Look through the records of a topic',
      description: [
        'What is committed, decoded; of all partitions by time, in the order of each partition. A page reads a bounded part of the log and then ends, full or not:',
        'it may be empty and have a next one. Bundles read events and the topics that they may write to; analysts read all.',
      ].join(' '),
      role: ['bundle', 'analyst'],
      rateClass: 'costly',
      params: z.object({ topic: topicName }),
      query: z.object({
        ...pageQuery({ limit: 50, most: 500 }),
        partition: z.coerce.number().pipe(partition).optional(),
        key: z.string().max(10_000).optional(),
        type: z.string().min(1).max(500).optional().describe('ce_type, else the full name of the type that it was written as'),
        from: from.describe('`oldest`, `newest` (the latest first), a time (approximate), or an offset of the `partition`'),
      }),
      responses: {
        200: {
          description: 'Records',
          schema: pageOf(browsed).extend({ scanned: z.int().describe('Records that were read for this page') }),
        },
      },
      errors: ['UNKNOWN_TOPIC', 'OFFSET_OUT_OF_RANGE', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE', 'KAFKA_REFUSED'],
      async handler({ params: { topic }, query: { cursor, ...query }, principal, signal }) {
        const own = !topic.startsWith(events) && !topicService.writable(topic);
        if (own && !mayAct(principal, 'analyst'))
          throw new SpoolError('FORBIDDEN', `${topic} is the platform's own: this needs the role analyst`);
        if (typeof query.from === 'object' && 'offset' in query.from && query.partition === undefined) {
          throw new SpoolError('INVALID_REQUEST', 'An offset is one of a partition', {
            violations: [{ pointer: 'query:partition', message: 'Missing; an offset is one of a partition' }],
          });
        }
        const backwards = query.from === 'newest';
        const kind = `records of ${topic} ${backwards ? 'backwards' : 'forwards'}`;
        const page = await topicService.page({
          ...{ ...query, topic, signal },
          ...(cursor === undefined ? {} : { places: decodeCursor(kind, cursor, places) }),
        });
        const items = page.items.map((each) => ({ ...each, at: shownAt(each.at) }));
        const next = page.next === undefined ? {} : { nextCursor: encodeCursor(kind, page.next) };
        return { status: 200, body: { items, ...next, scanned: page.scanned } };
      },
    }),
  ];
}
