import { SpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord } from '../port.js';
import { decompress } from './compression.js';
import { readInt64, type FetchedPartition } from './fetch.js';
import { BATCH_OVERHEAD } from './record-batch.js';

const COMPRESSION = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

export interface Decoded {
  readonly records: ConsumedRecord[];
  /** Beyond the last batch, holes at its end included; the position asked for when there was none. */
  readonly nextOffset: number;
}

/**
 * Decodes what a fetch from `position` gave: leaves out control records, records of `aborted` transactions and records before the position
 * (the broker gives whole batches). Keys, values and headers are views of the answer's memory.
 */
export async function decodeRecords(fetched: FetchedPartition, position: number, readCommitted: boolean): Promise<Decoded> {
  const { batches, topic, partition, aborted } = fetched;
  const records: ConsumedRecord[] = [];
  const rolledBack = new Set<bigint>();
  let nextAborted = 0;
  let nextOffset = position;
  for (let at = 0; at + BATCH_OVERHEAD <= batches.length;) {
    const end = at + 12 + batches.readInt32BE(at + 8);
    if (end > batches.length) break; // cut off by the size limit; the next fetch brings it whole
    const magic = batches.readInt8(at + 16);
    if (magic !== 2)
      throw new SpoolError(
        'RECORD_UNREADABLE',
        `${topic}-${partition}: message format v${magic} is older than Kafka 0.11 and cannot be read`,
      );
    const baseOffset = readInt64(batches, at);
    const attributes = batches.readInt16BE(at + 21);
    const lastOffset = baseOffset + batches.readInt32BE(at + 23);
    const producerId = batches.readBigInt64BE(at + 43);
    const count = batches.readInt32BE(at + 57);
    if (lastOffset >= position) {
      const context: BatchContext = {
        topic,
        partition,
        baseOffset,
        position,
        firstTimestamp: readInt64(batches, at + 27),
        appendTime: attributes & LOG_APPEND_TIME ? readInt64(batches, at + 35) : undefined,
      };
      for (; nextAborted < aborted.length && aborted[nextAborted]!.firstOffset <= lastOffset; nextAborted++)
        rolledBack.add(aborted[nextAborted]!.producerId);
      if (attributes & CONTROL) {
        if (count > 0 && isAbortMarker(batches.subarray(at + BATCH_OVERHEAD, end))) rolledBack.delete(producerId);
      } else if (!(readCommitted && attributes & TRANSACTIONAL && rolledBack.has(producerId))) {
        const codec = attributes & COMPRESSION;
        if (codec === 0) readRecords(batches, at + BATCH_OVERHEAD, count, context, records);
        else readRecords(await decompress(codec, batches.subarray(at + BATCH_OVERHEAD, end)), 0, count, context, records);
      }
      nextOffset = lastOffset + 1;
    }
    at = end;
  }
  return { records, nextOffset };
}

interface BatchContext {
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: number;
  readonly position: number;
  readonly firstTimestamp: number;
  /** When the topic says LogAppendTime: one time for the whole batch. */
  readonly appendTime: number | undefined;
}

const EMPTY = Buffer.alloc(0);
const NO_HEADERS: Readonly<Record<string, Buffer>> = Object.freeze({});

/** Where the last varint ended. Varints are read in the innermost loop, where an object for two results would cost most. */
let cursor = 0;

function readRecords(bytes: Buffer, start: number, count: number, context: BatchContext, into: ConsumedRecord[]): void {
  const { topic, partition, baseOffset, position, firstTimestamp, appendTime } = context;
  const before: (Buffer | undefined)[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const length = readVarint(bytes, at);
    const end = cursor + length;
    const timestampDelta = readVarint(bytes, cursor + 1); // after the attributes
    const place = baseOffset + readVarint(bytes, cursor);
    if (place >= position) {
      const key = readNullable(bytes, cursor);
      const value = readNullable(bytes, cursor);
      into.push({
        topic,
        partition,
        offset: offset(place),
        key,
        value,
        headers: readHeaders(bytes, cursor, before),
        timestamp: appendTime ?? firstTimestamp + timestampDelta,
      });
    }
    at = end;
  }
}

function readNullable(bytes: Buffer, at: number): Buffer | null {
  const length = readVarint(bytes, at);
  if (length < 0) return null;
  const start = cursor;
  cursor = start + length;
  return bytes.subarray(start, cursor);
}

/** Header names of the record before: nearly always the same ones in the same order, so that their text need not be made again. */
const lastNames: { readonly bytes: Buffer; readonly text: string }[] = [];
const MAX_LAST_NAMES = 32;

/** @param before the values of the record before, by place: most are the same again, and a view costs more than a look at its bytes */
function readHeaders(bytes: Buffer, at: number, before: (Buffer | undefined)[]): Readonly<Record<string, Buffer>> {
  const count = readVarint(bytes, at);
  if (count === 0) return NO_HEADERS;
  const headers: Record<string, Buffer> = {};
  for (let i = 0; i < count; i++) {
    const length = readVarint(bytes, cursor);
    const start = cursor;
    const name = nameAt(i, bytes, start, start + length);
    const value = readSame(bytes, start + length, before[i]) ?? readNullable(bytes, start + length) ?? EMPTY;
    before[i] = value;
    // `__proto__` from a foreign client must become a header, not a prototype
    if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true });
    else headers[name] = value;
  }
  return headers;
}

/** What is at this place, if it is the same as `last`; the cursor is then behind it. */
function readSame(bytes: Buffer, at: number, last: Buffer | undefined): Buffer | undefined {
  if (last === undefined || readVarint(bytes, at) !== last.length) return undefined;
  const start = cursor;
  for (let i = 0; i < last.length; i++) if (bytes[start + i] !== last[i]) return undefined;
  cursor = start + last.length;
  return last;
}

function nameAt(index: number, bytes: Buffer, start: number, end: number): string {
  const last = lastNames[index];
  if (last?.bytes.length === end - start) {
    let i = start;
    while (i < end && bytes[i] === last.bytes[i - start]) i++;
    if (i === end) return last.text;
  }
  const text = bytes.toString('utf8', start, end);
  if (index < MAX_LAST_NAMES) lastNames[index] = { bytes: Buffer.from(bytes.subarray(start, end)), text };
  return text;
}

/** Zigzag varint of up to 64 bits, exact up to 2^53; `cursor` is then behind it. */
function readVarint(bytes: Buffer, at: number): number {
  let byte = bytes[at++]!;
  if (byte < 0x80) {
    cursor = at;
    return (byte >>> 1) ^ -(byte & 1);
  }
  let low = byte & 0x7f;
  for (let shift = 7; shift < 28; shift += 7) {
    byte = bytes[at++]!;
    low |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      cursor = at;
      return (low >>> 1) ^ -(low & 1);
    }
  }
  let value = low;
  let scale = 2 ** 28;
  do {
    byte = bytes[at++]!;
    value += (byte & 0x7f) * scale;
    scale *= 128;
  } while (byte >= 0x80);
  cursor = at;
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** A control record's key is its version and its type: 0 takes the transaction back, 1 commits it. */
function isAbortMarker(records: Buffer): boolean {
  readVarint(records, 0);
  readVarint(records, cursor + 1);
  readVarint(records, cursor);
  const key = readNullable(records, cursor);
  return key !== null && key.length >= 4 && key.readInt16BE(2) === 0;
}
