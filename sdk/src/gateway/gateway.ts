import { randomUUID } from 'node:crypto';
import {
  fromJson,
  messageHeaders,
  SpoolError,
  toJson,
  type Codec,
  type Encoder,
  type RecordSchema,
  type Reply,
  type ReplyAddress,
  type Violation,
} from '@spool/schemas';
import type { Producer, TopicCatalogue } from '@spool/streams';
import type { QuerySchemas } from '../payloads.js';
import type { Registry, RegisteredPayload } from '../registry/registry.js';
import type { CommandTarget } from '../messages.js';
import type {
  Answer,
  AskOptions,
  CommandResult,
  Gateway,
  QuerySubscription,
  RequestMessage,
  RequestMeta,
  SendOptions,
  SubscribeQueryOptions,
  SubscribeRequest,
} from './messages.js';
import { openSubscription, subscribeHeader, toSubscribeHeader } from './subscription.js';
import { newTraceparent } from '../host/traces.js';
import { refuseReuseHeader } from '../outcomes/reuse.js';
import { createAdmission, type Flow, type Requested } from './admission.js';
import type { Replies } from './replies.js';

/** Requests in flight before more are refused. */
export const defaultMaxInFlight = 2048;

export interface GatewayOptions {
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly producer: Producer;
  readonly replies: Replies;
  readonly registry: Registry;
  /** `ce_source` of what it sends. */
  readonly source: string;
  readonly now: () => number;
  /** More at once are refused with OVERLOADED before any work; so are those that would wait too long, however few there are. @default 2048 */
  readonly maxInFlight?: number;
}

/** The header with the position that an answer must reflect. */
export const afterHeader = 'after';
const defaultTimeoutMs = 10_000;
const defaultLeaseMs = 15_000;
const noMeta: RequestMeta = {};

