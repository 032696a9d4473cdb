import { ReplySchema, SpoolError, toSpoolError, type Codec, type Reply, type ReplyAddress } from '@spool/schemas';
import { backOffMs, type Kafka, type TopicSpec } from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';

/** The replies of one process: one fixed partition of its pool, read by hand, so that no rebalance can lose one. */
export interface Replies extends AsyncDisposable {
  readonly address: ReplyAddress;
  /** The number of callers that wait. */
  readonly waiting: number;
  /**
   * Waits for the reply to a message. @throws SpoolError INDETERMINATE when the deadline passes first, UNAVAILABLE when this is closed.
   */
  wait(messageId: string, deadline: number): Promise<Reply>;
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
}

interface Waiter {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: SpoolError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Resolves when the position is known: a reply to anything sent from then on is seen. */
export async function openReplies(options: RepliesOptions): Promise<Replies> {
  const { kafka, topic } = options;
  await kafka.admin.ensureTopics([topic]);
  const address: ReplyAddress = { topic: topic.name, partition: options.slot % topic.partitions };
  const decoder = options.codec.decoder(ReplySchema);
  const waiters = new Map<string, Waiter[]>();
  let waiting = 0;
  const end = (await kafka.admin.offsets(topic.name)).find((at) => at.partition === address.partition);
  const reader = await kafka.reader({ isolation: 'read_uncommitted' });
  reader.assign(address, end?.latest ?? 'earliest');

  const take = (messageId: string): readonly Waiter[] => {
    const found = waiters.get(messageId) ?? [];
    waiters.delete(messageId);
    for (const waiter of found) clearTimeout(waiter.timer);
    waiting -= found.length;
    return found;
  };
  const deliver = async (messageId: string, value: Buffer): Promise<void> => {
    if (!waiters.has(messageId)) return;
    try {
      const decoded = decoder.decode(value);
      const reply = decoded instanceof Promise ? await decoded : decoded;
      for (const waiter of take(messageId)) waiter.resolve(reply);
    } catch (error) {
      for (const waiter of take(messageId)) waiter.reject(toSpoolError(error));
    }
  };
  const stop = new AbortController();
  const reading = (async () => {
    for (let failures = 0; !stop.signal.aborted;) {
      try {
        for (const slice of await reader.fetch()) {
          for (const record of slice.records) {
            if (record.key !== null && record.value !== null) void deliver(record.key.toString(), record.value);
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
      for (const id of [...waiters.keys()]) {
        for (const waiter of take(id)) waiter.reject(new SpoolError('UNAVAILABLE', 'the gateway was closed before the reply came'));
      }
      await reader.close();
      await reading;
    })());
  return {
    address,
    get waiting() {
      return waiting;
    },
    wait: (messageId, deadline) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => {
            const rest = (waiters.get(messageId) ?? []).filter((other) => other !== waiter);
            if (rest.length === 0) waiters.delete(messageId);
            else waiters.set(messageId, rest);
            waiting -= 1;
            reject(new SpoolError('INDETERMINATE', `no reply to ${messageId} before its deadline`));
          },
          Math.max(0, deadline - options.now()),
        );
        const waiter: Waiter = { resolve, reject, timer };
        const known = waiters.get(messageId);
        if (known === undefined) waiters.set(messageId, [waiter]);
        else known.push(waiter);
        waiting += 1;
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}
