import { offset, type ConsumedRecord, type Offset, type Reader, type Slice, type TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import type { Group } from './work.js';

/** What has been read for a task and not been handed to its work, and how far its work is. Bounded: the reader is held when it is full. */
class Intake {
  #queue: Slice[] = [];
  #buffered = 0;
  #held = false;
  readonly #positions = new Map<string, Offset>();
  /** Where the next slice has to begin; unknown until the first one where reading starts at an end of the log. */
  readonly #expected = new Map<string, Offset>();
  readonly #ends = new Map<string, Offset>();
  readonly #pendingSince = new Map<string, number>();

  constructor(
    private readonly partitions: readonly TopicPartition[],
    private readonly reader: Reader,
    private readonly maxBufferedRecords: number,
  ) {}

  /** Reads each partition from its position. */
  open(positions: ReadonlyMap<string, Offset>, otherwise: 'earliest' | 'latest'): void {
    for (const partition of this.partitions) {
      const at = positions.get(partitionKey(partition));
      if (at !== undefined) this.#expect(partitionKey(partition), at);
      this.reader.assign(partition, at ?? otherwise);
    }
  }
  close(): void {
    for (const partition of this.partitions) this.reader.unassign(partition);
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }
  /** Next offset of each partition to be handled. */
  get positions(): ReadonlyMap<string, Offset> {
    return this.#positions;
  }
  /** The last stable offset at the last fetch. */
  end(key: string): Offset | undefined {
    return this.#ends.get(key);
  }
  /** Timestamp of about the first record that waits. */
  since(key: string): number | undefined {
    return this.#pendingSince.get(key);
  }

  /** A slice that does not continue the one before it is passed over. */
  offer(slice: Slice): void {
    const key = partitionKey(slice);
    const next = this.#expected.get(key);
    if (next === undefined) this.#expect(key, slice.fromOffset);
    else if (next !== slice.fromOffset) return;
    this.#ends.set(key, slice.lastStableOffset);
    this.#expected.set(key, slice.nextOffset);
    if (slice.nextOffset === slice.fromOffset) return;
    this.#queue.push(slice);
    this.#buffered += slice.records.length;
    const first = slice.records[0];
    if (first !== undefined && !this.#pendingSince.has(key)) this.#pendingSince.set(key, first.timestamp);
    if (!this.#held && this.#buffered > this.maxBufferedRecords) this.#hold(true);
  }

  take(limit: number): Group {
    const records: ConsumedRecord[] = [];
    const positions = new Map<string, Offset>();
    while (this.#queue.length > 0 && records.length < limit) {
      const slice = this.#queue[0]!;
      const room = limit - records.length;
      if (slice.records.length <= room) {
        this.#queue.shift();
        for (const record of slice.records) records.push(record);
        positions.set(partitionKey(slice), slice.nextOffset);
      } else {
        const now = slice.records.slice(0, room);
        for (const record of now) records.push(record);
        positions.set(partitionKey(slice), offset(now.at(-1)!.offset + 1n));
        this.#queue[0] = { ...slice, records: slice.records.slice(room) };
      }
    }
    this.#buffered -= records.length;
    if (this.#held && this.#buffered <= this.maxBufferedRecords / 2) this.#hold(false);
    return { records, positions };
  }

  handled(group: Group): void {
    for (const [key, at] of group.positions) {
      this.#positions.set(key, at);
      if (at >= (this.#ends.get(key) ?? at)) this.#pendingSince.delete(key);
    }
    for (const record of group.records) this.#pendingSince.set(partitionKey(record), record.timestamp);
  }

  /** What has been read and not handled is given up, and reading goes on at `starts`, or where the partition is. */
  moveTo(starts: ReadonlyMap<string, Offset>): void {
    this.#queue = [];
    this.#buffered = 0;
    this.#pendingSince.clear();
    if (this.#held) this.#hold(false);
    for (const partition of this.partitions) {
      const key = partitionKey(partition);
      const start = starts.get(key) ?? this.#positions.get(key);
      if (start === undefined) continue;
      this.#expect(key, start);
      this.reader.assign(partition, start);
    }
  }

  #expect(key: string, at: Offset): void {
    this.#positions.set(key, at);
    this.#expected.set(key, at);
  }

  #hold(hold: boolean): void {
    this.#held = hold;
    for (const partition of this.partitions) {
      if (hold) this.reader.pause(partition);
      else this.reader.resume(partition);
    }
  }
}

/**
 * An intake for each class of topics: a backlog in one fills its own, and leaves the others free.
 */
export class Intakes {
  readonly #intakes: readonly Intake[];
  readonly #byPartition = new Map<string, Intake>();
  readonly #classes = new Map<Intake, number>();

  constructor(partitions: readonly TopicPartition[], reader: Reader, maxBufferedRecords: number, classOf: (topic: string) => number) {
    const byClass = new Map<number, TopicPartition[]>();
    for (const partition of partitions) {
      const of = classOf(partition.topic);
      byClass.set(of, [...(byClass.get(of) ?? []), partition]);
    }
    this.#intakes = [...byClass].map(([of, owned]) => {
      const intake = new Intake(owned, reader, maxBufferedRecords);
      for (const partition of owned) this.#byPartition.set(partitionKey(partition), intake);
      this.#classes.set(intake, of);
      return intake;
    });
  }

  open(positions: ReadonlyMap<string, Offset>, otherwise: 'earliest' | 'latest'): void {
    for (const intake of this.#intakes) intake.open(positions, otherwise);
  }
  close(): void {
    for (const intake of this.#intakes) intake.close();
  }
  get empty(): boolean {
    return this.#intakes.every((intake) => intake.empty);
  }
  get positions(): ReadonlyMap<string, Offset> {
    return this.#intakes.length === 1 ? this.#intakes[0]!.positions : new Map(this.#intakes.flatMap((intake) => [...intake.positions]));
  }
  position(key: string): Offset | undefined {
    return this.#byPartition.get(key)?.positions.get(key);
  }
  end(key: string): Offset | undefined {
    return this.#byPartition.get(key)?.end(key);
  }
  since(key: string): number | undefined {
    return this.#byPartition.get(key)?.since(key);
  }
  offer(slice: Slice): void {
    this.#byPartition.get(partitionKey(slice))?.offer(slice);
  }
  /** Of the first class that has something and may give it. */
  take(limit: number, room: (of: number) => number): Group | undefined {
    for (const [intake, of] of this.#classes) {
      const most = Math.min(limit, room(of));
      if (most > 0 && !intake.empty) return intake.take(most);
    }
    return undefined;
  }
  handled(group: Group): void {
    const [key] = group.positions.keys();
    if (key !== undefined) this.#byPartition.get(key)?.handled(group);
  }
  moveTo(starts: ReadonlyMap<string, Offset>): void {
    for (const intake of this.#intakes) intake.moveTo(starts);
  }
}
