import { SpoolError, toSpoolError, type Decoder, type Encoder, type ReadMeta } from '@spool/schemas';
import type { ConsumedRecord, Offset } from '@spool/streams';
import { afterHeader } from '../gateway/gateway.js';
import { fromSubscribeHeader, subscribeHeader } from '../gateway/subscription.js';
import { handled, type AskedHere, type Hosting } from '../host/hosting.js';
import { expired, expiry, problemOf, type Answered } from '../host/replying.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { fromToken, toToken } from '../position/token.js';
import type { ReadModel } from '../projector/read-model.js';
import type { QueryContext } from './projection.js';
import type { ResultCache } from './result-cache.js';
import type { Subscriptions } from './subscriptions.js';

/** A query, ready to be answered: by a projection, or by an aggregate that folds. */
export interface QueryHandler {
  readonly request: Decoder<unknown>;
  readonly view: Encoder<unknown>;
  /** @param tables of the read model; undefined where there is none */
  readonly answer: (request: never, tables: never, context: QueryContext) => unknown;
  readonly cache?: ResultCache;
}

export interface QueryHostOptions {
  readonly hosting: Hosting;
  readonly component: string;
  readonly componentKind: 'projection' | 'aggregate';
  readonly consumer: string;
  readonly topic: string;
  /** Subscriptions that it serves, for each context. @default 0 */
  readonly maxSubscriptions?: number;
}
/** What the queries of one context are answered with. */
export interface Answering {
  readonly handlers: ReadonlyMap<string, QueryHandler>;
  /** Answers reflect it, and wait for it; absent where answers depend on the request alone. */
  readonly model?: ReadModel;
  /** Resolves when there is something to answer from. @throws SpoolError UNAVAILABLE */
  readonly ready?: (deadline: number) => Promise<void>;
}
export type Served = QueryHostOptions & Answering;

/** What another context holds is not an answer. */
export const unbound = ({ component }: QueryHostOptions, contexts: ReadonlyMap<string, Answering>, context: string): SpoolError =>
  new SpoolError(
    'INVALID_REQUEST',
    `${component} answers in ${[...contexts.keys()].join(', ')}, and this query is of the context ${context}`,
  );

/** Answers, or says why not. */
export async function answerOne(
  options: Served,
  subscriptions: Subscriptions | undefined,
  record: ConsumedRecord,
  meta: ReadMeta,
  stopping: AbortSignal,
): Promise<void> {
  const { instance, replies } = options.hosting;
  const began = performance.now();
  const type = meta.type ?? '';
  const header = record.headers[subscribeHeader]?.toString();
  /** A subscription that was taken answers by itself. */
  const state = { repliesTo: meta, taken: false };
  const reply = async (): Promise<Answered> => {
    const now = instance.now();
    const subscription = header === undefined ? undefined : fromSubscribeHeader(header);
    if (subscription !== undefined) state.repliesTo = { ...meta, id: subscription.id };
    if (subscription !== undefined && subscriptions === undefined)
      throw new SpoolError('INVALID_REQUEST', `${options.component} takes no subscriptions: no instance holds all that it answers from`);
    if (expired(meta, now)) return { outcome: 'expired', problem: expiry(meta, now) };
    const after = record.headers[afterHeader]?.toString();
    const query = await prepare(options, { type, meta, value: record.value, after });
    if (subscriptions !== undefined && subscription !== undefined) {
      const pending = subscriptions.take(subscription, meta, (signal) => safely(options, type, () => evaluate(options, query, { signal })));
      state.taken = true;
      return pending;
    }
    const leftMs = (): number | undefined => (meta.deadline === undefined ? undefined : meta.deadline - instance.now());
    return evaluate(options, query, contextOf(stopping, leftMs));
  };
  if (header?.endsWith(';0') === true) return subscriptions?.end(fromSubscribeHeader(header).id);
  const answer = await safely(options, type, reply);
  if (!state.taken) replies.send(state.repliesTo, answer);
  emitAnswer(options, { type, meta, record, began }, answer);
}