/** Request and reply over Kafka. */
export function createGateway(options: GatewayOptions): Gateway {
  const { codec, topics, producer, replies, registry, now } = options;
  const maxInFlight = options.maxInFlight ?? defaultMaxInFlight;

  const post = (message: RequestMessage, deadline: number, replyTo: ReplyAddress | undefined): Promise<unknown> => {
    const { topic, key, value, partition, id, meta = noMeta } = message;
    // Spelled out: to add to a copy of `meta` costs a microsecond for each property.
    const headers = messageHeaders({
      id,
      type: message.type,
      source: options.source,
      time: now(),
      traceparent: meta.traceparent ?? newTraceparent(),
      correlationId: meta.correlationId ?? id,
      causationId: meta.causationId,
      expectedVersion: meta.expectedVersion,
      context: meta.context,
      actor: meta.actor,
      deadline,
      replyTo,
    });
    if (message.refuseReuse === true) headers[refuseReuseHeader] = '1';
    if (message.subscribe !== undefined) headers[subscribeHeader] = toSubscribeHeader(message.subscribe);
    if (message.after !== undefined && message.after !== '') headers[afterHeader] = message.after;
    return producer.send(partition === undefined ? { topic, key, value, headers } : { topic, key, value, headers, partition });
  };
  /** A header of whole milliseconds: what is left of a caller's time may be none. */
  const deadlineOf = (message: RequestMessage): number => Math.floor(now() + (message.timeoutMs ?? defaultTimeoutMs));
  const flowTo = createAdmission({ maxInFlight, inFlight: () => replies.waiting });
  /** What was let in. @param onPosted gets the word of the log */
  const admitted = async (
    message: RequestMessage,
    flow: Flow,
    requested: Requested,
    onPosted?: (posted: Promise<unknown>) => void,
  ): Promise<Reply> => {
    const deadline = deadlineOf(message);
    const end = flow.began(message.timeoutMs ?? defaultTimeoutMs, requested);
    let answered = false;
    try {
      const posted = post(message, deadline, replies.address);
      onPosted?.(posted);
      const reply = await replies.wait(message.id, deadline, posted);
      answered = reply.outcome !== 'expired';
      return reply;
    } finally {
      end(answered);
    }
  };
  const request = (message: RequestMessage): Promise<Reply> => {
    const flow = flowTo(message.topic);
    const requested = { caller: message.meta?.actor, type: message.type };
    const full = flow.refusal(message.timeoutMs ?? defaultTimeoutMs, requested);
    return full === undefined ? admitted(message, flow, requested) : Promise.reject(full);
  };

  /** A promise only where a schema is used for the first time. */
  const commandMessage = (
    { topic, key, commandId }: ReturnType<typeof addressOf>,
    schema: RecordSchema<unknown>,
    type: string,
    payload: unknown,
    sent: SendOptions,
  ) => {
    const message = (encoder: Encoder<unknown>) => {
      const value = encoder.encode(payload);
      return { topic, key, type, id: commandId, value, timeoutMs: sent.timeoutMs, refuseReuse: sent.refuseReuse, meta: commandMeta(sent) };
    };
    const encoder = codec.readyEncoder(topic, schema);
    return encoder === undefined ? codec.encoder(topic, schema).then(message) : message(encoder);
  };
  const send = async (
    target: Pick<CommandTarget, 'kind' | 'name'>,
    schema: RecordSchema<unknown>,
    type: string,
    id: string | null,
    payload: unknown,
    sent: SendOptions,
    onPosted?: (taken: Promise<string>) => void,
  ): Promise<CommandResult> => {
    const address = addressOf(topics, target, id, sent);
    const flow = flowTo(address.topic);
    // Before anything is made: what is refused must cost next to nothing, or refusing is what the process is busy with.
    const requested = { caller: sent.actor, type, urgency: sent.priority ?? 'normal' };
    const full = flow.refusal(sent.timeoutMs ?? defaultTimeoutMs, requested);
    if (full !== undefined) throw full;
    const pending = commandMessage(address, schema, type, payload, sent);
    const message = pending instanceof Promise ? await pending : pending;
    const told = onPosted && ((posted: Promise<unknown>): void => onPosted(posted.then(() => message.id)));
    return toResult(await admitted(message, flow, requested, told), message.id, message.key);
  };
  const ask = async (topic: string, query: QuerySchemas, type: string, payload: unknown, asked: AskOptions) => {
    const encoder = await codec.encoder(topic, query.request);
    const value = encoder.encode(payload);
    const reply = await request({
      topic,
      key: null,
      type,
      id: randomUUID(),
      value,
      timeoutMs: asked.timeoutMs,
      meta: sharedMeta(asked),
      after: asked.after,
    });
    if (reply.outcome !== 'answered' || reply.view === null) throw refusal(reply);
    return { view: await codec.decoder(query.view).decode(reply.view), position: reply.position };
  };
  let subscribed = 0;
  const subscribe = (
    topic: string,
    query: QuerySchemas,
    type: string,
    payload: unknown,
    asked: SubscribeQueryOptions,
    viewOf = (view: unknown) => view,
  ) => {
    const { timeoutMs = defaultTimeoutMs, leaseMs = defaultLeaseMs, signal } = asked;
    const meta = {
      ...sharedMeta(asked),
      traceparent: asked.traceparent ?? newTraceparent(),
      correlationId: asked.correlationId ?? randomUUID(),
    };
    const send = async (request: SubscribeRequest, first: boolean): Promise<unknown> => {
      const value = (await codec.encoder(topic, query.request)).encode(payload);
      const after = first ? asked.after : undefined;
      // By its key, requests of one subscription stay in order and at one instance, as long as that is there.
      const message = { topic, key: request.id, type, id: randomUUID(), value, meta, after, subscribe: request };
      return post(message, Math.floor(now() + (first ? timeoutMs : leaseMs)), replies.address);
    };
    return openSubscription<unknown>({
      replies,
      send,
      timeoutMs,
      leaseMs,
      signal,
      refused: refusal,
      decode: async ({ view, position }) => ({ view: viewOf(await codec.decoder(query.view).decode(view)), position }),
      enter() {
        if (subscribed >= maxInFlight)
          throw new SpoolError('OVERLOADED', `${maxInFlight} subscriptions are open already`, { retryAfterMs: 1000 });
        subscribed += 1;
        return () => void (subscribed -= 1);
      },
    });
  };
  const known = (kind: 'command' | 'query', type: string): RegisteredPayload => {
    const payload = registry.payload(kind, type);
    if (payload !== undefined) return payload;
    throw new SpoolError(kind === 'command' ? 'UNKNOWN_COMMAND' : 'UNKNOWN_QUERY', `no bundle declares the ${kind} ${type}`);
  };
  const queryOf = (type: string): { readonly topic: string; readonly schemas: QuerySchemas } => {
    const query = known('query', type);
    const view = registry.payload('view', query.view ?? '');
    if (view === undefined) throw new SpoolError('UNKNOWN_QUERY', `the view of ${type} is not declared`);
    return { topic: query.topic, schemas: { request: query.recordSchema, view: view.recordSchema } };
  };
  const targetOf = (type: string) => {
    const { component, recordSchema } = known('command', type);
    const kind = registry.component(component)?.kind === 'service' ? ('service' as const) : ('aggregate' as const);
    return { target: { kind, name: component }, recordSchema };
  };
  return {
    request,
    send: (target, type, id, payload, sent = {}) => send(target, target.commands[type]!, type, id, payload, sent),
    async sendJson(type, id, payload, sent = {}) {
      const { target, recordSchema } = targetOf(type);
      return send(target, recordSchema, type, id, fromJson(recordSchema, payload), sent);
    },
    async postJson(type, id, payload, sent = {}) {
      const { target, recordSchema } = targetOf(type);
      // In flight until it is decided, as one whose caller waits: what nobody waits for is work for the owner all the same.
      return new Promise((resolve, reject) => {
        send(target, recordSchema, type, id, fromJson(recordSchema, payload), sent, resolve).catch(reject);
      });
    },
    ask: (projection, type, asked, askOptions = {}) =>
      ask(topics.queries(projection.name).name, projection.queries[type]!, type, asked, askOptions) as Promise<Answer<never>>,
    async askJson(type, asked, askOptions = {}) {
      const { topic, schemas } = queryOf(type);
      const answer = await ask(topic, schemas, type, fromJson(schemas.request, asked), askOptions);
      return { view: toJson(schemas.view, answer.view), position: answer.position };
    },
    subscribe: (projection, type, asked, options = {}) =>
      subscribe(topics.queries(projection.name).name, projection.queries[type]!, type, asked, options) as QuerySubscription<never>,
    subscribeJson(type, asked, options = {}) {
      const { topic, schemas } = queryOf(type);
      const view = (plain: unknown): unknown => toJson(schemas.view, plain);
      return subscribe(topic, schemas, type, fromJson(schemas.request, asked), options, view);
    },
  };
}

