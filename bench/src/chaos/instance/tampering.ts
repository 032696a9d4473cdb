import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { offset, type Kafka, type ProducerRecord, type RecordPosition, type TransactionalProducer } from '@spool/streams';

/**
 * Violations on purpose: a result is written twice or not at all, or nobody is fenced, since each writer takes an id of its own.
 */
export const tamperings = ['double', 'lose', 'unfenced'] as const;
export type Tampering = (typeof tamperings)[number];
/** `early`: what was not yet committed is told. `forgetful`: outcomes of commands are forgotten at once. */
export const commandTamperings = [...tamperings, 'early', 'forgetful'] as const;
export type CommandTampering = (typeof commandTamperings)[number];

/** The result that is doubled or lost, counted from the start of the process. */
const victim = 100;

export function tampered(kafka: Kafka, output: string, tampering: Tampering | undefined): Kafka {
  if (tampering === undefined) return kafka;
  let results = 0;
  const isVictim = (record: ProducerRecord): boolean => record.topic === output && ++results === victim;
  const commit: Commit = async (producer, records) => {
    const at = tampering === 'unfenced' ? -1 : records.findIndex(isVictim);
    if (at < 0) return producer.commit(records);
    if (tampering === 'double') return (await producer.commit([...records, records[at]!])).slice(0, -1);
    const positions = [...(await producer.commit(records.toSpliced(at, 1)))];
    return positions.toSpliced(at, 0, positions[0]!);
  };
  const idOf = (id: string): string => (tampering === 'unfenced' ? `${id}.${randomUUID()}` : id);
  return withWriters(kafka, commit, idOf);
}

/** How long an untimely answer is ahead of the commit that it tells of. */
const aheadMs = 150;

/** Says of a commit that it is done before it is begun. */
export function early(kafka: Kafka): Kafka {
  const pending = new WeakMap<TransactionalProducer, Promise<unknown>>();
  return withWriters(kafka, async (producer, records) => {
    await pending.get(producer);
    const later = sleep(aheadMs).then(() => producer.commit(records));
    later.catch(() => undefined);
    pending.set(producer, later);
    return records.map(({ topic, partition }) => ({ topic, partition: partition!, offset: offset(0) }));
  });
}

type Commit = (producer: TransactionalProducer, records: readonly ProducerRecord[]) => Promise<readonly RecordPosition[]>;

export const withWriters = (kafka: Kafka, commit: Commit, idOf: (id: string) => string = (id) => id): Kafka => ({
  admin: kafka.admin,
  producer: (options) => kafka.producer(options),
  reader: (options) => kafka.reader(options),
  membership: (options) => kafka.membership(options),
  close: () => kafka.close(),
  [Symbol.asyncDispose]: () => kafka.close(),
  async transactionalProducer(options) {
    const producer = await kafka.transactionalProducer({ ...options, transactionalId: idOf(options.transactionalId) });
    return {
      transactionalId: options.transactionalId,
      commit: (records) => commit(producer, records),
      close: () => producer.close(),
      [Symbol.asyncDispose]: () => producer.close(),
    };
  },
});
