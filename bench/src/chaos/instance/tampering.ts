import { randomUUID } from 'node:crypto';
import type { Kafka, ProducerRecord, TransactionalProducer } from '@spool/streams';

/**
 * Violations on purpose: a result is written twice or not at all, or nobody is fenced, since each writer takes an id of its own.
 */
export const tamperings = ['double', 'lose', 'unfenced'] as const;
export type Tampering = (typeof tamperings)[number];

/** The result that is doubled or lost, counted from the start of the process. */
const victim = 100;

export function tampered(kafka: Kafka, output: string, tampering: Tampering | undefined): Kafka {
  if (tampering === undefined) return kafka;
  let results = 0;
  const isVictim = (record: ProducerRecord): boolean => record.topic === output && ++results === victim;
  const commit = async (producer: TransactionalProducer, records: readonly ProducerRecord[]) => {
    const at = tampering === 'unfenced' ? -1 : records.findIndex(isVictim);
    if (at < 0) return producer.commit(records);
    if (tampering === 'double') return (await producer.commit([...records, records[at]!])).slice(0, -1);
    const positions = [...(await producer.commit(records.toSpliced(at, 1)))];
    return positions.toSpliced(at, 0, positions[0]!);
  };
  return {
    admin: kafka.admin,
    producer: (options) => kafka.producer(options),
    reader: (options) => kafka.reader(options),
    membership: (options) => kafka.membership(options),
    close: () => kafka.close(),
    [Symbol.asyncDispose]: () => kafka.close(),
    async transactionalProducer(options) {
      const transactionalId = tampering === 'unfenced' ? `${options.transactionalId}.${randomUUID()}` : options.transactionalId;
      const producer = await kafka.transactionalProducer({ ...options, transactionalId });
      return {
        transactionalId: options.transactionalId,
        commit: (records) => commit(producer, records),
        close: () => producer.close(),
        [Symbol.asyncDispose]: () => producer.close(),
      };
    },
  };
}