/** Where a command goes. One for a service that names no lock has a lane of its own, and its repetition meets the outcome there. */
export function addressOf(
  topics: TopicCatalogue,
  { kind, name }: Pick<CommandTarget, 'kind' | 'name'>,
  id: string | null,
  { commandId = randomUUID(), priority = 'normal' }: Pick<SendOptions, 'commandId' | 'priority'>,
) {
  if (kind === 'service') return { topic: topics.service(name, priority).name, key: id ?? commandId, commandId };
  if (id === null)
    throw new SpoolError('INVALID_REQUEST', `a command to ${name} needs the id of an aggregate`, {
      violations: [{ pointer: '/aggregateId', message: 'Expected the id of an aggregate' }],
    });
  return { topic: topics.commands(name).name, key: id, commandId };
}

/** What any request hands on. */
export const sharedMeta = ({ correlationId, causationId, traceparent, actor, context }: AskOptions): RequestMeta => ({
  correlationId,
  causationId,
  traceparent,
  actor,
  context,
});
/** What a command hands on. */
export const commandMeta = ({ correlationId, causationId, traceparent, actor, context, expectedVersion }: SendOptions): RequestMeta => ({
  correlationId,
  causationId,
  traceparent,
  actor,
  context,
  expectedVersion: expectedVersion === 'none' ? 0 : expectedVersion === 'any' ? undefined : expectedVersion,
});

/** @throws SpoolError what the reply refuses with */
export function toResult(reply: Reply, commandId: string, aggregateId: string): CommandResult {
  const { outcome, version, events, position } = reply;
  if (outcome !== 'applied' && outcome !== 'duplicate') throw refusal(reply);
  return { status: outcome, commandId, aggregateId, version: version ?? 0, events, position };
}

/** The error that a reply stands for. */
export function refusal({ outcome, problem, version }: Reply): SpoolError {
  const detail = problem?.detail ?? `the reply was ${outcome}`;
  const violations = problem?.violations ?? [];
  const facts = { ...(version === null ? {} : { actualVersion: version }), ...(problem === null ? {} : { reason: problem.code }) };
  switch (outcome) {
    case 'rejected':
      return new SpoolError('REJECTED', detail, { violations, facts });
    case 'conflict':
      return new SpoolError('VERSION_CONFLICT', detail, { violations, facts });
    case 'expired':
      return new SpoolError('EXPIRED', detail);
    case 'indeterminate':
      return new SpoolError('INDETERMINATE', detail);
    default:
      return refusedBy(codeOf(problem?.code), detail, violations);
  }
}

/** What may be tried again says when. */
const refusedBy = (code: ReturnType<typeof codeOf>, detail: string, violations: readonly Violation[]): SpoolError =>
  new SpoolError(code, detail, { violations, ...(code === 'UNAVAILABLE' || code === 'OVERLOADED' ? { retryAfterMs: 1000 } : {}) });

const failures = [
  'NOT_FOUND',
  'INVALID_PAYLOAD',
  'RECORD_UNREADABLE',
  'RECORD_TOO_LARGE',
  'UNAVAILABLE',
  'OVERLOADED',
  'UNKNOWN_QUERY',
  'INVALID_REQUEST',
  'IDEMPOTENCY_KEY_REUSED',
] as const;
const codeOf = (code: string | undefined) => failures.find((known) => known === code) ?? 'INTERNAL';
