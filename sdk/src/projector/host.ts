import type { ReadModelCopy } from '@spool/schemas';
import { localWork, type ProcessorDefinition, type RunningProcessor, type StoreCheckpoint } from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { boundContexts } from '../context/context.js';
import type { QueryGateway } from '../gateway/messages.js';
import type { Hosting } from '../host/hosting.js';
import { copyConsumer } from '../registry/aliases.js';
import { openCopies } from './copies.js';
import { offsets, type Copy } from './copy.js';
import { projectorWork } from './handlers.js';
import type { Projector } from './projector.js';
import { localHome, type HomeRequest, type ReadModel } from './read-model.js';

export interface ProjectorHost {
  readonly model: ReadModel;
  readonly processor: Pick<RunningProcessor, 'status' | 'caughtUp'>;
  /** Before the instance closes. */
  readonly close?: () => Promise<void>;
}

/**
 * Runs a projector, once for each context that it is bound to.
 * @returns by context
 */
export async function hostProjector(
  hosting: Hosting,
  projector: Projector,
  gateway: Pick<QueryGateway, 'ask'>,
): Promise<ReadonlyMap<string, ProjectorHost>> {
  const hosts = new Map<string, ProjectorHost>();
  for (const bound of boundContexts(projector.contexts)) hosts.set(bound, await hostInContext(hosting, projector, bound, gateway));
  return hosts;
}

async function hostInContext(
  hosting: Hosting,
  projector: Projector,
  bound: string,
  gateway: Pick<QueryGateway, 'ask'>,
): Promise<ProjectorHost> {
  const { instance, aliases } = hosting;
  const consumer = consumerId(hosting.bundle.id, projector.name, projector.version, bound);
  const start = startCopy(hosting, projector, bound, gateway);
  // What is kept elsewhere has one copy.
  if (projector.home !== undefined) return start(consumer, () => undefined);
  return openCopies({
    ...{ instance, aliases, consumer, tables: projector.tables },
    start: (copy, silentFor) => start(copyConsumer(consumer, copy.id), silentFor, beginningOf(copy, instance.now())),
  });
}

function beginningOf({ replayId, starts, targets }: ReadModelCopy, startedAt: number): StoreCheckpoint | undefined {
  if (replayId === null) return undefined;
  const [from, to] = [offsets(starts), offsets(targets)];
  const state = [...to].every(([key, target]) => (from.get(key) ?? 0n) >= target) ? 'completed' : 'running';
  return { positions: from, epoch: -1n, replay: { id: replayId, state, starts: from, targets: to, startedAt, records: 0 } };
}

const startCopy =
  (hosting: Hosting, projector: Projector, bound: string, gateway: Pick<QueryGateway, 'ask'>) =>
  async (consumer: string, silentFor: () => string | undefined, begins?: StoreCheckpoint): Promise<Copy> => {
    const { instance } = hosting;
    const sources = projector.of.map(({ name }) => instance.topics.events(name));
    // Those whom it asks may start after it.
    const asked = projector.asks.map(({ name }) => instance.topics.queries(name));
    await instance.kafka.admin.ensureTopics([instance.topics.deadLetters(consumer), ...sources, ...asked]);
    const at: HomeRequest = {
      instance,
      consumer,
      projector,
      sources: sources.map(({ name }) => name),
      postgres: hosting.postgres,
      ...(begins === undefined ? {} : { begins }),
    };
    const home = await (projector.home ?? localHome)(at);
    const definition: ProcessorDefinition = {
      consumer,
      sources: sources.map(({ name }) => name),
      assignment: home.assignment,
      startAt: 'earliest',
      ...(hosting.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: hosting.sessionTimeoutMs }),
      ...(sources.length > 1 ? { order: 'time' } : {}),
      ...(home.close === undefined ? {} : { close: home.close }),
      async open(task) {
        const { store, tables } = await home.open(task);
        const { committed, ...handlers } = projectorWork({ hosting, projector, bound, gateway, tables, silentFor });
        return localWork({
          consumer,
          store,
          partitions: task.partitions,
          deadLetters: instance.producer,
          deadLetterTopic: instance.topics.deadLetters(consumer).name,
          owner: instance.id,
          kafka: instance.kafka,
          now: instance.now,
          ...handlers,
          onCommitted() {
            committed();
            home.committed();
          },
        });
      },
    };
    const processor = await instance.run(definition);
    return { model: home.model, processor };
  };
