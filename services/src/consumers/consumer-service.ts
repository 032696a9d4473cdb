import { SpoolError, toSpoolError, type TopicOffset } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import {
  leaseConsumer,
  offset,
  partitionKey,
  type Instance,
  type LetterChoice,
  type Offset,
  type ProducerRecord,
  type TransactionalProducer,
} from '@spool/streams';
import { openBeats, type Copy } from './beats.js';
import { openDeadLetters, type DeadLetters, type LetterPage, type LetterWish } from './dead-letters.js';
import { orderRecords, type Actor, type Wish } from './order-records.js';
import { startsOf, type Place } from './starts.js';
import { answersOf, viewOf, type ConsumerView, type OrderResult } from './views.js';

/** What may be ordered of a consumer by hand. */
export type ConsumerOrder =
  | { readonly action: 'pause' | 'resume' | 'reset' }
  | { readonly action: 'step'; readonly records: number }
  | { readonly action: 'rate'; readonly recordsPerSecond: number | null }
  /** `topic` where the consumer reads several. */
  | { readonly action: 'seek'; readonly to: Place; readonly topic?: string | undefined }
  /** Without a key or a record: all. `value` takes the place of the first one's: JSON by its schema, or `{ base64 }`. */
  | ({ readonly action: 'retry'; readonly value?: unknown } & LetterWish)
  | ({ readonly action: 'discard' } & LetterWish);

export interface Ordering {
  readonly actor: Actor;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly deadline: number;
}

export interface ConsumerService extends AsyncDisposable {
  list(): Promise<readonly ConsumerView[]>;
  /** @param id of the consumer, or the name of its component. @throws SpoolError UNKNOWN_CONSUMER when no live instance runs it */
  get(id: string): Promise<ConsumerView>;
  /**
   * Writes the order and its audit entry in one transaction, and waits until every live instance that runs the consumer has dealt with it.
   * @throws SpoolError UNKNOWN_CONSUMER, OFFSET_OUT_OF_RANGE, ORDER_REFUSED, INDETERMINATE (whether it was ordered is not known)
   */
  order(id: string, order: ConsumerOrder, ordering: Ordering): Promise<OrderResult>;
  /** @param id of the consumer, or the name of its component; it need not be running */
  deadLetters(id: string, query: Parameters<DeadLetters['list']>[1]): Promise<LetterPage>;
  close(): Promise<void>;
}

export interface ConsumerServiceOptions {
  /** How long an order waits for its acknowledgements at the most, in milliseconds. @default 5000 */
  readonly acknowledgeMs?: number;
}

/** For how long the ends of the topics are taken as they were, in milliseconds. */
const endsMs = 500;

