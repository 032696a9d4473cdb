import { setTimeout as sleep } from 'node:timers/promises';
import { toSpoolError, type SpoolError } from '@spool/schemas';
import type { ConsumedRecord, Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { backOffMs } from './retry.js';
import { Unfinished } from './unfinished.js';

export interface LanesOptions {
  /** Of different keys at the same time. */
  readonly concurrency: number;
  /** Records taken and not finished; more are left with the engine. */
  readonly maxInFlight: number;
  /** How long a rebalance, an order or the end waits for the handlers that run, in milliseconds. */
  readonly drainMs: number;
  /** What it throws is tried again, after a back-off in which the other keys go on. */
  readonly handle: (record: ConsumedRecord) => void | Promise<void>;
}

interface Lane {
  readonly key: string;
  readonly queue: ConsumedRecord[];
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
  readonly #ready: Lane[] = [];
  readonly #timers = new Map<Lane, NodeJS.Timeout>();
  readonly #partitions = new Map<string, Unfinished>();
  #failing: Lane | undefined;
  #running = 0;
  #inFlight = 0;
  /** How many more may be started; endless unless paused. */
  #permits = Number.POSITIVE_INFINITY;
  #quiet = false;
  #idle: () => void = () => undefined;
  /** What was started before a move is not waited for any more. */
  #moves = 0;

  constructor(
    private readonly options: LanesOptions,
    positions: ReadonlyMap<string, Offset>,
  ) {
    for (const [key, at] of positions) this.#partitions.set(key, new Unfinished(at));
  }

  /** How many records may be taken now. */
  get room(): number {
    return Math.max(0, this.options.maxInFlight - this.#inFlight);
  }
  /** How far each partition is done. */
  get reached(): ReadonlyMap<string, Offset> {
    return new Map([...this.#partitions].map(([key, partition]) => [key, partition.reached]));
  }
  /** Timestamp of the lowest unfinished record of a partition. */
  oldest(key: string): number | undefined {
    return this.#partitions.get(key)?.oldest;
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
    this.#inFlight += records.length;
    this.#pump();
  }

  /** Starts nothing more; waits for what runs, within the bound. */
  async quiet(): Promise<void> {
    this.#quiet = true;
    if (this.#running === 0) return;
    const ended = new Promise<void>((resolve) => (this.#idle = resolve));
    const stop = new AbortController();
    await Promise.race([ended, sleep(this.options.drainMs, undefined, { signal: stop.signal }).catch(() => undefined)]);
    stop.abort();
  }
  go(): void {
    this.#quiet = false;
    this.#pump();
  }

  /** Pauses, or ends the pause. */
  hold(paused: boolean): void {
    this.#permits = paused ? 0 : Number.POSITIVE_INFINITY;
    this.#pump();
  }
  /** While paused: starts so many more. @returns how many of them were taken before and wait */
  permit(records: number): number {
    const waiting = this.#inFlight - this.#running - this.#permits;
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
    this.#ready.length = 0;
    this.#inFlight = 0;
    this.#fine();
    for (const [key, at] of positions) this.#partitions.set(key, new Unfinished(at));
  }

  async close(): Promise<void> {
    await this.quiet();
    this.moveTo(new Map());
  }

  #enqueue(record: ConsumedRecord): void {
    const key = record.key?.toString('latin1') ?? `#${partitionKey(record)}@${record.offset}`;
    const lane = this.#lanes.get(key);
    if (lane !== undefined) {
      lane.queue.push(record);
      return;
    }
    const opened: Lane = { key, queue: [record], failures: 0 };
    this.#lanes.set(key, opened);
    this.#ready.push(opened);
  }

  #pump(): void {
    while (!this.#quiet && this.#permits > 0 && this.#running < this.options.concurrency) {
      const lane = this.#ready.shift();
      if (lane === undefined) return;
      this.#permits -= 1;
      this.#running += 1;
      void this.#run(lane, lane.queue[0]!);
    }
  }

  async #run(lane: Lane, record: ConsumedRecord): Promise<void> {
    const moves = this.#moves;
    let failure: SpoolError | undefined;
    try {
      const pending = this.options.handle(record);
      if (pending !== undefined) await pending;
    } catch (thrown) {
      failure = toSpoolError(thrown);
    }
    this.#running -= 1;
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
    lane.queue.shift();
    if (lane.queue.length > 0) this.#ready.push(lane);
    else this.#lanes.delete(lane.key);
    this.#inFlight -= 1;
    this.#partitions.get(partitionKey(record))?.finish(record.offset);
    this.onProgress();
  }

  #failed(lane: Lane, error: SpoolError): void {
    this.#failing = lane;
    this.error = error;
    const again = (): void => {
      this.#timers.delete(lane);
      this.#ready.push(lane);
      this.#pump();
    };
    this.#timers.set(lane, setTimeout(again, backOffMs(lane.failures++)));
  }

  #fine(): void {
    this.#failing = undefined;
    this.error = undefined;
  }
}
