import { hrtime } from 'node:process';
import { readMeta, SpoolError, toSpoolError, type Decoder, type Encoder, type Reply } from '@spool/schemas';
import { offsetWork, type ConsumedRecord, type ReadonlyTable, type RunningProcessor } from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { afterHeader } from '../gateway/gateway.js';
import { handled, type Hosting } from '../host/hosting.js';
import { expired, expiry, problemOf } from '../host/replying.js';
import { emitSpan } from '../host/spans.js';
import { fromToken, toToken } from '../position/token.js';
import type { ReadModel } from '../projector/host.js';
import type { Projection } from './projection.js';

/** A query, ready to be answered: by a projection, or by an aggregate that folds. */
export interface QueryHandler {
  readonly request: Decoder<unknown>;
  readonly view: Encoder<unknown>;
  readonly answer: (request: never) => unknown;
}

export interface QueryHostOptions {
  readonly hosting: Hosting;
  readonly component: string;
  readonly componentKind: 'projection' | 'aggregate';
  readonly consumer: string;
  readonly topic: string;
  readonly handlers: ReadonlyMap<string, QueryHandler>;
  /** Answers reflect it, and wait for it; absent where answers depend on the request alone. */
  readonly model?: ReadModel;
}

/** Answers the queries on one topic; any instance of the group may answer any of them. */
export function hostQueries(options: QueryHostOptions): Promise<RunningProcessor> {
  const { instance } = options.hosting;
  return instance.run({
    consumer: options.consumer,
    sources: [options.topic],
    assignment: 'group',
    startAt: 'latest',
    open: (task) =>
      offsetWork({
        consumer: options.consumer,
        kafka: instance.kafka,
        task,
        now: instance.now,
        handle: (record) => answerOne(options, record),
      }),
  });
}

async function answerOne(options: QueryHostOptions, record: ConsumedRecord): Promise<void> {
  const { model, hosting } = options;
  const { instance, replies } = hosting;
  const began = hrtime.bigint();
  const meta = readMeta(record.headers);
  const type = meta.type ?? '';
  const reply = async (): Promise<Partial<Reply> & Pick<Reply, 'outcome'>> => {
    const now = instance.now();
    if (expired(meta, now)) return { outcome: 'expired', problem: expiry(meta, now) };
    const handler = options.handlers.get(type);
    if (handler === undefined || record.value === null) {
      throw new SpoolError('UNKNOWN_QUERY', `${options.component} does not answer ${type}`);
    }
    const after = record.headers[afterHeader]?.toString();
    if (after !== undefined) await model?.reach(fromToken(after), meta.deadline ?? now);
    const request = await handler.request.decode(record.value);
    // The position is taken first: rows may be newer than it says, never older.
    const position = model === undefined ? '' : toToken(model.positions);
    const { component, componentKind: kind } = options;
    const view = await handled(hosting, { component, kind, messageKind: 'query', type, payload: request, meta }, () =>
      handler.answer(request as never),
    );
    if (view === undefined) throw new SpoolError('NOT_FOUND', `${type} found nothing for this request`);
    return { outcome: 'answered', view: handler.view.encode(view), position };
  };
  let errorClass: string | null = null;
  const answer = await reply().catch((thrown: unknown): Partial<Reply> & Pick<Reply, 'outcome'> => {
    const error = toSpoolError(thrown);
    errorClass = error.code;
    if (error.code === 'INTERNAL') instance.log('error', 'a query failed', { component: options.component, type, error: error.message });
    return { outcome: error.code === 'EXPIRED' ? 'expired' : 'failed', problem: problemOf(error) };
  });
  replies.send(meta, answer);
  emitSpan(instance, {
    component: options.component,
    componentKind: options.componentKind,
    messageKind: 'query',
    type,
    record,
    meta,
    handleUs: Number((hrtime.bigint() - began) / 1000n),
    commitUs: 0,
    outcome: answer.outcome,
    errorClass: answer.outcome === 'expired' ? 'EXPIRED' : errorClass,
    replayId: null,
  });
}

export async function hostProjection(hosting: Hosting, projection: Projection, model: ReadModel): Promise<RunningProcessor> {
  const { instance, bundle } = hosting;
  const topic = instance.topics.queries(projection.name).name;
  const handlers = new Map<string, QueryHandler>();
  const tables = Object.fromEntries(projection.reads.tables.map((name) => [name, readonlyTable(model, name)]));
  for (const [type, { request, view }] of Object.entries(projection.queries)) {
    const answer = projection.answer[type]!;
    handlers.set(type, {
      request: instance.codec.decoder(request),
      view: await instance.codec.encoder(topic, view),
      answer: (asked) => answer(asked, tables as never),
    });
  }
  const consumer = consumerId(bundle.id, projection.name, 1);
  return hostQueries({ hosting, component: projection.name, componentKind: 'projection', consumer, topic, handlers, model });
}

/** Reads what is committed; what a group under way has staged is not seen. */
const readonlyTable = (model: ReadModel, name: string): ReadonlyTable<unknown> => ({
  get: (key) => model.store.get(name, key),
  range: (options) => model.store.range(name, options),
});
