import { offset, type ConsumedRecord, type Offset, type Slice } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import type { Group } from './work.js';

/** What has been read and not been handed out. */
export interface Buffer {
  push(slice: Slice): void;
  /** Whether `take` gives anything now. */
  ready(): boolean;
  /** Only when `ready`. */
  take(limit: number): Group;
  /** So many records wait that no more of this partition should be read; they are few again. */
  full(key: string): boolean;
  low(key: string): boolean;
  /** Something waits, and is not handed out yet for the sake of order. */
  readonly holdsBack: boolean;
  /** Forgets what waits of this partition. */
  drop(key: string): void;
  clear(): void;
}

/** As it arrives. The bound is for all partitions together. */
export function inOrderOfArrival(maxRecords: number): Buffer {
  let queue: Slice[] = [];
  let buffered = 0;
  return {
    push(slice) {
      queue.push(slice);
      buffered += slice.records.length;
    },
    ready: () => queue.length > 0,
    take(limit) {
      const records: ConsumedRecord[] = [];
      const positions = new Map<string, Offset>();
      while (queue.length > 0 && records.length < limit) {
        const slice = queue[0]!;
        const room = limit - records.length;
        if (slice.records.length <= room) {
          queue.shift();
          for (const record of slice.records) records.push(record);
          positions.set(partitionKey(slice), slice.nextOffset);
        } else {
          const now = slice.records.slice(0, room);
          for (const record of now) records.push(record);
          positions.set(partitionKey(slice), offset(now.at(-1)!.offset + 1n));
          queue[0] = { ...slice, records: slice.records.slice(room) };
        }
      }
      buffered -= records.length;
      return { records, positions };
    },
    full: () => buffered > maxRecords,
    low: () => buffered <= maxRecords / 2,
    holdsBack: false,
    drop(key) {
      queue = queue.filter((slice) => partitionKey(slice) !== key);
      buffered = queue.reduce((sum, { records }) => sum + records.length, 0);
    },
    clear() {
      queue = [];
      buffered = 0;
    },
  };
}

interface Queue {
  readonly key: string;
  readonly slices: Slice[];
  /** Next record of the first slice. */
  next: number;
  records: number;
}

export interface OrderOfTimeOptions {
  readonly keys: readonly string[];
  readonly maxRecords: number;
  /** More of this partition is in the log than has been read. */
  readonly lags: (key: string) => boolean;
  /** How long the others wait for a partition that lags and gives nothing, in milliseconds. @default 10000 */
  readonly patienceMs?: number;
}

/**
 * Each partition keeps its own order; of their next records the earliest goes first. While a partition has nothing here and lags, nothing is handed
 * out: its next record may be earlier than all others. The bound is for each partition by itself, so that a full one never keeps out the one that
 * is waited for.
 */
export function inOrderOfTime({ keys, maxRecords, lags, patienceMs = 10_000 }: OrderOfTimeOptions): Buffer {
  const queues = new Map<string, Queue>(keys.map((key) => [key, { key, slices: [], next: 0, records: 0 }]));
  const share = maxRecords / queues.size;
  /** Since when something waits for a partition that lags. */
  let heldSince: number | undefined;

  /** Nobody is to be waited for, or it has been long enough. */
  const complete = (): boolean => {
    let waits = false;
    for (const { key, slices } of queues.values()) if (slices.length === 0 && lags(key)) waits = true;
    heldSince = waits ? (heldSince ?? performance.now()) : undefined;
    return heldSince === undefined || performance.now() - heldSince >= patienceMs;
  };
  const something = (): boolean => {
    for (const { slices } of queues.values()) if (slices.length > 0) return true;
    return false;
  };
  /** The first slice that is not wholly handed out; those that only move the position go with it. */
  const head = (queue: Queue, positions: Map<string, Offset>): ConsumedRecord | undefined => {
    for (let slice = queue.slices[0]; slice !== undefined; slice = queue.slices[0]) {
      const record = slice.records[queue.next];
      if (record !== undefined) return record;
      queue.slices.shift();
      queue.next = 0;
      positions.set(queue.key, slice.nextOffset);
    }
    return undefined;
  };
  return {
    push(slice) {
      const queue = queues.get(partitionKey(slice))!;
      queue.slices.push(slice);
      queue.records += slice.records.length;
    },
    ready: () => something() && complete(),
    take(limit) {
      const records: ConsumedRecord[] = [];
      const positions = new Map<string, Offset>();
      for (;;) {
        let earliest: Queue | undefined;
        let record: ConsumedRecord | undefined;
        let drained = false;
        for (const queue of queues.values()) {
          const first = head(queue, positions);
          if (first === undefined) drained = true;
          else if (record === undefined || first.timestamp < record.timestamp) {
            earliest = queue;
            record = first;
          }
        }
        if (earliest === undefined || record === undefined || records.length === limit) return { records, positions };
        if (drained && !complete()) return { records, positions };
        records.push(record);
        earliest.next += 1;
        earliest.records -= 1;
        positions.set(earliest.key, offset(record.offset + 1n));
      }
    },
    full: (key) => queues.get(key)!.records > share,
    low: (key) => queues.get(key)!.records <= share / 2,
    get holdsBack() {
      return something() && !complete();
    },
    drop(key) {
      const queue = queues.get(key)!;
      queue.slices.length = 0;
      queue.next = queue.records = 0;
    },
    clear() {
      heldSince = undefined;
      for (const key of queues.keys()) this.drop(key);
    },
  };
}
