import { SpoolError } from '@spool/schemas';
import { offset, type Offset, type Reader, type ReaderOptions, type Slice, type StartPosition, type TopicPartition } from '../port.js';
import type { MemoryBroker } from './broker.js';

interface Track extends TopicPartition {
  readonly start: StartPosition;
  /** -1 until the first fetch has resolved `start`. */
  position: number;
  paused: boolean;
  highWatermark: number;
  lastStableOffset: number;
}

export class MemoryReader implements Reader {
  readonly #broker: MemoryBroker;
  readonly #readCommitted: boolean;
  readonly #maxWaitMs: number;
  readonly #maxBytesPerPartition: number;
  readonly #onOutOfRange: ((at: TopicPartition & { offset: Offset }, movedTo: Offset) => void) | undefined;
  readonly #tracks = new Map<string, Track>();
  #fetching = false;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(broker: MemoryBroker, options: ReaderOptions) {
    this.#broker = broker;
    this.#readCommitted = (options.isolation ?? 'read_committed') === 'read_committed';
    this.#maxWaitMs = options.maxWaitMs ?? 250;
    this.#maxBytesPerPartition = options.maxBytesPerPartition ?? 1024 * 1024;
    this.#onOutOfRange = options.onOutOfRange;
  }

  assign({ topic, partition }: TopicPartition, start: StartPosition): void {
    const position = typeof start === 'bigint' ? Number(start) : -1;
    this.#tracks.set(key(topic, partition), { topic, partition, start, position, paused: false, highWatermark: -1, lastStableOffset: -1 });
    this.#wake?.();
  }

  unassign({ topic, partition }: TopicPartition): void {
    this.#tracks.delete(key(topic, partition));
  }

  pause({ topic, partition }: TopicPartition): void {
    const track = this.#tracks.get(key(topic, partition));
    if (track) track.paused = true;
  }

  resume({ topic, partition }: TopicPartition): void {
    const track = this.#tracks.get(key(topic, partition));
    if (!track) return;
    track.paused = false;
    this.#wake?.();
  }

  async fetch(): Promise<readonly Slice[]> {
    if (this.#fetching) throw new SpoolError('INTERNAL', 'a fetch of this reader is under way already');
    this.#fetching = true;
    try {
      const end = performance.now() + this.#maxWaitMs;
      await new Promise((resolve) => setImmediate(resolve)); // as from a broker, the answer comes later
      for (;;) {
        if (this.#closed) return [];
        const slices = [...this.#tracks.values()].flatMap((track) => this.#read(track) ?? []);
        const left = end - performance.now();
        if (slices.length > 0 || left <= 0) return slices;
        await this.#changeWithin(left);
      }
    } finally {
      this.#fetching = false;
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #read(track: Track): Slice | undefined {
    if (track.paused) return undefined;
    const { topic, partition } = track;
    const log = this.#broker.log(topic, partition);
    const end = this.#readCommitted ? log.stableEnd : log.end;
    if (track.position < 0) track.position = this.#resolve(track.start, log.start, end, (timestamp) => log.offsetAt(timestamp));
    const from = track.position;
    const outOfRange = from < log.start || from > log.end;
    const { records, next } = outOfRange
      ? { records: [], next: from < log.start ? log.start : end }
      : log.read(from, this.#maxBytesPerPartition, this.#readCommitted);
    if (next === from && log.end === track.highWatermark && end === track.lastStableOffset) return undefined;
    track.position = next;
    track.highWatermark = log.end;
    track.lastStableOffset = end;
    if (outOfRange) this.#onOutOfRange?.({ topic, partition, offset: offset(from) }, offset(next));
    return {
      topic,
      partition,
      fromOffset: offset(from),
      records,
      nextOffset: offset(next),
      highWatermark: offset(log.end),
      lastStableOffset: offset(end),
    };
  }

  #resolve(start: StartPosition, earliest: number, end: number, offsetAt: (timestamp: number) => number): number {
    if (start === 'earliest') return earliest;
    if (start === 'latest') return end;
    if (typeof start === 'bigint') return Number(start);
    const at = offsetAt(start.timestamp);
    return at < 0 ? end : at;
  }

  #changeWithin(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        stop();
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      const stop = this.#broker.onceChanged(done);
      this.#wake = done;
    });
  }
}

const key = (topic: string, partition: number): string => `${topic}\u0000${partition}`;
