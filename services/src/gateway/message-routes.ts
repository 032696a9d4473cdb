import { SpoolError, toSpoolError } from '@spool/schemas';
import type { ExpectedVersion, Gateway, Registry } from '@spool/sdk';
import { z } from 'zod';
import type { EventStore } from '../event-store/index.js';
import {
  defaultWaitMs,
  etagOf,
  openEventStream,
  preferredWait,
  route,
  versionOfIfMatch,
  type RequestContext,
  type Route,
} from '../http/index.js';
import { aggregateId, commandIdOf, messageType, positionToken, version } from './messages.js';

const commandBody = z.strictObject({
  aggregateId: aggregateId
    .optional()
    .describe('Of a service: the lock under which it works, and it may be left out; of an aggregate: its id'),
  payload: z.record(z.string(), z.unknown()).describe('As the schema of the command has it; GET /api/v1/registry/payloads shows it'),
  expectedVersion: z
    .union([version, z.enum(['any', 'none', 'exists'])])
    .optional()
    .describe('The version that the aggregate must have; none, or 0: it must not exist yet; exists: it must; any: whatever it has'),
  priority: z
    .enum(['high', 'normal', 'low'])
    .optional()
    .describe(
      'Of a command to a service: urgent ones overtake, and leave the others their share. Aggregates decide in the order of arrival',
    ),
  context: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}$/, 'Expected lower-case letters, digits and dashes, such as import')
    .optional()
    .describe('Its events carry it, and go to the components that are bound to it; else default'),
});
const commandResult = z.object({
  status: z.enum(['applied', 'duplicate']).describe('duplicate: the command id was seen before, and this is its recorded outcome'),
  commandId: z.string(),
  aggregateId: z.string(),
  version: z.int(),
  events: z.array(z.object({ id: z.string(), type: z.string(), version: z.int() })),
  position: positionToken,
});
const queryBody = z.strictObject({
  payload: z.record(z.string(), z.unknown()).default({}),
  after: positionToken.optional().describe('The answer reflects at least this position, and waits for it'),
});

const queryErrors = [
  'UNKNOWN_QUERY',
  'INVALID_PAYLOAD',
  'NOT_FOUND',
  'EXPIRED',
  'INDETERMINATE',
  'OVERLOADED',
  'UNAVAILABLE',
  'KAFKA_UNAVAILABLE',
] as const;

const headers = z.object({
  'idempotency-key': z
    .string()
    .optional()
    .describe('The command id: the same one is applied at most once, and stands for one request to one aggregate'),
  'if-match': z.string().optional().describe('The expected version as an entity tag, such as "3"'),
  prefer: z.string().max(200).optional().describe('`wait=2` answers within so many seconds; `respond-async` answers 202 at once'),
  'correlation-id': z.string().max(200).optional(),
});

