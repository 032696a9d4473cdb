import { toSpoolError, type SpoolError } from '@spool/schemas';
import { offset, type Offset, type Reader, type Slice, type TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { backOffMs, pause } from './retry.js';
import type { Group, PartitionStatus, ReplayStatus, Rewind, TaskWork } from './work.js';

export interface TaskOptions {
  readonly id: string;
  readonly partitions: readonly TopicPartition[];
  readonly work: TaskWork;
  readonly reader: Reader;
  readonly startAt: 'earliest' | 'latest';
  readonly maxGroupRecords: number;
  readonly maxBufferedRecords: number;
  readonly now: () => number;
  /** Called once, when the task cannot go on; it has stopped by then. */
  readonly onFailed: (task: Task, error: SpoolError) => void;
  readonly onProgress: () => void;
}

type Order = () => void;
const emptyGroup: Group = { records: [], positions: new Map() };
const maxSleepMs = 250;

/** One input partition set and the loop over its groups. Everything that changes it happens between two groups. */
export class Task {
  readonly id: string;
  readonly partitions: readonly TopicPartition[];
  error: SpoolError | undefined;
  #queue: Slice[] = [];
  #buffered = 0;
  #held = false;
  readonly #keys: ReadonlySet<string>;
  readonly #positions = new Map<string, Offset>();
  /** Where the next slice has to begin; unknown until the first one where reading starts at an end of the log. */
  readonly #next = new Map<string, Offset>();
  readonly #ends = new Map<string, Offset>();
  readonly #pendingSince = new Map<string, number>();
  readonly #orders: Order[] = [];
  readonly #stop = new AbortController();
  #paused = false;
  #quiesced = false;
  #recordsPerSecond: number | undefined;
  #steps = 0;
  #wake: (() => void) | undefined;
  #idle: Promise<void> = Promise.resolve();
  #loop: Promise<void> | undefined;

  constructor(private readonly options: TaskOptions) {
    this.id = options.id;
    this.partitions = options.partitions;
    this.#keys = new Set(options.partitions.map(partitionKey));
  }

  start(): void {
    for (const partition of this.partitions) {
      const at = this.options.work.positions.get(partitionKey(partition));
      if (at !== undefined) this.#expect(partitionKey(partition), at);
      this.options.reader.assign(partition, at ?? this.options.startAt);
    }
    this.#loop = this.#run();
  }

  owns(partition: TopicPartition): boolean {
    return this.#keys.has(partitionKey(partition));
  }

  offer(slice: Slice): void {
    const key = partitionKey(slice);
    const next = this.#next.get(key);
    if (next === undefined) this.#expect(key, slice.fromOffset);
    else if (next !== slice.fromOffset) return;
    this.#ends.set(key, slice.lastStableOffset);
    this.#next.set(key, slice.nextOffset);
    if (slice.nextOffset === slice.fromOffset) return;
    this.#queue.push(slice);
    this.#buffered += slice.records.length;
    const first = slice.records[0];
    if (first !== undefined && !this.#pendingSince.has(key)) this.#pendingSince.set(key, first.timestamp);
    if (!this.#held && this.#buffered > this.options.maxBufferedRecords) this.#hold(true);
    this.#wake?.();
  }

  /** Between two groups: the order waits until the one under way is durable. */
  order(apply: Order): void {
    this.#orders.push(apply);
    this.#wake?.();
  }
  pause(): void {
    this.order(() => (this.#paused = true));
  }
  resume(): void {
    this.order(() => (this.#paused = false));
  }
  /** While paused: handles so many records more. */
  step(records: number): void {
    this.order(() => (this.#steps += records));
  }
  limit(recordsPerSecond: number | undefined): void {
    this.order(() => (this.#recordsPerSecond = recordsPerSecond));
  }
  rewind(rewind: Rewind): void {
    this.order(() => {
      if (rewind.epoch <= this.options.work.epoch) return;
      this.options.work.rewind?.(rewind);
      this.#drop();
      for (const partition of this.partitions) {
        const start = rewind.starts.get(partitionKey(partition));
        if (start === undefined) continue;
        this.#expect(partitionKey(partition), start);
        this.options.reader.assign(partition, start);
      }
      this.#paused = false;
      this.options.onProgress();
    });
  }
  cancelReplay(replayId: string): void {
    this.order(() => {
      this.options.work.cancelReplay?.(replayId);
      this.options.onProgress();
    });
  }

  /** Ends when the group under way is durable; nothing starts after it until `unquiesce`. */
  async quiesce(): Promise<void> {
    this.#quiesced = true;
    await this.#idle;
  }
  unquiesce(): void {
    this.#quiesced = false;
    this.#wake?.();
  }

  /** Closed or failed: it will not go on. */
  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }
  get paused(): boolean {
    return this.#paused;
  }
  get positions(): ReadonlyMap<string, Offset> {
    return this.#positions;
  }
  get replay(): ReplayStatus | undefined {
    const { replay } = this.options.work;
    if (replay === undefined) return undefined;
    const running = replay.state === 'running';
    return { ...replay, state: running && this.#paused ? 'paused' : replay.state, current: new Map(this.#positions) };
  }
  get epoch(): bigint {
    return this.options.work.epoch;
  }
  status(): readonly PartitionStatus[] {
    return this.partitions.map((partition) => {
      const key = partitionKey(partition);
      const position = this.#positions.get(key) ?? offset(0);
      const end = this.#ends.get(key) ?? position;
      const since = position < end ? this.#pendingSince.get(key) : undefined;
      return { ...partition, position, end, lagSeconds: since === undefined ? 0 : Math.max(0, (this.options.now() - since) / 1000) };
    });
  }

  /** Stops after the group under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    await this.#loop;
    for (const partition of this.partitions) this.options.reader.unassign(partition);
    await this.options.work.close();
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      for (let order = this.#orders.shift(); order !== undefined; order = this.#orders.shift()) order();
      const group = this.#take();
      if (group === undefined) {
        await this.#sleep();
        continue;
      }
      // Timers that set themselves again and again leave room for everything else.
      if (group === emptyGroup) await new Promise((resolve) => setImmediate(resolve));
      const work = this.#process(group);
      this.#idle = work.then(
        () => undefined,
        () => undefined,
      );
      try {
        await work;
      } catch (thrown) {
        this.error = toSpoolError(thrown);
        this.#stop.abort();
        for (const partition of this.partitions) this.options.reader.unassign(partition);
        this.options.onFailed(this, this.error);
        return;
      }
    }
  }

  async #process(group: Group): Promise<void> {
    const began = this.options.now();
    for (let attempt = 0; ; attempt++) {
      try {
        await this.options.work.process(group);
        this.error = undefined;
        break;
      } catch (thrown) {
        const error = toSpoolError(thrown);
        if (error.entry.retryable !== 'backoff') throw error;
        this.error = error;
        if (!(await pause(backOffMs(attempt), this.#stop.signal))) return;
      }
    }
    for (const [key, at] of group.positions) {
      this.#positions.set(key, at);
      if (at >= (this.#ends.get(key) ?? at)) this.#pendingSince.delete(key);
    }
    for (const record of group.records) this.#pendingSince.set(partitionKey(record), record.timestamp);
    this.options.onProgress();
    if (this.#recordsPerSecond !== undefined) {
      const due = (group.records.length / this.#recordsPerSecond) * 1000 - (this.options.now() - began);
      if (due > 0) await pause(due, this.#stop.signal);
    }
  }

  /** Until something comes, or a timer is due. */
  async #sleep(): Promise<void> {
    const { nextTimer } = this.options.work;
    const idle = this.#quiesced || this.#paused || nextTimer === undefined;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      // The clock may be set: look at it now and then.
      if (!idle) timer = setTimeout(resolve, Math.min(maxSleepMs, Math.max(1, nextTimer - this.options.now())));
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }

  #take(): Group | undefined {
    if (this.#quiesced || (this.#paused && this.#steps <= 0)) return undefined;
    if (this.#queue.length === 0) {
      const due = (this.options.work.nextTimer ?? Number.POSITIVE_INFINITY) <= this.options.now();
      return due ? emptyGroup : undefined;
    }
    const rate = this.#recordsPerSecond;
    // A rate limit is kept in slices of a tenth of a second.
    const limit = Math.min(
      this.options.maxGroupRecords,
      this.#paused ? this.#steps : Number.POSITIVE_INFINITY,
      rate === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(rate / 10)),
    );
    const records = [];
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
    if (this.#paused) this.#steps -= records.length;
    if (this.#held && this.#buffered <= this.options.maxBufferedRecords / 2) this.#hold(false);
    return { records, positions };
  }

  #expect(key: string, at: Offset): void {
    this.#positions.set(key, at);
    this.#next.set(key, at);
  }

  #hold(hold: boolean): void {
    this.#held = hold;
    for (const partition of this.partitions) {
      if (hold) this.options.reader.pause(partition);
      else this.options.reader.resume(partition);
    }
  }

  #drop(): void {
    this.#queue = [];
    this.#buffered = 0;
    this.#pendingSince.clear();
    if (this.#held) this.#hold(false);
  }
}
