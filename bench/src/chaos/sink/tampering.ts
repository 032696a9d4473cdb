import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockStore } from '@spool/services/telemetry';
import { offset, type Kafka, type Membership } from '@spool/streams';

/**
 * Violations on purpose: inserts without a token that repeats; the offset committed ahead of the insert; no range kept of a block under way;
 * what cannot be read is thrown away.
 */
export const sinkTamperings = ['tokenless', 'early', 'rangeless', 'unquarantined'] as const;
export type SinkTampering = (typeof sinkTamperings)[number];

/** How long an untimely commit is ahead of its insert. */
const aheadMs = 150;

export const tamperedStore = (store: BlockStore, tampering: SinkTampering | undefined): BlockStore => ({
  stored: (stretch) => store.stored(stretch),
  holds: (of) => store.holds(of),
  async insert(insert) {
    if (tampering === 'early') await sleep(aheadMs);
    if (tampering === 'unquarantined' && insert.table === 'quarantine') return;
    await store.insert(tampering === 'tokenless' ? { ...insert, token: randomUUID() } : insert);
  },
});

export function tamperedGroup(kafka: Kafka, tampering: SinkTampering | undefined): Kafka {
  if (tampering !== 'early' && tampering !== 'rangeless') return kafka;
  const commit =
    (member: Membership): Membership['commitOffsets'] =>
    async (offsets) =>
      member.commitOffsets(
        offsets.map(({ metadata = '', ...at }) => {
          const ahead = tampering === 'early' && metadata !== '' ? (JSON.parse(metadata) as { last: number }).last + 1 : 0;
          return { ...at, offset: offset(at.offset + BigInt(ahead)), metadata: '' };
        }),
      );
  return {
    admin: kafka.admin,
    producer: (options) => kafka.producer(options),
    transactionalProducer: (options) => kafka.transactionalProducer(options),
    reader: (options) => kafka.reader(options),
    async membership(options) {
      const member = await kafka.membership(options);
      return {
        get assignment() {
          return member.assignment;
        },
        commitOffsets: commit(member),
        close: () => member.close(),
        [Symbol.asyncDispose]: () => member.close(),
      };
    },
    close: () => kafka.close(),
    [Symbol.asyncDispose]: () => kafka.close(),
  };
}
