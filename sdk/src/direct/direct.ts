import { randomUUID } from 'node:crypto';
import { fromJson, SpoolError, toJson, type Codec, type PayloadOf, type RecordSchema } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { addressOf, commandMeta, refusal, sharedMeta, toResult } from '../gateway/gateway.js';
import type { Answer, AskOptions, CommandResult, SendOptions } from '../gateway/messages.js';
import { newTraceparent } from '../host/traces.js';
import type { CommandTarget, QueryTarget } from '../messages.js';
import type { MessageOf, Payloads, Queries, QuerySchemas } from '../payloads.js';
import type { Registry } from '../registry/registry.js';
import type { Streams } from '../service/streaming.js';
import type { Call } from './call.js';
import type { Executor } from './executor.js';
import { metered, type Meter } from './meters.js';
import type { StreamOptions } from './stream.js';

/** Gives the call up. */
interface Given {
  readonly signal?: AbortSignal;
}

/** Commands and queries to other instances, without Kafka between the two. */
export interface Direct extends AsyncDisposable {
  /** As `send` of the gateway. @throws SpoolError also FORBIDDEN, UNAVAILABLE */
  send<C extends Payloads, K extends keyof C & string>(
    target: CommandTarget<string, C>,
    type: K,
    id: string | null,
    payload: PayloadOf<C[K]>,
    options?: SendOptions & Given,
  ): Promise<CommandResult>;
  sendJson(type: string, id: string | null, payload: unknown, options?: SendOptions & Given): Promise<CommandResult>;
  /** As `ask` of the gateway. @throws SpoolError also FORBIDDEN, UNAVAILABLE */
  ask<Q extends Queries, K extends keyof Q & string>(
    projection: QueryTarget<string, Q>,
    type: K,
    request: PayloadOf<Q[K]['request']>,
    options?: AskOptions & Given,
  ): Promise<Answer<PayloadOf<Q[K]['view']>>>;
  askJson(type: string, request: unknown, options?: AskOptions & Given): Promise<Answer>;
  /**
   * Sends a command that is answered with events as they come, each once and in order, also over a connection that breaks. Iterate over it; no more is
   * made than is taken. It ends with `break`, its signal, or the last event.
   * @throws SpoolError while it iterates: what the handler throws, and UNAVAILABLE, OVERLOADED, FORBIDDEN; INDETERMINATE where it cannot go on
   */
  stream<S extends Streams, K extends keyof S & string>(
    target: { readonly kind: 'service'; readonly name: string; readonly streams: S },
    type: K,
    payload: PayloadOf<S[K]['command']>,
    options?: DirectStreamOptions,
  ): AsyncGenerator<MessageOf<S[K]['events']>, undefined>;
  /** By the type of the command or query. */
  meters(): ReadonlyMap<string, Meter>;
  close(): Promise<void>;
}

export interface DirectStreamOptions
  extends Pick<SendOptions, 'commandId' | 'correlationId' | 'causationId' | 'traceparent' | 'actor' | 'context'>, StreamOptions {}

export interface DirectOptions {
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly registry: Registry;
  readonly transport: Pick<Executor, 'call' | 'stream' | 'close'>;
}

const defaultTimeoutMs = 10_000;

/** What a program says, over any transport of calls. */
export function createDirect({ codec, topics, registry, transport }: DirectOptions): Direct {
  const calls = metered(transport);
  const send = async (
    target: Pick<CommandTarget, 'kind' | 'name'>,
    schema: RecordSchema<unknown>,
    type: string,
    to: string | null,
    payload: unknown,
    { signal, ...sent }: SendOptions & Given,
  ): Promise<CommandResult> => {
    // The id is made once, and not for each try.
    const { topic, key, commandId } = addressOf(topics, target, to, sent);
    const value = (await codec.encoder(topic, schema)).encode(payload);
    const { timeoutMs = defaultTimeoutMs, refuseReuse, priority } = sent;
    const meta = { ...commandMeta(sent), traceparent: sent.traceparent ?? newTraceparent() };
    const call: Call = { kind: 'command', id: commandId, type, key, value, timeoutMs, meta, refuseReuse, priority };
    return toResult(await calls.call(call, signal), commandId, key);
  };
  const ask = async (topic: string, query: QuerySchemas, type: string, request: unknown, { signal, ...asked }: AskOptions & Given) => {
    const value = (await codec.encoder(topic, query.request)).encode(request);
    const { timeoutMs = defaultTimeoutMs, after } = asked;
    const meta = { ...sharedMeta(asked), traceparent: asked.traceparent ?? newTraceparent() };
    const reply = await calls.call({ kind: 'query', id: randomUUID(), type, key: null, value, timeoutMs, meta, after }, signal);
    if (reply.outcome !== 'answered' || reply.view === null) throw refusal(reply);
    return { view: await codec.decoder(query.view).decode(reply.view), position: reply.position };
  };
  async function* stream(
    { name, streams }: { readonly name: string; readonly streams: Streams },
    type: string,
    payload: unknown,
    sent: DirectStreamOptions,
  ): AsyncGenerator<{ readonly type: string; readonly data: unknown }, undefined> {
    const { command, events } = streams[type]!;
    const { topic, commandId } = addressOf(topics, { kind: 'service', name }, null, sent);
    const value = (await codec.encoder(topic, command)).encode(payload);
    const meta = { ...sharedMeta(sent), traceparent: sent.traceparent ?? newTraceparent() };
    const call = { id: commandId, type, value, meta, events: Object.keys(events) };
    for await (const element of calls.stream(call, sent)) {
      const schema = events[element.type];
      if (schema === undefined) throw new SpoolError('EVENT_UNKNOWN', `${type} is not answered with ${element.type}`);
      yield { type: element.type, data: await codec.decoder(schema).decode(Buffer.from(element.value)) };
    }
    return undefined;
  }
  return {
    send: (target, type, id, payload, sent = {}) => send(target, target.commands[type]!, type, id, payload, sent),
    async sendJson(type, id, payload, sent = {}) {
      const known = registry.payload('command', type);
      if (known === undefined) throw new SpoolError('UNKNOWN_COMMAND', `no bundle declares the command ${type}`);
      const kind = registry.component(known.component)?.kind === 'service' ? 'service' : 'aggregate';
      return send({ kind, name: known.component }, known.recordSchema, type, id, fromJson(known.recordSchema, payload), sent);
    },
    ask: (projection, type, request, asked = {}) =>
      ask(topics.queries(projection.name).name, projection.queries[type]!, type, request, asked) as Promise<Answer<never>>,
    async askJson(type, request, asked = {}) {
      const known = registry.payload('query', type);
      const view = registry.payload('view', known?.view ?? '');
      if (known === undefined || view === undefined) throw new SpoolError('UNKNOWN_QUERY', `no bundle declares the query ${type}`);
      const schemas = { request: known.recordSchema, view: view.recordSchema };
      const answer = await ask(known.topic, schemas, type, fromJson(schemas.request, request), asked);
      return { view: toJson(schemas.view, answer.view), position: answer.position };
    },
    stream: (target, type, payload, sent = {}) => stream(target, type, payload, sent) as AsyncGenerator<never, undefined>,
    meters: calls.meters,
    close: () => transport.close(),
    [Symbol.asyncDispose]: () => transport.close(),
  };
}
