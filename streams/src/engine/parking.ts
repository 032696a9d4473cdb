import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset, type ProducerRecord } from '../kafka/port.js';
import { partitionKey, type Table } from '../store/store.js';
import type { StoreSpec } from './stores.js';
import type { Timer } from './timers.js';

/** Where a consumer parks what it cannot handle. */
export interface ParkingOptions {
  readonly consumer: string;
  /** Has as many partitions as the sources: a letter goes to the partition of the same number. @default `dlq.<consumer>` */
  readonly deadLetterTopic?: string;
  /** Names whose letters these are where several instances handle the same records, each for itself. @default nobody's */
  readonly owner?: string;
}
export const deadLetterTopicOf = ({ consumer, deadLetterTopic }: ParkingOptions): string => deadLetterTopic ?? `dlq.${consumer}`;

/** The parked records of one lane. */
export interface Parked {
  readonly count: number;
  /** Letters that lie before it in the dead-letter topic are not of this row; unknown while the first is being written. */
  readonly from?: string;
  /** Source partition -> the last offset that is parked: the same record is parked once, though it is read again. */
  readonly upTo: Readonly<Record<string, string>>;
}

/** Lanes with parked records; later records of these keys are parked behind them, so that order per key is never broken. */
export const parkedTable = '$parked';
/** Kept in the changelog, in the transaction of the letters themselves. */
export const parkedSpec: StoreSpec = {
  name: parkedTable,
  encode: (row) => Buffer.from(JSON.stringify(row)),
  decode: (bytes) => JSON.parse(bytes.toString()) as Parked,
};

/** Records of one lane are handled in order; those without a key have one each. */
export const laneOf = (record: ConsumedRecord): string =>
  record.key === null ? `#${partitionKey(record)}@${record.offset}` : `k${record.key.toString('latin1')}`;

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
export function deadLetter(options: ParkingOptions, record: ConsumedRecord, cause: SpoolError | 'follows', now: number): ProducerRecord {
  return {
    topic: deadLetterTopicOf(options),
    partition: record.partition,
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      'dlq-topic': record.topic,
      'dlq-partition': String(record.partition),
      'dlq-offset': record.offset.toString(),
      'dlq-timestamp': String(record.timestamp),
      ...causeHeaders(options, cause === 'follows' ? followsParked : cause, now),
    },
  };
}

/** A timer whose handler failed for good: it has fired, and what it would have done is not done. */
export const deadTimer = (
  options: ParkingOptions,
  partition: number | undefined,
  { name, key, clock, at }: Timer,
  cause: SpoolError,
  now: number,
): ProducerRecord => ({
  topic: deadLetterTopicOf(options),
  ...(partition === undefined ? {} : { partition }),
  key,
  value: null,
  headers: {
    'dlq-timer': name,
    'dlq-timer-clock': clock,
    'dlq-timer-at': new Date(at).toISOString(),
    ...causeHeaders(options, cause, now),
  },
});

const followsParked = { code: 'FOLLOWS_PARKED', message: 'an earlier record of this key is parked' } as const;
const causeHeaders = (
  { consumer, owner }: ParkingOptions,
  { code, message }: { code: string; message: string },
  now: number,
): Record<string, string> => ({
  'dlq-consumer': consumer,
  ...(owner === undefined ? {} : { 'dlq-owner': owner }),
  'dlq-code': code,
  'dlq-message': message.slice(0, 1000),
  'dlq-at': new Date(now).toISOString(),
});

export function isParked(parked: Table<Parked>, record: ConsumedRecord): boolean {
  return record.key !== null && parked.get(laneOf(record)) !== undefined;
}

/** Notes that a record is parked. @returns whether it is for the first time: one that is read again has its letter already */
export function notePark(parked: Table<Parked>, record: ConsumedRecord): 'first' | 'next' | 'again' {
  const lane = laneOf(record);
  const row = parked.get(lane);
  const source = partitionKey(record);
  const last = row?.upTo[source];
  if (last !== undefined && record.offset <= BigInt(last)) return 'again';
  parked.put(lane, { ...row, count: (row?.count ?? 0) + 1, upTo: { ...row?.upTo, [source]: record.offset.toString() } });
  return row === undefined ? 'first' : 'next';
}

/** The place in the dead-letter topic where the letters of a row begin. */
export const beginsAt = (row: Parked): Offset => offset(row.from ?? 0);
