import { readMeta, SpoolError } from '@spool/schemas';
import { offsetWork, partitionOf, type RunningProcessor } from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { defaultContext } from '../context/context.js';
import type { AskedHere, Hosting } from '../host/hosting.js';
import type { Answered } from '../host/replying.js';
import type { ReadModel } from '../projector/read-model.js';
import { answerHere, answerOne, unbound, type Answering, type QueryHandler, type QueryHostOptions, type Served } from './answering.js';
import { hostOwnerQueries } from './owner-queries.js';
import type { Projection } from './projection.js';
import { createResultCache } from './result-cache.js';
import { openSubscriptions } from './subscriptions.js';

/**
 * Answers the queries on one topic; any instance of the group may answer any of them.
 * @param contexts by context, or `all` for whatever context a query has
 */
export function hostQueries(options: QueryHostOptions, contexts: ReadonlyMap<string, Answering>): Promise<RunningProcessor> {
  const { maxSubscriptions: limit = 0 } = options;
  const { instance, replies } = options.hosting;
  const served = new Map(
    [...contexts].map(([bound, part]) => {
      const { model } = part;
      return [bound, { ...options, ...part, subscriptions: model && openSubscriptions({ model, replies, limit }) }];
    }),
  );
  /** Refuses: what another context holds is not an answer. */
  const refusing = (context: string): Served => {
    const why = unbound(options, contexts, context);
    return { ...options, ...contexts.values().next().value!, ready: () => Promise.reject(why) };
  };
  return instance.run({
    consumer: options.consumer,
    sources: [options.topic],
    assignment: 'group',
    // A query may come before the group has shared its partitions; what is older than it waits for has a deadline that is over.
    startAt: 'earliest',
    open: (task) =>
      offsetWork({
        consumer: options.consumer,
        kafka: instance.kafka,
        task,
        now: instance.now,
        handle(record, stopping) {
          const meta = readMeta(record.headers);
          const { context = defaultContext } = meta;
          const part = served.get('all') ?? served.get(context);
          return answerOne(part ?? refusing(context), part?.subscriptions, record, meta, stopping);
        },
      }),
    async close() {
      for (const { subscriptions } of served.values()) await subscriptions?.close();
    },
  });
}

/** A read model of one context. */
export interface ProjectedModel {
  readonly model: ReadModel;
  /** Resolves when it is built. @throws SpoolError UNAVAILABLE */
  readonly ready: (deadline: number) => Promise<void>;
}

/** @param models of its projector, by context: a query is answered from that of its own */
export async function hostProjection(
  hosting: Hosting,
  projection: Projection,
  models: ReadonlyMap<string, ProjectedModel>,
): Promise<{ close(): Promise<void> }> {
  const { instance, bundle } = hosting;
  const topic = instance.topics.queries(projection.name).name;
  const contexts = new Map<string, Answering>();
  for (const [bound, { model, ready }] of models) {
    const handlers = new Map<string, QueryHandler>();
    for (const [type, { request, view }] of Object.entries(projection.queries)) {
      const answer = projection.answer[type]!;
      handlers.set(type, {
        request: instance.codec.decoder(request),
        view: await instance.codec.encoder(topic, view),
        answer,
        ...(projection.cache === undefined ? {} : { cache: createResultCache(model, projection.cache) }),
      });
    }
    contexts.set(bound, { handlers, model, ready });
  }
  const consumer = consumerId(bundle.id, projection.name, 1);
  const { name: component, maxSubscriptions } = projection;
  const options = { hosting, component, componentKind: 'projection', consumer, topic, maxSubscriptions } as const;
  const { keys } = projection;
  const here = (partOf: (asked: AskedHere, part: Answering) => Answering | Promise<Answering>): void => {
    const answer = async (asked: AskedHere, signal: AbortSignal): Promise<Answered> => {
      const { context = defaultContext } = asked.meta;
      const part = contexts.get('all') ?? contexts.get(context);
      if (part === undefined) throw unbound(options, contexts, context);
      return answerHere({ ...options, ...(await partOf(asked, part)) }, asked, signal);
    };
    for (const type of Object.keys(projection.queries)) hosting.here.queries.set(type, answer);
  };
  if (keys === undefined) {
    here((_, part) => part);
    return hostQueries(options, contexts);
  }
  const [events] = projection.reads.of;
  const partitions = (await instance.kafka.admin.offsets(instance.topics.events(events!.name).name)).length;
  const keyFor = async (type: string, value: Buffer): Promise<string> => {
    const handler = contexts.values().next().value!.handlers.get(type);
    const keyOf = keys[type];
    if (handler === undefined || keyOf === undefined) throw new SpoolError('UNKNOWN_QUERY', `${component} does not answer ${type}`);
    return keyOf((await handler.request.decode(value)) as never);
  };
  here(async ({ type, value }, part) => {
    const model = part.model?.parts?.of(partitionOf(await keyFor(type, value), partitions));
    if (model !== undefined) return { handlers: part.handlers, model };
    throw new SpoolError('UNAVAILABLE', `this instance does not own what ${component} answers ${type} from`, { retryAfterMs: 1000 });
  });
  return hostOwnerQueries(options, contexts, partitions, keyFor);
}