export async function openConsumerService(
  instance: Instance,
  registry: Pick<Registry, 'component' | 'components'>,
  { acknowledgeMs = 5000 }: ConsumerServiceOptions = {},
): Promise<ConsumerService> {
  const { kafka, now } = instance;
  const records = await orderRecords(instance);
  const beats = await openBeats(instance);
  const letters = openDeadLetters(instance);
  const write = orderWriter(instance);

  const known = new Map<string, { readonly at: number; readonly ends: Promise<readonly (readonly [string, Offset])[]> }>();
  const endsOf = async (copies: readonly Copy[]): Promise<ReadonlyMap<string, Offset>> => {
    const names = new Set(copies.flatMap(({ status }) => status.partitions.map(({ topic }) => topic)));
    const found = await Promise.all(
      [...names].map((topic) => {
        let entry = known.get(topic);
        if (entry === undefined || now() - entry.at > endsMs) {
          // A topic that cannot be asked for has the end that the heartbeats say.
          const ends = kafka.admin.offsets(topic).then(
            (each) => each.map((at) => [partitionKey(at), at.latest] as const),
            () => [],
          );
          known.set(topic, (entry = { at: now(), ends }));
        }
        return entry.ends;
      }),
    );
    for (const [topic, { at }] of known) if (now() - at > 60_000) known.delete(topic);
    return new Map(found.flat());
  };
  const resolve = (id: string): { consumer: string; copies: readonly Copy[] } => {
    const consumer = beats.copies(id).length > 0 ? id : (registry.component(id)?.consumer ?? id);
    const copies = beats.copies(consumer);
    if (copies.length === 0) throw new SpoolError('UNKNOWN_CONSUMER', `no live instance runs a consumer ${id}`);
    return { consumer, copies };
  };
  const sourcesOf = (consumer: string, copies: readonly Copy[]): readonly string[] => {
    const declared = registry.components().find((each) => each.consumer === consumer)?.sources;
    const names = declared ?? [...new Set(copies.flatMap(({ status }) => status.partitions.map(({ topic }) => topic)))];
    if (names.length > 0) return names;
    throw new SpoolError('UNAVAILABLE', `${consumer} has no partitions at this moment`, { retryAfterMs: 2000 });
  };
  const positionsOf = async (consumer: string, copies: readonly Copy[], to: Place, only?: string): Promise<TopicOffset[]> => {
    const names = sourcesOf(consumer, copies);
    if (only !== undefined && !names.includes(only)) {
      throw new SpoolError('INVALID_REQUEST', `${consumer} does not read ${only}`, {
        violations: [{ pointer: '/topic', message: `Expected one of ${names.join(', ')}` }],
      });
    }
    const found = names
      .filter((topic) => only === undefined || topic === only)
      .map(async (topic) => {
        const starts = await startsOf(kafka, topic, to, await kafka.admin.offsets(topic), '/to');
        return [...starts].map(([partition, at]) => ({ topic, partition, offset: Number(at) }));
      });
    return (await Promise.all(found)).flat();
  };
  const wishOf = async (
    consumer: string,
    copies: readonly Copy[],
    order: ConsumerOrder,
  ): Promise<Omit<Wish, 'consumer' | 'actor' | 'reason'>> => {
    switch (order.action) {
      case 'reset':
        return { action: 'reset', positions: await positionsOf(consumer, copies, 'earliest') };
      case 'seek':
        return { action: 'seek', positions: await positionsOf(consumer, copies, order.to, order.topic) };
      case 'retry':
      case 'discard': {
        const choice = choiceOf(order);
        const first = await letters.find(consumer, choice, order.action);
        const value = order.action === 'retry' && order.value !== undefined ? await letters.encode(first, order.value) : null;
        if (choice === 'all') return { action: order.action };
        if ('key' in choice) return { action: order.action, key: choice.key, value };
        return { action: order.action, letter: { ...choice.letter, offset: Number(choice.letter.offset) }, value };
      }
      default:
        return order;
    }
  };
  const acknowledged = (consumer: string, order: number): boolean => {
    const copies = beats.copies(consumer);
    return copies.length > 0 && copies.every(({ status }) => status.epoch >= order);
  };
  const waitFor = (condition: () => boolean, deadline: number): Promise<boolean> =>
    new Promise((resolve) => {
      const done = (result: boolean): void => {
        clearTimeout(timer);
        stop();
        resolve(result);
      };
      const timer = setTimeout(() => done(condition()), Math.max(0, deadline - now()));
      const stop = beats.onBeat(() => condition() && done(true));
      if (condition()) done(true);
    });

  const close = async (): Promise<void> => {
    await write.close();
    await beats.close();
  };
  return {
    async list() {
      const ids = beats.consumers();
      const ends = await endsOf(ids.flatMap((id) => beats.copies(id)));
      return ids.map((id) => viewOf(id, beats.copies(id), ends));
    },
    async get(id) {
      const { consumer, copies } = resolve(id);
      return viewOf(consumer, copies, await endsOf(copies));
    },
    async order(id, order, { actor, reason, deadline }) {
      const { consumer, copies } = resolve(id);
      if (consumer === leaseConsumer(instance.topics) && (order.action === 'pause' || order.action === 'rate')) {
        throw new SpoolError('INVALID_REQUEST', `${consumer} cannot be held: every gateway would lose the replies that it waits for`);
      }
      const wish = await wishOf(consumer, copies, order);
      const action = `consumer.${order.action}`;
      const at = await write.commit([
        records.order({ ...wish, consumer, actor: actor.name, reason }),
        records.audit(actor, action, consumer, reason),
      ]);
      const done = await waitFor(() => acknowledged(consumer, at), Math.min(deadline - 500, now() + acknowledgeMs));
      const seen = beats.copies(consumer);
      const { refused, records: resolved, failed } = answersOf(at, seen);
      if (refused !== null) {
        await instance.producer.send(records.audit(actor, action, consumer, refused, 'refused'));
        throw new SpoolError('ORDER_REFUSED', `${consumer} refused it: ${refused}`, { facts: { order: at } });
      }
      const view = viewOf(consumer, seen.length > 0 ? seen : copies, await endsOf(seen));
      return { order: String(at), acknowledged: done, records: resolved, failed, consumer: view };
    },
    deadLetters: (id, query) => letters.list(registry.component(id)?.consumer ?? id, query),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function choiceOf({ key, record, ...order }: LetterWish & { readonly value?: unknown }): LetterChoice {
  if (key !== undefined && record !== undefined) throw invalid('/record', 'Expected a key or a record, not both');
  if (record !== undefined) return { letter: { ...record, offset: offset(record.offset) } };
  if (key !== undefined) return { key: Buffer.from(key) };
  if (order.value !== undefined) throw invalid('/value', 'Expected a key or a record with it: one record is edited');
  return 'all';
}
const invalid = (pointer: string, message: string): SpoolError =>
  new SpoolError('INVALID_REQUEST', `${pointer}: ${message}`, { violations: [{ pointer, message }] });

/** One transaction after the other, under an id of this instance; a writer that has failed is replaced. */
function orderWriter({ kafka, topics, id }: Instance) {
  let writer: TransactionalProducer | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const commit = async (records: readonly ProducerRecord[]): Promise<number> => {
    try {
      writer ??= await kafka.transactionalProducer({ transactionalId: `${topics.namespace}spool.orders.${id}` });
      const [order] = await writer.commit(records);
      return Number(order!.offset);
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.entry.retryable === 'fatal') {
        await writer?.close();
        writer = undefined;
      }
      if (error.code !== 'TRANSACTION_INDETERMINATE') throw thrown;
      throw new SpoolError('INDETERMINATE', 'whether the order was written is not known; look at the consumer, and order again', {
        cause: thrown,
      });
    }
  };
  return {
    /** @returns the offset of the first record */
    commit(records: readonly ProducerRecord[]): Promise<number> {
      const done = turn.then(() => commit(records));
      turn = done.catch(() => undefined);
      return done;
    },
    async close(): Promise<void> {
      await turn;
      await writer?.close();
    },
  };
}