/** Commands and queries by their type, as the registry knows them. */
export function messageRoutes(gateway: Gateway, registry: Registry, eventStore: EventStore): readonly Route[] {
  /** Versions never fall: an aggregate that is beyond the expected version will never have it again. The owner decides all else. */
  const refuseLate = async (type: string, id: string, expected: number, deadline: number): Promise<void> => {
    const command = registry.payload('command', type);
    if (command === undefined) return;
    // An index that is away keeps no command from its owner.
    const version = await eventStore.version(command.component, id, deadline - 500).catch(() => 0);
    if (version <= expected) return;
    throw new SpoolError('VERSION_CONFLICT', `${command.component} ${id} is at version ${version}, not ${expected}`, {
      facts: { actualVersion: version },
    });
  };
  return [
    route({
      method: 'POST',
      path: '/api/v1/commands/{type}',
      summary: 'Send a command',
      description: 'Answers when the events are in the log. A command that is refused leaves no event.',
      role: 'bundle',
      params: z.object({ type: messageType }),
      body: commandBody,
      headers,
      responses: {
        200: { description: 'Applied, or applied before', schema: commandResult, headers: { ETag: 'The version of the aggregate' } },
        202: {
          description: 'Taken (Prefer: respond-async): it is in the log and will be decided',
          schema: z.object({ commandId: z.string(), aggregateId: z.string() }),
          headers: { Location: 'The aggregate' },
        },
      },
      errors: [
        'UNKNOWN_COMMAND',
        'INVALID_PAYLOAD',
        'REJECTED',
        'VERSION_CONFLICT',
        'IDEMPOTENCY_KEY_REUSED',
        'EXPIRED',
        'INDETERMINATE',
        'OVERLOADED',
        'RECORD_TOO_LARGE',
        'UNAVAILABLE',
        'KAFKA_UNAVAILABLE',
      ],
      async handler(context) {
        const { type } = context.params;
        const { aggregateId: id = null, payload, priority } = context.body;
        const commandId = commandIdOf(context.headers['idempotency-key']);
        const expectedVersion = expectedOf(context.body.expectedVersion, context.headers['if-match']);
        // A repetition has its recorded outcome, which the owner knows; anything else that is late already need not reach the log.
        if (typeof expectedVersion === 'number' && id !== null && commandId === undefined)
          await refuseLate(type, id, expectedVersion, context.deadline);
        const options = {
          ...shared(context),
          ...(commandId === undefined ? {} : { commandId, refuseReuse: true }),
          ...(expectedVersion === undefined ? {} : { expectedVersion }),
          ...(priority === undefined ? {} : { priority }),
          ...(context.body.context === undefined ? {} : { context: context.body.context }),
        };
        if (/(^|[,;\s])respond-async($|[,;\s])/.test(context.headers.prefer ?? '')) {
          const taken = await gateway.postJson(type, id, payload, options);
          const place = `/api/v1/aggregates/${registry.payload('command', type)?.component ?? ''}/${encodeURIComponent(id ?? taken)}`;
          const taking = { 'Preference-Applied': 'respond-async', Location: place };
          return { status: 202, body: { commandId: taken, aggregateId: id ?? taken }, headers: taking };
        }
        const result = await gateway.sendJson(type, id, payload, options);
        return { status: 200, body: result, headers: { ETag: etagOf(result.version) } };
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/queries/{type}',
      summary: 'Ask a query',
      role: ['bundle', 'analyst'],
      safe: true,
      params: z.object({ type: messageType }),
      body: queryBody,
      headers: headers.pick({ prefer: true, 'correlation-id': true }),
      responses: {
        200: {
          description: 'The view, and the position that it reflects',
          schema: z.object({ view: z.unknown(), position: positionToken }),
        },
      },
      errors: [...queryErrors],
      async handler(context) {
        const { payload, after } = context.body;
        const options = { ...shared(context), ...(after === undefined ? {} : { after }) };
        return { status: 200, body: await gateway.askJson(context.params.type, payload, options) };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/queries/{type}',
      summary: 'Subscribe to a query',
      description:
        'Server-sent events: the answer, and then the latest whenever it has changed. `problem`: it has ended; the data says why.',
      role: ['bundle', 'analyst'],
      stream: true,
      params: z.object({ type: messageType }),
      query: z.object({
        payload: z
          .string()
          .max(100_000)
          .optional()
          .describe('JSON, as the schema of the query has it; GET /api/v1/registry/payloads shows it. @default {}'),
        after: positionToken.optional().describe('The first answer reflects at least this position, and waits for it'),
      }),
      headers: headers.pick({ 'correlation-id': true }),
      responses: { 200: { description: '`answer` with the view and the position that it reflects' } },
      errors: ['MALFORMED_JSON', ...queryErrors],
      async handler(context) {
        const { payload = '{}' } = context.query;
        // A browser that connects again says what it saw last.
        const last = context.request.headers['last-event-id'];
        const after = typeof last === 'string' && last !== '' ? last : context.query.after;
        const correlationId = context.headers['correlation-id'];
        const answers = gateway.subscribeJson(context.params.type, jsonOf(payload), {
          traceparent: context.traceparent,
          actor: context.principal.name,
          signal: context.signal,
          ...(correlationId === undefined ? {} : { correlationId }),
          ...(after === undefined ? {} : { after }),
        });
        // What is refused becomes a problem document, as long as nothing has been sent.
        let { done, value } = await answers.next();
        const events = openEventStream(context);
        void events.ended.then(() => answers.return());
        try {
          while (done !== true && value !== undefined) {
            if (!events.send({ event: 'answer', id: value.position, data: JSON.stringify(value) })) break;
            await events.ready();
            ({ done, value } = await answers.next());
          }
        } catch (thrown) {
          const { code, message } = toSpoolError(thrown);
          events.send({ event: 'problem', data: JSON.stringify({ code, detail: message }) });
        }
        await answers.return();
        await events.close();
      },
    }),
  ];
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SpoolError('MALFORMED_JSON', `payload: ${String(error)}`);
  }
}

interface SharedHeaders {
  readonly prefer?: string | undefined;
  readonly 'correlation-id'?: string | undefined;
}

/** The caller's wish for time, within what the edge allows; half a second is left for the answer. */
function shared(context: RequestContext<unknown, unknown, unknown, SharedHeaders>) {
  const correlationId = context.headers['correlation-id'];
  const left = context.deadline - Date.now() - 500;
  const wished = (preferredWait(context.headers.prefer) ?? defaultWaitMs) - (performance.now() - context.arrivedAt);
  return {
    timeoutMs: Math.max(1, Math.min(left, wished)),
    traceparent: context.traceparent,
    actor: context.principal.name,
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}

function expectedOf(inBody: ExpectedVersion | undefined, ifMatch: string | undefined): ExpectedVersion | undefined {
  const tag = versionOfIfMatch(ifMatch);
  const inHeader = tag === undefined || tag === 'any' ? undefined : Number(tag);
  if (inBody !== undefined && inHeader !== undefined && inBody !== inHeader) {
    throw new SpoolError('INVALID_REQUEST', `expectedVersion is ${inBody} and If-Match is ${inHeader}`, {
      violations: [{ pointer: '/expectedVersion', message: 'Differs from If-Match' }],
    });
  }
  return inBody ?? inHeader;
}
