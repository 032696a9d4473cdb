import { hrtime } from 'node:process';
import {
  localWork,
  type ConsumedRecord,
  type Instance,
  type Offset,
  type ProcessorDefinition,
  type RunningProcessor,
  type Store,
} from '@spool/streams';
import { SpoolError } from '@spool/schemas';
import { eventContext, eventReader, type ReadEvent } from '../event/reader.js';
import { consumerId } from '../bundle/descriptor.js';
import { handled, type Hosting } from '../host/hosting.js';
import { emitSpan } from '../host/spans.js';
import { reached } from '../position/token.js';
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

/** Runs a projector: every instance reads all partitions and holds the whole read model in a store of its own. */
export async function hostProjector(hosting: Hosting, projector: Projector): Promise<ProjectorHost> {
  const { instance } = hosting;
  const consumer = consumerId(hosting.bundle.id, projector.name, projector.version);
  const events = instance.topics.events(projector.of.name).name;
  await instance.kafka.admin.ensureTopics([instance.topics.deadLetters(consumer)]);
  let store: Store | undefined;
  const waiting = new Set<() => void>();
  const read = eventReader(projector.of, instance.codec);
  const definition: ProcessorDefinition = {
    consumer,
    sources: [events],
    assignment: 'all',
    startAt: 'earliest',
    open(task) {
      const opened = instance.openStore(consumer, task.id, String(projector.version));
      store = opened;
      const timings = new Map<ConsumedRecord, { event: ReadEvent; handleUs: number; replayId: string | undefined }>();
      let began = 0n;
      const work = localWork({
        consumer,
        store: opened,
        deadLetters: instance.producer,
        deadLetterTopic: instance.topics.deadLetters(consumer).name,
        owner: instance.id,
        kafka: instance.kafka,
        now: instance.now,
        handle(record, context) {
          began = hrtime.bigint();
          const tables = Object.fromEntries(projector.tables.map((name) => [name, context.table(name)]));
          const apply = (event: ReadEvent | undefined): void | Promise<void> => {
            if (event === undefined) return undefined;
            const handler = projector.handlers[event.type];
            if (handler === undefined || event.data === undefined) return undefined;
            const start = began;
            const done = (): void => {
              timings.set(record, { event, handleUs: Number((hrtime.bigint() - start) / 1000n), replayId: context.replayId });
            };
            const { type, data, meta } = event;
            const message = { component: projector.name, kind: 'projector', messageKind: 'event', type, payload: data, meta } as const;
            const pending = handled(hosting, message, () => handler(data as never, tables as never, eventContext(event, context.replayId)));
            return pending === undefined ? done() : pending.then(done);
          };
          const event = read(record);
          return event instanceof Promise ? event.then(apply) : apply(event);
        },
        onCommitted() {
          for (const [record, { event, handleUs, replayId }] of timings) {
            // A replay handles what has its span already; it shows in the progress of the replay instead.
            if (replayId === undefined) span(instance, projector, record, event, handleUs);
          }
          timings.clear();
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
    reach: (position, deadline) => reach(model, waiting, position, deadline - instance.now()),
    onCommit(listener) {
      waiting.add(listener);
      return () => void waiting.delete(listener);
    },
  };
  return { model, processor };
}

function reach(model: ReadModel, waiting: Set<() => void>, position: ReadonlyMap<string, Offset>, leftMs: number): Promise<void> {
  if (reached(model.positions, position)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const check = (): void => {
      if (!reached(model.positions, position)) return;
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

function span(instance: Instance, projector: Projector, record: ConsumedRecord, event: ReadEvent, handleUs: number): void {
  const { type, meta } = event;
  emitSpan(instance, {
    component: projector.name,
    componentKind: 'projector',
    messageKind: 'event',
    type,
    record,
    meta,
    handleUs,
    commitUs: 0,
    outcome: null,
    errorClass: null,
    replayId: null,
  });
}