/** As `answerOne`, and gives the answer to whoever calls. */
export async function answerHere(options: Served, asked: AskedHere, signal: AbortSignal): Promise<Answered> {
  const { type, meta } = asked;
  const { instance } = options.hosting;
  const began = performance.now();
  const answer = await safely(options, type, async () => {
    if (expired(meta, instance.now())) return { outcome: 'expired', problem: expiry(meta, instance.now()) };
    return evaluate(options, await prepare(options, asked), { signal });
  });
  emitAnswer(options, { type, meta, record: undefined, began }, answer);
  return answer;
}

function emitAnswer(
  { hosting, component, componentKind }: QueryHostOptions,
  { began, ...of }: Pick<AskedHere, 'type' | 'meta'> & { readonly record: ConsumedRecord | undefined; readonly began: number },
  { outcome, problem }: Answered,
): void {
  emitSpan(hosting.instance, {
    ...of,
    component,
    componentKind,
    messageKind: 'query',
    handleUs: microsSince(began),
    commitUs: 0,
    outcome,
    errorClass: outcome === 'expired' ? 'EXPIRED' : (problem?.code ?? null),
    replayId: null,
  });
}

interface Query {
  readonly type: string;
  readonly meta: ReadMeta;
  readonly handler: QueryHandler;
  /** The request as it came. */
  readonly key: Buffer;
  readonly request: unknown;
}

/** Waits until there is something to answer from, and for the position. @throws SpoolError UNKNOWN_QUERY, UNAVAILABLE, EXPIRED, RECORD_UNREADABLE */
async function prepare(
  { handlers, component, ready, model, hosting }: Served,
  { type, meta, value, after }: Omit<AskedHere, 'value'> & { readonly value: Buffer | null },
): Promise<Query> {
  const handler = handlers.get(type);
  if (handler === undefined || value === null) throw new SpoolError('UNKNOWN_QUERY', `${component} does not answer ${type}`);
  const deadline = meta.deadline ?? hosting.instance.now();
  await ready?.(deadline);
  if (after !== undefined) await model?.reach(fromToken(after), deadline);
  return { type, meta, handler, key: value, request: await handler.request.decode(value) };
}

async function evaluate(options: Served, { type, meta, handler, key, request }: Query, context: QueryContext): Promise<Answered> {
  const { model, hosting, component, componentKind: kind } = options;
  const find = (tables: never): unknown => {
    const answer = (): unknown => handler.answer(request as never, tables, context);
    return handled(hosting, { component, kind, messageKind: 'query', type, payload: request, meta }, () =>
      handler.cache === undefined ? answer() : handler.cache.answer(key, answer),
    );
  };
  const { positions, found: view } =
    model === undefined ? { positions: noPositions, found: await find(undefined as never) } : await model.read(find);
  if (view === undefined) throw new SpoolError('NOT_FOUND', `${type} found nothing for this request`);
  return { outcome: 'answered', view: handler.view.encode(view), position: toToken(positions) };
}

const noPositions: ReadonlyMap<string, Offset> = new Map();

/** What is thrown is an answer too. */
const safely = ({ hosting, component }: QueryHostOptions, type: string, answer: () => Promise<Answered>): Promise<Answered> =>
  answer().catch((thrown: unknown) => {
    const error = toSpoolError(thrown);
    if (error.code === 'INTERNAL') hosting.instance.log('error', 'a query failed', { component, type, error: error.message });
    return { outcome: error.code === 'EXPIRED' ? 'expired' : 'failed', problem: problemOf(error) };
  });

/** The signal is made when it is asked for, since few ask. */
function contextOf(stopping: AbortSignal, leftMs: () => number | undefined): QueryContext {
  let signal: AbortSignal | undefined;
  return {
    get signal() {
      if (signal !== undefined) return signal;
      const left = leftMs();
      return (signal = left === undefined ? stopping : AbortSignal.any([stopping, AbortSignal.timeout(Math.max(0, left))]));
    },
  };
}
