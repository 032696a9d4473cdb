import {
  checkpointCodec,
  createSharedWriter,
  partitionKey,
  transactionalWork,
  writeBehind,
  type Offset,
  type ProcessorDefinition,
  type ProducerRecord,
  type TaskContext,
  type TaskWork,
} from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { eventContext, eventReader, type ReadEvent } from '../event/reader.js';
import type { Hosting } from '../host/hosting.js';
import type { EventContext } from '../projector/projector.js';
import type { Saga } from './saga.js';

/** On a forwarded event: where it stood before, and its key there. */
export const originHeaders = { topic: 'source-topic', partition: 'source-partition', offset: 'source-offset', key: 'source-key' } as const;

/** The ids of the instances that an event concerns, each once. */
export function instancesOf(saga: Saga, type: string, data: unknown, context: EventContext): readonly string[] {
  const ids = saga.on[type]?.by(...([data, context] as never[])) as string | readonly string[] | undefined;
  return ids === undefined ? [] : [...new Set([ids].flat())];
}

/**
 * The processor that brings the events of one context to a saga: to its own topic, keyed by instance, so that everything that an instance has to
 * react to stands in one order.
 */
export function sagaRouter(hosting: Hosting, saga: Saga, bound: string, heads: ReadonlyMap<string, Offset>): ProcessorDefinition {
  const { instance } = hosting;
  const { kafka, codec, topics, now, log } = instance;
  const consumer = consumerId(hosting.bundle.id, saga.name, 1, bound);
  const inbox = topics.saga(saga.name).name;
  const changelog = topics.changelog(consumer, 1).name;
  const read = eventReader(saga.of, codec, topics, { unknown: saga.unknown, bound });
  const writer = hosting.transactions !== 'partition' ? createSharedWriter({ kafka, prefix: `${consumer}/${instance.id}` }) : undefined;
  const onError = (error: unknown): void => log('error', 'the store cannot be written', { consumer, error: String(error) });

  const forward = (record: Parameters<typeof read>[0], event: ReadEvent, tx: TaskContext): void => {
    const headers: ProducerRecord['headers'] = {
      ...record.headers,
      [originHeaders.topic]: record.topic,
      [originHeaders.partition]: String(record.partition),
      [originHeaders.offset]: record.offset.toString(),
      [originHeaders.key]: event.aggregateId,
    };
    for (const key of instancesOf(saga, event.type, event.data, eventContext(event)))
      tx.emit({ topic: inbox, key, value: record.value, headers });
  };
  return {
    consumer,
    sources: saga.of.map(({ name }) => topics.events(name).name),
    assignment: 'group',
    startAt: 'earliest',
    order: 'time',
    fixed: fixedText(saga),
    ...(hosting.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: hosting.sessionTimeoutMs }),
    async open(task) {
      const work = await transactionalWork({
        kafka,
        consumer,
        deadLetterTopic: topics.deadLetters(consumer).name,
        task: task.id,
        generation: task.assignment?.generation ?? 0,
        now,
        store: writeBehind(instance.openStore(consumer, task.id), { onError }),
        changelog: { topic: changelog, partition: Number(task.id) },
        ...(await checkpointCodec(instance, changelog)),
        signal: task.signal,
        handle(record, tx) {
          const go = (event: ReadEvent | undefined): void | Promise<void> => {
            if (event?.data !== undefined && saga.on[event.type] !== undefined) forward(record, event, tx);
          };
          const event = read(record);
          return event instanceof Promise ? event.then(go) : go(event);
        },
        ...(writer === undefined ? {} : { writer }),
      });
      const missing = task.partitions.filter((at) => !work.positions.has(partitionKey(at)) && heads.has(partitionKey(at)));
      const starts = saga.startAt === 'latest' ? new Map(missing.map((at) => [partitionKey(at), heads.get(partitionKey(at))!])) : new Map();
      // In the log at once: after a restart it goes on here, whatever came meanwhile.
      if (starts.size > 0) await work.seek!({ epoch: work.epoch, starts, reset: false });
      return Object.assign(Object.create(work) as TaskWork, { positions: new Map([...work.positions, ...starts]) });
    },
    ...(writer === undefined ? {} : { close: () => writer.close() }),
  };
}

export const fixedText = ({ name }: Saga): string =>
  `${name} is a saga and reacts to each event once: its position is not moved by orders, as it would send its commands again`;
