import { toSpoolError } from '@spool/schemas';
import { offsetWork, type ConsumedRecord, type ProcessorDefinition, type RunningProcessor } from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { boundContexts } from '../context/context.js';
import { eventContext, eventReader, type ReadEvent } from '../event/reader.js';
import { declaredCommands, declaredQueries } from '../gateway/declared.js';
import type { Gateway } from '../gateway/messages.js';
import { firer } from '../host/bundle-events.js';
import { caused, handled, type Hosting } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import type { Observer, ObserverContext } from './observer.js';

/** Runs an observer, once for each context that it is bound to. @param gateway whose messages say that they are from it */
export async function hostObserver(hosting: Hosting, observer: Observer, gateway: Gateway): Promise<readonly RunningProcessor[]> {
  const { instance } = hosting;
  const running: RunningProcessor[] = [];
  for (const context of boundContexts(observer.contexts)) {
    const definition = define(hosting, observer, gateway, context);
    const sources = observer.of.map(({ name }) => instance.topics.events(name));
    await instance.kafka.admin.ensureTopics([instance.topics.deadLetters(definition.consumer), ...sources]);
    running.push(await instance.run(definition));
  }
  return running;
}

function define(hosting: Hosting, observer: Observer, gateway: Gateway, context: string): ProcessorDefinition {
  const { instance, bundle } = hosting;
  const { topics, kafka, now } = instance;
  const consumer = consumerId(bundle.id, observer.name, 1, context);
  const read = eventReader(observer.of, instance.codec, topics, { unknown: observer.unknown, bound: context });
  const { name, handlers } = observer;

  const observe = async (record: ConsumedRecord, event: ReadEvent, signal: AbortSignal): Promise<void> => {
    const { type, data, meta } = event;
    const handler = handlers[type];
    if (handler === undefined || data === undefined) return;
    const began = performance.now();
    const span = (errorClass: string | null): void =>
      emitSpan(instance, {
        component: name,
        componentKind: 'observer',
        messageKind: 'event',
        type,
        record,
        meta,
        handleUs: microsSince(began),
        commitUs: 0,
        outcome: null,
        errorClass,
        replayId: null,
      });
    const given = contextOf(hosting, observer, gateway, event, signal);
    try {
      const message = { component: name, kind: 'observer', messageKind: 'event', type, payload: data, meta } as const;
      await handled(hosting, message, () => handler(data as never, given as never));
    } catch (thrown) {
      span(toSpoolError(thrown).code);
      throw thrown;
    }
    span(null);
  };
  return {
    consumer,
    sources: observer.of.map((source) => topics.events(source.name).name),
    assignment: 'group',
    startAt: observer.startAt,
    open: (task) =>
      offsetWork({
        consumer,
        kafka,
        task,
        deadLetters: instance.producer,
        deadLetterTopic: topics.deadLetters(consumer).name,
        now,
        concurrency: observer.concurrency,
        pinned: observer.startAt === 'latest',
        async handle(record, signal) {
          const event = await read(record);
          if (event !== undefined) await observe(record, event, signal);
        },
      }),
  };
}

function contextOf(
  { instance, events }: Hosting,
  observer: Observer,
  gateway: Gateway,
  event: ReadEvent,
  signal: AbortSignal,
): ObserverContext {
  const { meta } = event;
  const { id = '' } = meta;
  let sent = 0;
  return {
    ...eventContext(event),
    commands: declaredCommands(gateway, observer.name, observer.sends, (options) =>
      caused(meta, { commandId: `${id}/${observer.name}/${sent++}`, ...options }),
    ),
    events: firer(events, `${id}/${observer.name}`, {
      causationId: id,
      ...(meta.correlationId === undefined ? {} : { correlationId: meta.correlationId }),
    }),
    queries: declaredQueries(gateway, observer.name, observer.asks, (options) => caused(meta, options)),
    now: instance.now(),
    signal,
    log: (message, fields) => instance.log('info', message, { observer: observer.name, eventId: id, ...fields }),
  };
}
