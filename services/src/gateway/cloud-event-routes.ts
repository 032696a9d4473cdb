import { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import { mediaTypeOf, parseJson, route, type Route } from '../http/index.js';
import { binaryEvent, structuredEvent, type Topics } from '../topics/index.js';
import { topicName, writeErrors, writtenRecords } from './topic-routes.js';

const attribute = (text: string) => z.string().max(10_000).describe(text);
const extension = z.union([z.string(), z.boolean(), z.int()]);
const event = z
  .object({
    specversion: z.literal('1.0'),
    id: attribute('Unique for the source'),
    source: attribute('A URI reference'),
    type: attribute('Such as com.example.order.created'),
    subject: attribute('What it is about; the key of the record, unless there is partitionkey').optional(),
    time: z.iso.datetime({ offset: true }).optional(),
    datacontenttype: attribute('@default application/json').optional(),
    dataschema: attribute('A URI').optional(),
    data: z.unknown().optional(),
    data_base64: z.base64().optional(),
  })
  .catchall(extension)
  .meta({ id: 'CloudEvent', description: 'An event by CloudEvents 1.0, with any extensions' });
const mostEvents = 1000;

/**
 * Events by CloudEvents 1.0 over HTTP. They have a path of their own, since in binary mode the body is of any type, JSON too: the content type alone would not tell
 * an event from the records of `/records`.
 */
export const cloudEventRoutes = (topics: Pick<Topics, 'publish'>): readonly Route[] => [
  route({
    method: 'POST',
    path: '/api/v1/topics/{topic}/events',
    summary: 'Publish CloudEvents to a topic',
    description: [
      'Structured (`application/cloudevents+json`), in a batch (`application/cloudevents-batch+json`), or binary: attributes as `ce-` headers, and the data as the body.',
      'They are written by the Kafka binding, binary mode. JSON data of a type that is registered for the topic is written as Avro.',
    ].join(' '),
    role: 'bundle',
    params: z.object({ topic: topicName }),
    headers: z.looseObject({
      'ce-specversion': z.string().optional().describe('Of binary mode: 1.0; with ce-id, ce-source and ce-type'),
      'ce-id': z.string().optional(),
      'ce-source': z.string().optional(),
      'ce-type': z.string().optional(),
      'ce-subject': z.string().optional(),
      'ce-time': z.string().optional(),
    }),
    rawBody: {
      'application/cloudevents+json': event,
      'application/cloudevents-batch+json': z.array(event).min(1).max(mostEvents),
      '*/*': z.string().describe('Of binary mode: the data'),
    },
    responses: { 200: { description: 'Written', schema: writtenRecords } },
    errors: writeErrors,
    async handler({ params: { topic }, headers, bytes, traceparent, principal }) {
      const events = eventsOf(headers, bytes);
      const written = await topics.publish(topic, events, { traceparent, actor: principal.name });
      return { status: 200, body: { records: written.map((at) => ({ partition: at.partition, offset: at.offset.toString() })) } };
    },
  }),
];

function eventsOf(headers: Readonly<Record<string, unknown>>, bytes: Buffer) {
  switch (mediaTypeOf(headers['content-type'] as string | undefined)) {
    case 'application/cloudevents+json':
      return [structuredEvent(parseJson(bytes))];
    case 'application/cloudevents-batch+json': {
      const batch = parseJson(bytes);
      if (Array.isArray(batch) && batch.length > 0 && batch.length <= mostEvents)
        return batch.map((each, index) => structuredEvent(each, `/${index}`));
      throw new SpoolError('INVALID_REQUEST', `A batch is a list of 1 to ${mostEvents} events`, {
        violations: [{ pointer: '', message: `Expected a list of 1 to ${mostEvents} events` }],
      });
    }
    default:
      // Besides, no page of another site can send such a header without being asked first.
      if (headers['ce-specversion'] !== undefined) return [binaryEvent(headers, bytes)];
      throw new SpoolError('UNSUPPORTED_MEDIA_TYPE', 'Send application/cloudevents+json, its batch, or ce- headers with the data');
  }
}
