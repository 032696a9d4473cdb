import { FoldReplySchema, FoldRequestSchema, SpoolError, type FoldReply, type FoldRequest } from '@spool/schemas';
import type { Instance, RunningProcessor } from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import type { Hosting } from '../host/hosting.js';
import type { QueryHandler } from '../projection/answering.js';
import { hostQueries } from '../projection/host.js';
import type { Aggregate } from './aggregate.js';

/**
 * The query that every aggregate answers: its `evolve` over events that the caller brings. It makes time travel possible without an owner. A state
 * that another version of the code has folded is not taken: the answer is then without one.
 */
export const foldQuery = 'spool.Fold';

/** Answers `spool.Fold` on the aggregate's query topic. */
export async function hostFold(hosting: Hosting, aggregate: Aggregate): Promise<RunningProcessor> {
  const { instance, bundle } = hosting;
  const topic = instance.topics.queries(aggregate.name).name;
  const fold: QueryHandler = {
    request: instance.codec.decoder(FoldRequestSchema),
    view: await instance.codec.encoder(topic, FoldReplySchema),
    answer: (request: FoldRequest) => foldEvents(instance, aggregate, request),
  };
  const consumer = consumerId(bundle.id, `${aggregate.name}-queries`, 1);
  const handlers = new Map([[foldQuery, fold]]);
  return hostQueries({ hosting, component: aggregate.name, componentKind: 'aggregate', consumer, topic }, new Map([['all', { handlers }]]));
}

/** Of the wanted states in one reply: the fold ends behind the one that goes beyond it, so that Kafka takes the reply. */
const maxStatesBytes = 200_000;

async function foldEvents({ codec }: Instance, aggregate: Aggregate, request: FoldRequest): Promise<FoldReply> {
  const { aggregateId } = request;
  const { codeVersion } = aggregate;
  const deletes = [...aggregate.deletes];
  if (request.state !== null && request.codeVersion !== codeVersion) return { state: null, version: 0, codeVersion, deletes, states: [] };
  let state: unknown = request.state === null ? aggregate.initial() : (JSON.parse(request.state) as unknown);
  let { version } = request;
  const wanted = new Set(request.statesAt);
  const states: string[] = [];
  let bytes = 0;
  for (const event of request.events) {
    if (wanted.has(version)) {
      const text = JSON.stringify(state);
      bytes += Buffer.byteLength(text);
      if (bytes > maxStatesBytes) break;
      states.push(text);
    }
    if (event.version !== version + 1) {
      throw new SpoolError('INVALID_REQUEST', `${aggregateId}: event of version ${event.version} cannot follow version ${version}`);
    }
    version = event.version;
    const schema = aggregate.events[event.type];
    if (schema !== undefined) {
      const data = await codec.decoder(schema).decode(event.payload);
      state = aggregate.evolve(event.type, state, data, { aggregateId, version, at: event.at });
    }
  }
  return { state: JSON.stringify(state), version, codeVersion, deletes, states };
}
