import { randomUUID } from 'node:crypto';
import { headerNames } from '@spool/schemas';
import type { Kafka } from '@spool/streams';
import { withWriters } from '../instance/tampering.js';

/** Violations on purpose: a command of a saga is lost, written twice, or sent again under a fresh id, as one that is not made deterministically would be. */
export const bankTamperings = ['lose', 'double', 'anew'] as const;
export type BankTampering = (typeof bankTamperings)[number];

/** Each tenth command of a process is lost or sent again: one alone may be a command that is refused, and to be refused again harms nobody. */
const every = 10;

/** @param topic of the commands */
export function tamperedBank(kafka: Kafka, topic: string, tampering: BankTampering | undefined): Kafka {
  if (tampering === undefined) return kafka;
  let sent = 0;
  return withWriters(kafka, async (producer, records) => {
    const at = records.findIndex((record) => record.topic === topic && ++sent % every === 0);
    if (at < 0) return producer.commit(records);
    if (tampering === 'lose') {
      const positions = await producer.commit(records.toSpliced(at, 1));
      return positions.toSpliced(at, 0, positions[0]!);
    }
    const again = records[at]!;
    const twin = tampering === 'double' ? again : { ...again, headers: { ...again.headers, [headerNames.id]: randomUUID() } };
    return (await producer.commit([...records, twin])).slice(0, -1);
  });
}
