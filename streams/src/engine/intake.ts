import type { Offset, Reader, Slice, TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { inOrderOfArrival, inOrderOfTime, type Buffer } from './buffers.js';
import type { Group, ProcessorDefinition } from './work.js';

export interface IntakeOptions {
  readonly reader: Reader;
  readonly maxBufferedRecords: number;
  /** See `ProcessorDefinition.order`. */
  readonly order: NonNullable<ProcessorDefinition['order']>;
  /** Which intake a topic belongs to. */
  readonly classOf: (topic: string) => number;
}

/** What has been read for a task and not been handed to its work, and how far its work is. Bounded: the reader is held when it is full. */
class Intake {
  readonly #partitions: ReadonlyMap<string, TopicPartition>;
  readonly #reader: Reader;
  readonly #buffer: Buffer;
  readonly #held = new Set<string>();
  /** Partitions that are not read. */
  readonly #still = new Set<string>();
  readonly #positions = new Map<string, Offset>();
  /** Where the next slice has to begin; unknown until the first one where reading starts at an end of the log. */
  readonly #expected = new Map<string, Offset>();
  readonly #ends = new Map<string, Offset>();
  readonly #pendingSince = new Map<string, number>();

  constructor(partitions: readonly TopicPartition[], { reader, maxBufferedRecords: maxRecords, order }: IntakeOptions) {
    this.#partitions = new Map(partitions.map((partition) => [partitionKey(partition), partition]));
    this.#reader = reader;
    const lags = (key: string): boolean => {
      const end = this.#ends.get(key);
      if (this.#still.has(key)) return false;
      return end === undefined || this.#expected.get(key)! < end;
    };
    this.#buffer =
      order === 'time' && partitions.length > 1
        ? inOrderOfTime({ keys: [...this.#partitions.keys()], maxRecords, lags })
        : inOrderOfArrival(maxRecords);
  }

  /** Reads each partition from its position. */
  open(positions: ReadonlyMap<string, Offset>, otherwise: 'earliest' | 'latest'): void {
    for (const [key, partition] of this.#partitions) {
      const at = positions.get(key);
      if (at !== undefined) this.#expect(key, at);
      this.#reader.assign(partition, at ?? otherwise);
    }
  }
  close(): void {
    for (const partition of this.#partitions.values()) this.#reader.unassign(partition);
  }

  get ready(): boolean {
    return this.#buffer.ready();
  }
  get holdsBack(): boolean {
    return this.#buffer.holdsBack;
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
    if (this.#still.has(key)) return;
    const next = this.#expected.get(key);
    if (next === undefined) this.#expect(key, slice.fromOffset);
    else if (next !== slice.fromOffset) return;
    this.#ends.set(key, slice.lastStableOffset);
    this.#expected.set(key, slice.nextOffset);
    if (slice.nextOffset === slice.fromOffset) return;
    this.#buffer.push(slice);
    const first = slice.records[0];
    if (first !== undefined && !this.#pendingSince.has(key)) this.#pendingSince.set(key, first.timestamp);
    this.#regulate();
  }

  take(limit: number): Group {
    const group = this.#buffer.take(limit);
    this.#regulate();
    return group;
  }

  handled(group: Group): void {
    for (const [key, at] of group.positions) {
      this.#positions.set(key, at);
      if (at >= (this.#ends.get(key) ?? at)) this.#pendingSince.delete(key);
    }
    // The last record of each partition tells; neighbours are mostly of the same one.
    const { records } = group;
    for (const [index, record] of records.entries()) {
      const next = records[index + 1];
      if (next?.partition === record.partition && next.topic === record.topic) continue;
      this.#pendingSince.set(partitionKey(record), record.timestamp);
    }
  }

  /** The partition is not read until `release`; what has been read of it is given up. */
  still(key: string): void {
    this.#still.add(key);
    this.#held.delete(key);
    this.#reader.unassign(this.#partitions.get(key)!);
    this.#buffer.drop(key);
    this.#regulate();
  }
  /** It is read again from where it is. Nothing of it may be under way. */
  release(key: string): void {
    const at = this.#positions.get(key);
    if (!this.#still.delete(key) || at === undefined) return;
    this.#expect(key, at);
    this.#reader.assign(this.#partitions.get(key)!, at);
  }

  /** What has been read and not handled is given up, and reading goes on at `starts`, or where the partition is. */
  moveTo(starts: ReadonlyMap<string, Offset>): void {
    this.#buffer.clear();
    this.#still.clear();
    this.#pendingSince.clear();
    this.#regulate();
    for (const [key, partition] of this.#partitions) {
      const start = starts.get(key) ?? this.#positions.get(key);
      if (start === undefined) continue;
      this.#expect(key, start);
      this.#reader.assign(partition, start);
    }
  }

  #expect(key: string, at: Offset): void {
    this.#positions.set(key, at);
    this.#expected.set(key, at);
  }

  /** Holds the reader where enough waits, and lets it go on where little does. */
  #regulate(): void {
    for (const [key, partition] of this.#partitions) {
      if (this.#still.has(key)) continue;
      if (this.#held.has(key)) {
        if (!this.#buffer.low(key)) continue;
        this.#held.delete(key);
        this.#reader.resume(partition);
      } else if (this.#buffer.full(key)) {
        this.#held.add(key);
        this.#reader.pause(partition);
      }
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

  constructor(partitions: readonly TopicPartition[], options: IntakeOptions) {
    const byClass = new Map<number, TopicPartition[]>();
    for (const partition of partitions) {
      const of = options.classOf(partition.topic);
      byClass.set(of, [...(byClass.get(of) ?? []), partition]);
    }
    this.#intakes = [...byClass]
      .sort(([a], [b]) => a - b)
      .map(([of, owned]) => {
        const intake = new Intake(owned, options);
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
  /** Whether `take` gives anything, given room. */
  get ready(): boolean {
    return this.#intakes.some((intake) => intake.ready);
  }
  /** Something is kept for the sake of order, and given after a while in any case: ask again. */
  get holdsBack(): boolean {
    return this.#intakes.some((intake) => intake.holdsBack);
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
      if (most > 0 && intake.ready) return intake.take(most);
    }
    return undefined;
  }
  handled(group: Group): void {
    const [key] = group.positions.keys();
    if (key !== undefined) this.#byPartition.get(key)?.handled(group);
  }
  still(key: string): void {
    this.#byPartition.get(key)?.still(key);
  }
  release(key: string): void {
    this.#byPartition.get(key)?.release(key);
  }
  moveTo(starts: ReadonlyMap<string, Offset>): void {
    for (const intake of this.#intakes) intake.moveTo(starts);
  }
}
