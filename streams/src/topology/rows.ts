import { SpoolError } from '@spool/schemas';
import { decodeNow, string, untyped, type AnySerde } from './serde.js';
import { splitTime, timeText, type Windowed } from './windows.js';

/** How keys stand in a store: text as it is, other bytes in hex, so that rows keep the order of the bytes. */
export interface RowKeys<K> {
  readonly toRow: (key: K) => string;
  readonly fromRow: (row: string) => K;
  /** What decides the partition. */
  readonly bytes: (key: K) => Buffer;
}

export function rowKeys(serde: AnySerde): RowKeys<unknown> {
  const bytes = serde.encode;
  if (serde === untyped(string)) return { bytes, toRow: (key) => checked(key as string), fromRow: (row) => row };
  const form = serde.text === true ? 'utf8' : 'hex';
  return {
    bytes,
    toRow: (key) => checked(bytes(key).toString(form)),
    fromRow: (row) => decodeNow(serde, Buffer.from(row, form)),
  };
}

/** Rows of windows stand in order of time. */
export const windowRowKeys = <K>(keys: RowKeys<K>, sizeMs: number): RowKeys<Windowed<K>> => ({
  bytes: ({ key }) => keys.bytes(key),
  toRow: ({ key, start }) => timeText(start) + keys.toRow(key),
  fromRow: (row) => {
    const [start, rest] = splitTime(row);
    return { key: keys.fromRow(rest), start, end: start + sizeMs };
  },
});

/** LMDB takes 1,978 bytes; windows and joins put times around a key. */
const maxRowBytes = 1900;
/** @throws SpoolError for a key that a store cannot hold: its record is parked, while the store stays whole */
export function checked(row: string): string {
  if (row.length * 3 > maxRowBytes && Buffer.byteLength(row) > maxRowBytes) {
    throw new SpoolError(
      'RECORD_TOO_LARGE',
      `a key of a store has ${maxRowBytes} bytes at the most; this one begins with ${row.slice(0, 50)}`,
    );
  }
  if (row.includes('\0')) throw new SpoolError('INVALID_PAYLOAD', `a key of a store cannot hold NUL: ${JSON.stringify(row.slice(0, 50))}`);
  return row;
}

const timestampBytes = 8;
/** A value as it stands in the store and in the changelog: its timestamp, then its bytes. */
export function toStored(timestamp: number, value: Buffer): Buffer {
  const row = Buffer.allocUnsafe(timestampBytes + value.length);
  row.writeDoubleBE(timestamp, 0);
  value.copy(row, timestampBytes);
  return row;
}
export const storedTimestamp = (row: Buffer): number => row.readDoubleBE(0);
export const storedBytes = (row: Buffer): Buffer => row.subarray(timestampBytes);
