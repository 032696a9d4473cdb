import { localWork, offset, partitionKey, type Offset, type ProcessorDefinition, type RunningProcessor, type Store } from '@spool/streams';
import { SpoolError } from '@spool/schemas';
import { consumerId } from '../bundle/descriptor.js';
import { boundContexts } from '../context/context.js';
import type { QueryGateway } from '../gateway/messages.js';
import type { Hosting } from '../host/hosting.js';
import { reached } from '../position/token.js';
import { projectorWork } from './handlers.js';
import type { Projector } from './projector.js';

/** The read model of a projector, as the projections of this process read it. */
export interface ReadModel {
  readonly store: Store;
  /** The position that the rows reflect. */
  readonly positions: ReadonlyMap<string, Offset>;
  /** Resolves when the rows reflect the position. @throws SpoolError EXPIRED at the deadline (milliseconds since the epoch). */
  reach(position: ReadonlyMap<string, Offset>, deadline: number): Promise<void>;
  /** Called after each commit of the rows. @returns forgets the listener */
  onCommit(listener: () => void): () => void;
}

export interface ProjectorHost {
  readonly model: ReadModel;
  readonly processor: RunningProcessor;
}

/**
 * Runs a projector, once for each context that it is bound to: every instance reads all partitions and holds the whole read model in a store of its own.
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
  const { instance } = hosting;
  const consumer = consumerId(hosting.bundle.id, projector.name, projector.version, bound);
  const sources = projector.of.map(({ name }) => instance.topics.events(name));
  await instance.kafka.admin.ensureTopics([instance.topics.deadLetters(consumer), ...sources]);
  let store: Store | undefined;
  /** Its partitions, at their beginnings. */
  let unread: ReadonlyMap<string, Offset> = new Map();
  const waiting = new Set<() => void>();
  const { committed, ...handlers } = projectorWork(hosting, projector, bound, gateway);
  const definition: ProcessorDefinition = {
    consumer,
    sources: sources.map(({ name }) => name),
    assignment: 'all',
    startAt: 'earliest',
    ...(sources.length > 1 ? { order: 'time' } : {}),
    open(task) {
      const opened = instance.openStore(consumer, task.id, String(projector.version));
      store = opened;
      unread = new Map(task.partitions.map((at) => [partitionKey(at), offset(0)]));
      const work = localWork({
        consumer,
        store: opened,
        deadLetters: instance.producer,
        deadLetterTopic: instance.topics.deadLetters(consumer).name,
        owner: instance.id,
        kafka: instance.kafka,
        now: instance.now,
        ...handlers,
        onCommitted() {
          committed();
          for (const check of waiting) check();
        },
      });
      return Promise.resolve(work);
    },
  };
  const processor = await instance.run(definition);
  const model: ReadModel = {
    get store() {
      return store!;
    },
    get positions() {
      return store?.checkpoint.positions ?? new Map<string, Offset>();
    },
    reach(position, deadline) {
      const there = (): boolean => reached(new Map([...unread, ...model.positions]), position);
      return reach(there, waiting, deadline - instance.now());
    },
    onCommit(listener) {
      waiting.add(listener);
      return () => void waiting.delete(listener);
    },
  };
  return { model, processor };
}

function reach(there: () => boolean, waiting: Set<() => void>, leftMs: number): Promise<void> {
  if (there()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const check = (): void => {
      if (!there()) return;
      clearTimeout(timer);
      waiting.delete(check);
      resolve();
    };
    const timer = setTimeout(
      () => {
        waiting.delete(check);
        reject(new SpoolError('EXPIRED', 'the read model did not reach the position in time'));
      },
      Math.max(0, leftMs),
    );
    waiting.add(check);
  });
}
