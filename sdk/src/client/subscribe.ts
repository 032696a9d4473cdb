import { readMeta, type Codec } from '@spool/schemas';
import {
  backOffMs,
  offset,
  partitionKey,
  type ConsumedRecord,
  type Kafka,
  type Log,
  type Offset,
  type TopicCatalogue,
} from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import { boundContexts, inContext, type ContextOptions } from '../context/context.js';
import { eventReader } from '../event/reader.js';
import type { EventSource } from '../messages.js';
import type { MessageOf, Payloads } from '../payloads.js';
import { fromToken, toToken, type PositionToken } from '../position/token.js';

export interface SubscribeOptions extends ContextOptions {
  /**
   * `after`: from where an event's `position`, or that of a command, has come to; a partition that the position does not name is read from its
   * beginning. `timestamp` (milliseconds) goes by the clocks of the writers. @default 'latest'
   */
  readonly from?: 'earliest' | 'latest' | { readonly after: PositionToken } | { readonly timestamp: number };
  /** Events of other types are passed over. @default all */
  readonly types?: readonly string[];
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/** What goes with an event. */
export interface EventEnvelope {
  readonly id: string;
  readonly source: string;
  readonly aggregateId: string;
  readonly version: number;
  /** When it was decided, in milliseconds since the epoch. */
  readonly at: number;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
  /** Resume after this event with it. */
  readonly position: PositionToken;
}
export type SubscribedEvent<E extends Payloads> = MessageOf<E> & EventEnvelope;
export type JsonEvent = EventEnvelope & { readonly type: string; readonly data: unknown };

/** Events in order for each aggregate. Nothing is read ahead of whoever iterates by more than one fetch. */
export interface Subscription<Event> extends AsyncIterableIterator<Event, undefined>, AsyncDisposable {
  /** After all events that were given. */
  readonly position: PositionToken;
  return(): Promise<IteratorResult<Event, undefined>>;
}

export interface SubscribeParts {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly log: Log;
  /** Called when a subscription has ended. */
  readonly onEnd: (subscription: Subscription<JsonEvent>) => void;
}

/**
 * @param source the definition, and then the data is typed; or its name, and then the data is plain JSON
 * @throws SpoolError UNKNOWN_TOPIC, INVALID_REQUEST (no position), RECORD_UNREADABLE while it iterates
 */
export async function subscribe(
  parts: SubscribeParts,
  source: EventSource | string,
  options: SubscribeOptions,
): Promise<Subscription<JsonEvent>> {
  const { kafka, codec, topics, log } = parts;
  const { contexts, types } = options;
  const topic = topics.events(typeof source === 'string' ? source : source.name).name;
  const read = typeof source === 'string' ? jsonReader(codec) : eventReader(source, codec, topics);
  const bound = boundContexts(contexts);

  // 1. Where each partition starts, so that the position is whole before the first event.
  const starts = await startsOf(kafka, topic, options.from ?? 'latest');
  const positions = new Map([...starts].map(([partition, at]) => [partitionKey({ topic, partition }), at]));
  const stop = new AbortController();
  const over = (): boolean => stop.signal.aborted;
  const reader = await kafka.reader({
    onOutOfRange: (at, movedTo) =>
      log('warn', 'events that were subscribed to are gone', { ...at, offset: String(at.offset), movedTo: String(movedTo) }),
  });
  for (const [partition, at] of starts) reader.assign({ topic, partition }, at);

  // 2. One event after the other, as they are asked for.
  const wanted = async (record: ConsumedRecord): Promise<JsonEvent | undefined> => {
    const event = await read(record);
    if (event?.data === undefined || types?.includes(event.type) === false) return undefined;
    if (!bound.some((each) => inContext(each, event.meta))) return undefined;
    const { type, data, aggregateId, version, at, meta } = event;
    const { id = '', source: from = '', correlationId, causationId } = meta;
    return { type, data, id, source: from, aggregateId, version, at, correlationId, causationId, position: toToken(positions) };
  };
  const events = (async function* (): AsyncGenerator<JsonEvent, undefined> {
    for (let failures = 0; !over();) {
      const slices = await reader.fetch().catch(async (error: unknown) => {
        log('warn', 'a subscription cannot read; it tries again', { topic, error: String(error) });
        await sleep(backOffMs(failures++), undefined, { signal: stop.signal }).catch(() => undefined);
        return undefined;
      });
      if (slices === undefined) continue;
      failures = 0;
      for (const { records, nextOffset, ...partition } of slices) {
        const key = partitionKey(partition);
        for (const record of records) {
          positions.set(key, offset(record.offset + 1n));
          const event = await wanted(record);
          if (event !== undefined) yield event;
          if (over()) return;
        }
        positions.set(key, nextOffset);
      }
    }
  })();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      options.signal?.removeEventListener('abort', end);
      stop.abort();
      await reader.close();
      // A generator that waits for a fetch comes to its end by that fetch.
      await events.return(undefined);
      parts.onEnd(subscription);
    })());
  const end = (): void => void close();
  options.signal?.addEventListener('abort', end, { once: true });
  if (options.signal?.aborted === true) end();
  const subscription: Subscription<JsonEvent> = {
    next: () => events.next(),
    async return() {
      await close();
      return { done: true, value: undefined };
    },
    get position() {
      return toToken(positions);
    },
    [Symbol.asyncIterator]: () => subscription,
    [Symbol.asyncDispose]: close,
  };
  return subscription;
}

async function startsOf(kafka: Kafka, topic: string, from: NonNullable<SubscribeOptions['from']>): Promise<ReadonlyMap<number, Offset>> {
  const ends = await kafka.admin.offsets(topic);
  if (typeof from === 'string') return new Map(ends.map(({ partition, [from]: at }) => [partition, at]));
  if ('timestamp' in from) return new Map((await kafka.admin.offsetsAt(topic, from.timestamp)).map((at) => [at.partition, at.offset]));
  const after = fromToken(from.after);
  return new Map(ends.map(({ partition, earliest }) => [partition, after.get(partitionKey({ topic, partition })) ?? earliest]));
}

/** Reads by the schemas of the writers: for programs that do not have the definitions. */
function jsonReader(codec: Codec) {
  return async (record: ConsumedRecord) => {
    const meta = readMeta(record.headers);
    if (record.value === null || record.key === null || meta.type === undefined) return undefined;
    const data = (await codec.decodeAny(record.value)).json();
    return {
      type: meta.type,
      aggregateId: record.key.toString(),
      version: meta.aggregateVersion ?? 0,
      at: meta.time ?? record.timestamp,
      data,
      meta,
    };
  };
}
