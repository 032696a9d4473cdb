import { SpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset, type ProducerRecord, type TopicPartition } from '../port.js';

/** A transaction as the logs see it: its records count once it is settled. */
export interface MemoryTransaction {
  state: 'open' | 'committed' | 'aborted';
}

interface Entry {
  readonly at: number;
  /** Absent for the marker that ends a transaction. */
  readonly record?: ConsumedRecord;
  readonly transaction?: MemoryTransaction;
  readonly bytes: number;
}

/** The log of one partition, with the gaps of a real one: markers take an offset, compaction and retention leave holes. */
export class MemoryLog {
  readonly #of: TopicPartition;
  readonly #maxMessageBytes: () => number;
  #entries: Entry[] = [];
  /** Transactions that had not been settled when last looked at, with their first offset here. */
  #open: { readonly transaction: MemoryTransaction; readonly at: number }[] = [];
  #start = 0;
  #end = 0;

  constructor(of: TopicPartition, maxMessageBytes: () => number) {
    this.#of = of;
    this.#maxMessageBytes = maxMessageBytes;
  }

  get start(): number {
    return this.#start;
  }
  get end(): number {
    return this.#end;
  }

  /** Beginning of the first open transaction, or the end. */
  get stableEnd(): number {
    this.#open = this.#open.filter(({ transaction }) => transaction.state === 'open');
    return this.#open[0]?.at ?? this.#end;
  }

  /** @throws SpoolError RECORD_TOO_LARGE */
  check(record: ProducerRecord): void {
    const bytes = sizeOf(record);
    const limit = this.#maxMessageBytes();
    if (bytes > limit) throw new SpoolError('RECORD_TOO_LARGE', `send to ${record.topic}: ${bytes} bytes, the topic allows ${limit}`);
  }

  append(record: ProducerRecord, timestamp: number, transaction?: MemoryTransaction): Offset {
    const at = this.#end++;
    const consumed: ConsumedRecord = {
      ...this.#of,
      offset: offset(at),
      key: record.key === null ? null : Buffer.from(record.key),
      value: record.value === null ? null : Buffer.from(record.value),
      headers: Object.fromEntries(Object.entries(record.headers ?? {}).map(([name, value]) => [name, Buffer.from(value)])),
      timestamp,
    };
    if (transaction && !this.#open.some((open) => open.transaction === transaction)) this.#open.push({ transaction, at });
    this.#entries.push({ at, record: consumed, bytes: sizeOf(record), ...(transaction ? { transaction } : {}) });
    return consumed.offset;
  }

  mark(): void {
    this.#entries.push({ at: this.#end++, bytes: 0 });
  }

  /** Records from `position` on, at least one if there is one, and where to go on. */
  read(position: number, maxBytes: number, readCommitted: boolean): { records: ConsumedRecord[]; next: number } {
    const stop = readCommitted ? this.stableEnd : this.#end;
    const records: ConsumedRecord[] = [];
    let bytes = 0;
    for (let i = this.#indexOf(position); i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (entry.at >= stop) break;
      if (!entry.record || (readCommitted && entry.transaction?.state === 'aborted')) continue;
      if (records.length > 0 && bytes + entry.bytes > maxBytes) return { records, next: entry.at };
      bytes += entry.bytes;
      records.push(entry.record);
    }
    return { records, next: Math.max(position, stop) };
  }

  /** The first record at or after a time, or -1. */
  offsetAt(timestamp: number): number {
    return this.#entries.find(({ record }) => record !== undefined && record.timestamp >= timestamp)?.at ?? -1;
  }

  /** Forgets what lies before an offset, as retention does. */
  truncate(before: number): void {
    this.#start = Math.min(Math.max(before, this.#start), this.#end);
    this.#entries = this.#entries.slice(this.#indexOf(this.#start));
  }

  /** Keeps the last record of each key, and of tombstones nothing. */
  compact(): void {
    const last = new Map<string, number>();
    const stable = this.stableEnd;
    const counts = ({ record, transaction, at }: Entry) => record?.key != null && transaction?.state !== 'aborted' && at < stable;
    for (const entry of this.#entries) if (counts(entry)) last.set(entry.record!.key!.toString('latin1'), entry.at);
    this.#entries = this.#entries.filter(
      (entry) =>
        entry.at >= stable ||
        (counts(entry) && entry.record!.value !== null && last.get(entry.record!.key!.toString('latin1')) === entry.at),
    );
  }

  /** Binary search: the first entry at or after a position. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle]!.at < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** About what a record takes in a batch. */
export function sizeOf(record: ProducerRecord): number {
  let bytes = 20 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const [name, value] of Object.entries(record.headers ?? {})) bytes += 4 + name.length + value.length;
  return bytes;
}
