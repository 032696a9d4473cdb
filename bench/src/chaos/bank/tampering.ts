import { randomUUID } from 'node:crypto';
import { headerNames } from '@spool/schemas';
import type { Kafka } from '@spool/streams';
import { tampered, withWriters } from '../instance/tampering.js';

/** Violations on purpose: a command of a saga is lost, written twice, or sent again under a fresh id, as one that is not made deterministically would be. */
export const bankTamperings = ['lose', 'double', 'anew'] as const;
export type BankTampering = (typeof bankTamperings)[number];

/** The command that is sent again, counted from the start of the process. */
const victim = 30;

/** @param topic of the commands */
export function tamperedBank(kafka: Kafka, topic: string, tampering: BankTampering | undefined): Kafka {
  if (tampering !== 'anew') return tampered(kafka, topic, tampering);
  let sent = 0;
  return withWriters(kafka, async (producer, records) => {
    const again = records.find((record) => record.topic === topic && ++sent === victim);
    if (again === undefined) return producer.commit(records);
    const twin = { ...again, headers: { ...again.headers, [headerNames.id]: randomUUID() } };
    return (await producer.commit([...records, twin])).slice(0, -1);
  });
}
