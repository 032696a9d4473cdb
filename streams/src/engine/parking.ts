import { SpoolError, toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, ProducerRecord } from '../kafka/port.js';
import type { Table } from '../store/store.js';
import type { Timer } from './timers.js';

const deadLetterTopic = (consumer: string): string => `dlq.${consumer}`;

/** Keys with parked records; later records of these keys are parked behind them, so that order per key is never broken. */
export const parkedTable = '$parked';

const transientSystemErrors = new Set(['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EPIPE', 'EAI_AGAIN', 'ENOTFOUND', 'EHOSTUNREACH']);

/** Transient: the same record may pass later. Everything else a handler throws, a TypeError too, is permanent. */
export function isTransient(thrown: unknown): boolean {
  if (typeof thrown !== 'object' || thrown === null) return false;
  const { code } = thrown as { code?: unknown };
  if (typeof code === 'string' && transientSystemErrors.has(code)) return true;
  return toSpoolError(thrown).entry.retryable === 'backoff';
}

/** What `isTransient` let through, as an error that makes the engine wait and try again. */
export function toTransient(thrown: unknown): SpoolError {
  const error = toSpoolError(thrown);
  return error.entry.retryable === 'backoff' ? error : new SpoolError('UNAVAILABLE', error.message, { cause: thrown });
}

/** The record as it came, with the cause in `dlq-*` headers. */
export function deadLetter(consumer: string, record: ConsumedRecord, cause: SpoolError | 'follows', now: number): ProducerRecord {
  return {
    topic: deadLetterTopic(consumer),
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      'dlq-topic': record.topic,
      'dlq-partition': String(record.partition),
      'dlq-offset': record.offset.toString(),
      ...causeHeaders(consumer, cause === 'follows' ? followsParked : cause, now),
    },
  };
}

/** A timer whose handler failed for good: it has fired, and what it would have done is not done. */
export const deadTimer = (consumer: string, { name, key, clock, at }: Timer, cause: SpoolError, now: number): ProducerRecord => ({
  topic: deadLetterTopic(consumer),
  key,
  value: null,
  headers: {
    'dlq-timer': name,
    'dlq-timer-clock': clock,
    'dlq-timer-at': new Date(at).toISOString(),
    ...causeHeaders(consumer, cause, now),
  },
});

const followsParked = { code: 'FOLLOWS_PARKED', message: 'an earlier record of this key is parked' } as const;
const causeHeaders = (consumer: string, { code, message }: { code: string; message: string }, now: number): Record<string, string> => ({
  'dlq-consumer': consumer,
  'dlq-code': code,
  'dlq-message': message.slice(0, 1000),
  'dlq-at': new Date(now).toISOString(),
});

export function isParked(parked: Table<number>, record: ConsumedRecord): boolean {
  return record.key !== null && parked.get(record.key.toString('latin1')) !== undefined;
}

export function countParked(parked: Table<number>, record: ConsumedRecord): void {
  if (record.key === null) return;
  const key = record.key.toString('latin1');
  parked.put(key, (parked.get(key) ?? 0) + 1);
}
