import { ReplySchema, SpoolError, toSpoolError, type Codec, type Reply, type ReplyAddress } from '@spool/schemas';
import { backOffMs, type Kafka, type TopicSpec } from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWaiters } from './waiters.js';

/** Hears every reply to one message, until it is forgotten. */
export interface ReplyListener {
  reply(reply: Reply): void;
  fail(error: SpoolError): void;
}

/** The replies of one process: one fixed partition of its pool, read by hand, so that no rebalance can lose one. */
export interface Replies extends AsyncDisposable {
  readonly address: ReplyAddress;
  /** The number of callers that wait. */
  readonly waiting: number;
  /**
   * Waits for the reply to a message.
   * @param sent when it fails, so does the wait, at once
   * @throws SpoolError INDETERMINATE when the deadline passes first, UNAVAILABLE when this is closed.
   */
  wait(messageId: string, deadline: number, sent?: Promise<unknown>): Promise<Reply>;
  /** Hears all replies to a message, in order, where `wait` hears the first. @returns forgets the listener */
  listen(messageId: string, listener: ReplyListener): () => void;
  close(): Promise<void>;
}

export interface RepliesOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topic: TopicSpec;
  /** Which partition; two processes on one slot are harmless, each passes over the other's replies. */
  readonly slot: number;
  readonly now: () => number;
  readonly onError: (error: unknown) => void;
  /** Those who listen, where several share them; whoever brings them tells them of the end. @default its own */
  readonly listeners?: Map<string, ReplyListener>;
}

/** Resolves when the position is known: a reply to anything sent from then on is seen. */
export async function openReplies(options: RepliesOptions): Promise<Replies> {
  const { kafka, topic } = options;
  await kafka.admin.ensureTopics([topic]);
  const address: ReplyAddress = { topic: topic.name, partition: options.slot % topic.partitions };
  const decoder = options.codec.decoder(ReplySchema);
  const waiters = createWaiters(options.now);
  const { listeners = new Map<string, ReplyListener>() } = options;
  const end = (await kafka.admin.offsets(topic.name)).find((at) => at.partition === address.partition);
  const reader = await kafka.reader({ isolation: 'read_uncommitted' });
  reader.assign(address, end?.latest ?? 'earliest');

  const failed = (messageId: string, error: unknown): void => {
    listeners.get(messageId)?.fail(toSpoolError(error));
    waiters.reject(messageId, toSpoolError(error));
  };
  const give = (messageId: string, reply: Reply): void => {
    listeners.get(messageId)?.reply(reply);
    waiters.resolve(messageId, reply);
  };
  const deliver = (messageId: string, value: Buffer): void => {
    if (!waiters.has(messageId) && !listeners.has(messageId)) return;
    try {
      const reply = decoder.decode(value);
      if (!(reply instanceof Promise)) return give(messageId, reply);
      reply.then(
        (decoded) => give(messageId, decoded),
        (error: unknown) => failed(messageId, error),
      );
    } catch (error) {
      failed(messageId, error);
    }
  };
  const stop = new AbortController();
  const reading = (async () => {
    for (let failures = 0; !stop.signal.aborted;) {
      try {
        for (const slice of await reader.fetch()) {
          for (const record of slice.records) {
            if (record.key !== null && record.value !== null) deliver(record.key.toString(), record.value);
          }
        }
        failures = 0;
      } catch (error) {
        options.onError(error);
        await sleep(backOffMs(failures++));
      }
    }
  })();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      stop.abort();
      const closed = new SpoolError('UNAVAILABLE', 'the gateway was closed before the reply came');
      waiters.rejectAll(closed);
      if (options.listeners === undefined) failAll(listeners, closed);
      await reader.close();
      await reading;
    })());
  return {
    address,
    get waiting() {
      return waiters.size;
    },
    wait: (messageId, deadline, sent) => waiters.add(messageId, deadline, sent),
    listen(messageId, listener) {
      listeners.set(messageId, listener);
      return () => void listeners.delete(messageId);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Tells all who listen that no reply comes any more. */
export function failAll(listeners: Map<string, ReplyListener>, error: SpoolError): void {
  for (const listener of [...listeners.values()]) listener.fail(error);
  listeners.clear();
}
