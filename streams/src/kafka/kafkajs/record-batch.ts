import type { ProducerRecord } from '../port.js';
import { crc32c } from './crc32c.js';
import type { ProducerIdentity } from './messages.js';

/** A record made ready once: measured, with a bound for its size. */
export interface ReadyRecord {
  readonly key: string | Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string | Buffer>>;
  readonly headerCount: number;
  readonly timestamp: number;
  /** Never less than what the record takes in a batch. */
  readonly maxBytes: number;
}

const NO_HEADERS: ReadyRecord['headers'] = {};
/** Varints of length, timestamp, offset, key, value and header count, and the attributes, at their longest. */
const RECORD_OVERHEAD = 5 + 1 + 10 + 5 + 5 + 5 + 5;
const HEADER_OVERHEAD = 5 + 5;
/** Bytes of a batch before its first record. */
export const BATCH_OVERHEAD = 61;

export function readyRecord(record: ProducerRecord, now: number): ReadyRecord {
  const { key, value, headers = NO_HEADERS } = record;
  let maxBytes = RECORD_OVERHEAD + (key === null ? 0 : maxBytesOf(key)) + (value?.length ?? 0);
  let headerCount = 0;
  for (const name in headers) {
    maxBytes += HEADER_OVERHEAD + maxBytesOf(name) + maxBytesOf(headers[name]!);
    headerCount++;
  }
  return { key, value, headers, headerCount, timestamp: Math.trunc(record.timestamp ?? now), maxBytes };
}

/** UTF-8 takes three bytes for each UTF-16 unit at most. */
const maxBytesOf = (text: string | Buffer): number => (typeof text === 'string' ? 3 * text.length : text.length);

export interface BatchToSend {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly ReadyRecord[];
  readonly identity: ProducerIdentity;
  /** Sequence number of the first record. */
  readonly sequence: number;
}

export const maxBatchBytes = (records: readonly ReadyRecord[]): number =>
  records.reduce((sum, record) => sum + record.maxBytes, BATCH_OVERHEAD);

/** Writes a record batch (magic 2, not compressed) at `start` and returns where it ends. `target` must have `maxBatchBytes` of room. */
export function writeBatch(target: Buffer, start: number, batch: BatchToSend, transactional: boolean): number {
  const { records, identity } = batch;
  const first = records[0]!.timestamp;
  let latest = first;
  let at = start + BATCH_OVERHEAD;
  for (let i = 0; i < records.length; i++) {
    const record = records[i]!;
    if (record.timestamp > latest) latest = record.timestamp;
    at = writeRecord(target, at, record, i, record.timestamp - first);
  }
  target.writeBigInt64BE(0n, start); // base offset: the broker's to give
  target.writeInt32BE(at - start - 12, start + 8);
  target.writeInt32BE(-1, start + 12); // leader epoch: the broker's to give
  target.writeInt8(2, start + 16); // magic
  target.writeInt16BE(transactional ? 0x10 : 0, start + 21);
  target.writeInt32BE(records.length - 1, start + 23);
  target.writeBigInt64BE(BigInt(first), start + 27);
  target.writeBigInt64BE(BigInt(latest), start + 35);
  target.writeBigInt64BE(identity.producerId, start + 43);
  target.writeInt16BE(identity.epoch, start + 51);
  target.writeInt32BE(batch.sequence, start + 53);
  target.writeInt32BE(records.length, start + 57);
  target.writeUInt32BE(crc32c(target, start + 21, at), start + 17);
  return at;
}

function writeRecord(target: Buffer, start: number, record: ReadyRecord, offsetDelta: number, timestampDelta: number): number {
  // the length comes first and is a varint: leave as many bytes as it may take, and move the record when they were too many
  const left = varintSize(record.maxBytes);
  const body = start + left;
  target[body] = 0; // attributes
  let at = writeVarint(target, body + 1, timestampDelta);
  at = writeVarint(target, at, offsetDelta);
  at = record.key === null ? writeVarint(target, at, -1) : write(target, at, record.key);
  at = record.value === null ? writeVarint(target, at, -1) : write(target, at, record.value);
  at = writeVarint(target, at, record.headerCount);
  const { headers } = record;
  for (const name in headers) at = write(target, write(target, at, name), headers[name]!);
  const length = at - body;
  const less = left - varintSize(length);
  if (less > 0) target.copyWithin(body - less, body, at);
  writeVarint(target, start, length);
  return at - less;
}

const write = (target: Buffer, at: number, data: string | Buffer): number =>
  typeof data === 'string' ? writeText(target, at, data) : writeBytes(target, at, data);

function writeBytes(target: Buffer, at: number, bytes: Buffer): number {
  const start = writeVarint(target, at, bytes.length);
  target.set(bytes, start);
  return start + bytes.length;
}

/** Texts of fewer units than this have a length of one byte, and are written faster by hand than by a call out of JavaScript. */
const SHORT = 64;

function writeText(target: Buffer, at: number, text: string): number {
  const units = text.length;
  if (units < SHORT) {
    let end = at + 1;
    let i = 0;
    for (; i < units; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) break;
      target[end++] = code;
    }
    if (i === units) {
      target[at] = units << 1;
      return end;
    }
  }
  const length = Buffer.byteLength(text);
  const start = writeVarint(target, at, length);
  target.write(text, start, length);
  return start + length;
}

/** Zigzag varint; beyond 32 bits by division, since bit operators see 32 only. */
function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value >= 0 ? value * 2 : -value * 2 - 1;
  while (rest > 0x7fffffff) {
    target[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 0x7f) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

function varintSize(value: number): number {
  const zigzag = value * 2;
  return zigzag < 1 << 7 ? 1 : zigzag < 1 << 14 ? 2 : zigzag < 1 << 21 ? 3 : zigzag < 1 << 28 ? 4 : 5;
}
