import { setTimeout as sleep } from 'node:timers/promises';
import { toSpoolError, type SpoolError } from '@spool/schemas';
import type { ConsumedRecord, Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { ReadyQueue } from './ready-queue.js';
import { backOffMs } from './retry.js';
import { Unfinished } from './unfinished.js';

export interface LanesOptions {
  /** Of different keys at the same time. */
  readonly concurrency: number;
  /** Records of one class taken and not finished; more are left with the engine. */
  readonly maxInFlight: number;
  /** How long a rebalance, an order or the end waits for the handlers that run, in milliseconds. */
  readonly drainMs: number;
  /**
   * What it throws is tried again, after a back-off in which the other keys go on.
   * @param free ends its part in `concurrency`; its key stays with it until it ends
   */
  readonly handle: (record: ConsumedRecord, free: () => void) => void | Promise<void>;
  /** Told when handlers still run after three quarters of `drainMs`. */
  readonly onOverdue?: () => void;
  /** Urgent records overtake: the share of each class where all of them wait, the most urgent first. @default one class */
  readonly shares?: readonly number[];
  /** The index of a topic's share. @default 0 */
  readonly classOf?: (topic: string) => number;
}

export interface Lane {
  readonly key: string;
  /** The first may be under way or wait for its next try; those behind it stand by class. */
  readonly queue: ConsumedRecord[];
  begun: boolean;
  failures: number;
}

/**
 * Handles records side by side, those of one key one after the other. How far a partition is done is the lowest unfinished record, so a record
 * that takes long holds up the position and no other key.
 */
export class Lanes {
  /** Of the lane that failed last; gone when it goes on. */
  error: SpoolError | undefined;
  /** Told when the position may have moved. */
  onProgress: () => void = () => undefined;
  readonly #lanes = new Map<string, Lane>();
  readonly #ready: ReadyQueue<Lane>;
  readonly #timers = new Map<Lane, NodeJS.Timeout>();
  readonly #partitions = new Map<string, Unfinished>();
  readonly #inFlight: number[];
  #fatal: SpoolError | undefined;
  #failing: Lane | undefined;
  #running = 0;
  /** Those that run and have not been freed. */
  #busy = 0;
  /** How many more may be started; endless unless paused. */
  #permits = Number.POSITIVE_INFINITY;
  #quiet = false;
  /** What still ran when it was waited for in vain is not waited for again. */
  #drained = false;
  #idle: () => void = () => undefined;
  /** What was started before a move is not waited for any more. */
  #moves = 0;

  constructor(
    private readonly options: LanesOptions,
    positions: ReadonlyMap<string, Offset>,
  ) {
    const { shares = [1] } = options;
    this.#ready = new ReadyQueue(shares);
    this.#inFlight = shares.map(() => 0);
    for (const [key, at] of positions) this.#partitions.set(key, new Unfinished(at));
  }

  classOf(topic: string): number {
    return this.options.classOf?.(topic) ?? 0;
  }
  /** How many records of a class may be taken now. */
  room(of: number): number {
    return Math.max(0, this.options.maxInFlight - this.#inFlight[of]!);
  }
  /** How far each partition is done. */
  get reached(): ReadonlyMap<string, Offset> {
    return new Map([...this.#partitions].map(([key, partition]) => [key, partition.reached]));
  }
  /** How far each partition will be done when these are. */
  reachedWith(records: readonly ConsumedRecord[]): ReadonlyMap<string, Offset> {
    const offsets = new Map([...this.#partitions.keys()].map((key) => [key, new Set<Offset>()]));
    for (const record of records) offsets.get(partitionKey(record))?.add(record.offset);
    return new Map([...this.#partitions].map(([key, partition]) => [key, partition.reachedWith(offsets.get(key)!)]));
  }
  /** Timestamp of the lowest unfinished record of a partition. */
  oldest(key: string): number | undefined {
    return this.#partitions.get(key)?.oldest;
  }
  /** Makes the task start anew, as no waiting mends it; nothing more is started. */
  get fatal(): SpoolError | undefined {
    return this.#fatal;
  }
  fail(error: SpoolError): void {
    this.#fatal = error;
    this.onProgress();
  }

  /** @param positions the next offsets after the records, beyond markers and holes */
  accept({ records, positions }: { readonly records: readonly ConsumedRecord[]; readonly positions: ReadonlyMap<string, Offset> }): void {
    const byPartition = new Map<string, ConsumedRecord[]>();
    for (const record of records) {
      const key = partitionKey(record);
      const known = byPartition.get(key);
      if (known === undefined) byPartition.set(key, [record]);
      else known.push(record);
    }
    for (const [key, next] of positions) {
      const taken = byPartition.get(key) ?? [];
      let partition = this.#partitions.get(key);
      if (partition === undefined) this.#partitions.set(key, (partition = new Unfinished(next)));
      partition.take(taken, next);
    }
    for (const record of records) this.#enqueue(record);
    this.#pump();
  }

  /** Starts nothing more; waits for what runs, within the bound. */
  async quiet(): Promise<void> {
    this.#quiet = true;
    if (this.#running === 0 || this.#drained) return;
    const { drainMs, onOverdue } = this.options;
    const ended = new Promise<'ended'>((resolve) => (this.#idle = (): void => resolve('ended')));
    const stop = new AbortController();
    const within = (ms: number): Promise<unknown> =>
      Promise.race([ended, sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined)]);
    if ((await within(drainMs * 0.75)) !== 'ended') {
      onOverdue?.();
      if ((await within(drainMs * 0.25)) !== 'ended') this.#drained = true;
    }
    stop.abort();
  }
  go(): void {
    this.#quiet = false;
    this.#drained = false;
    this.#pump();
  }

  /** Pauses, or ends the pause. */
  hold(paused: boolean): void {
    this.#permits = paused ? 0 : Number.POSITIVE_INFINITY;
    this.#pump();
  }
  /** While paused: starts so many more. @returns how many of them were taken before and wait */
  permit(records: number): number {
    const waiting = this.#inFlight.reduce((sum, each) => sum + each, 0) - this.#running - this.#permits;
    this.#permits += records;
    this.#pump();
    return Math.max(0, Math.min(records, waiting));
  }

  /** Forgets what was taken, and goes on at `positions`. */
  moveTo(positions: ReadonlyMap<string, Offset>): void {
    this.#moves += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#lanes.clear();
    this.#ready.clear();
    this.#inFlight.fill(0);
    this.#fine();
    for (const [key, at] of positions) this.#partitions.set(key, new Unfinished(at));
  }

  async close(): Promise<void> {
    await this.quiet();
    this.moveTo(new Map());
  }

  #enqueue(record: ConsumedRecord): void {
    const of = this.classOf(record.topic);
    this.#inFlight[of]! += 1;
    const key = record.key?.toString('latin1') ?? `#${partitionKey(record)}@${record.offset}`;
    const lane = this.#lanes.get(key);
    if (lane === undefined) {
      const opened: Lane = { key, queue: [record], begun: false, failures: 0 };
      this.#lanes.set(key, opened);
      this.#ready.push(opened, of);
      return;
    }
    const { queue, begun } = lane;
    let at = queue.length;
    while (at > (begun ? 1 : 0) && this.classOf(queue[at - 1]!.topic) > of) at -= 1;
    queue.splice(at, 0, record);
    // It stands in the queue of the one that it overtook as well, and is passed over there.
    if (at === 0) this.#ready.push(lane, of);
  }

  #pump(): void {
    while (!this.#quiet && this.#fatal === undefined && this.#permits > 0 && this.#busy < this.options.concurrency) {
      const lane = this.#ready.take();
      if (lane === undefined) return;
      this.#permits -= 1;
      void this.#run(lane, lane.queue[0]!);
    }
  }

  async #run(lane: Lane, record: ConsumedRecord): Promise<void> {
    const moves = this.#moves;
    lane.begun = true;
    this.#running += 1;
    this.#busy += 1;
    const part = { freed: false };
    const free = (): void => {
      if (part.freed) return;
      part.freed = true;
      this.#busy -= 1;
      this.#pump();
    };
    let failure: SpoolError | undefined;
    try {
      const pending = this.options.handle(record, free);
      if (pending !== undefined) await pending;
    } catch (thrown) {
      failure = toSpoolError(thrown);
    }
    this.#running -= 1;
    if (!part.freed) this.#busy -= 1;
    part.freed = true;
    if (this.#running === 0) this.#idle();
    if (moves === this.#moves) {
      if (failure === undefined) this.#finished(lane, record);
      else this.#failed(lane, failure);
    }
    this.#pump();
  }

  #finished(lane: Lane, record: ConsumedRecord): void {
    if (this.#failing === lane) this.#fine();
    lane.failures = 0;
    lane.begun = false;
    lane.queue.shift();
    const [next] = lane.queue;
    if (next !== undefined) this.#ready.push(lane, this.classOf(next.topic));
    else this.#lanes.delete(lane.key);
    this.#inFlight[this.classOf(record.topic)]! -= 1;
    this.#partitions.get(partitionKey(record))?.finish(record.offset);
    this.onProgress();
  }

  #failed(lane: Lane, error: SpoolError): void {
    this.#failing = lane;
    this.error = error;
    const again = (): void => {
      this.#timers.delete(lane);
      this.#ready.push(lane, this.classOf(lane.queue[0]!.topic));
      this.#pump();
    };
    this.#timers.set(lane, setTimeout(again, backOffMs(lane.failures++)));
  }

  #fine(): void {
    this.#failing = undefined;
    this.error = undefined;
  }
}
