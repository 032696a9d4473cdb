import { toSpoolError } from '@spool/schemas';
import type { Kafka, Producer, TransactionalProducer } from '../kafka/port.js';

/** What an instance did with Kafka since its start. */
export interface KafkaCounts {
  /** Records written, by topic. */
  readonly written: ReadonlyMap<string, number>;
  /** Sends and commits that failed, by the code of the error. */
  readonly failed: ReadonlyMap<string, number>;
  /** How often a group of one of its processors was shared out anew. */
  readonly rebalances: number;
}

/** The same Kafka, with what goes through it counted. */
export function countedKafka(kafka: Kafka): { readonly kafka: Kafka; readonly counts: KafkaCounts } {
  const written = new Map<string, number>();
  const failed = new Map<string, number>();
  let rebalances = 0;
  const add = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
  const wrote = (places: readonly { readonly topic: string }[]): void => {
    for (const { topic } of places) add(written, topic);
  };
  const fail = (error: unknown): void => add(failed, toSpoolError(error).code);
  const counted: Kafka = {
    admin: kafka.admin,
    async producer(options) {
      const inner = await kafka.producer(options);
      const producer: Producer = {
        send(record) {
          const sent = inner.send(record);
          sent.then(() => add(written, record.topic), fail);
          return sent;
        },
        sendAll(records) {
          const sent = inner.sendAll(records);
          sent.then(wrote, fail);
          return sent;
        },
        close: () => inner.close(),
        [Symbol.asyncDispose]: () => inner.close(),
      };
      return producer;
    },
    async transactionalProducer(options) {
      const inner = await kafka.transactionalProducer(options);
      const producer: TransactionalProducer = {
        transactionalId: inner.transactionalId,
        commit(records) {
          const committed = inner.commit(records);
          committed.then(wrote, fail);
          return committed;
        },
        close: () => inner.close(),
        [Symbol.asyncDispose]: () => inner.close(),
      };
      return producer;
    },
    reader: (options) => kafka.reader(options),
    membership: (options) =>
      kafka.membership({
        ...options,
        onRebalance() {
          rebalances += 1;
          return options.onRebalance();
        },
      }),
    close: () => kafka.close(),
    [Symbol.asyncDispose]: () => kafka.close(),
  };
  const counts: KafkaCounts = {
    written,
    failed,
    get rebalances() {
      return rebalances;
    },
  };
  return { kafka: counted, counts };
}
