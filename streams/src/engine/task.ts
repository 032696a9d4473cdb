import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type Offset, type Reader, type Slice, type TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import type { ControlOrder } from './control.js';
import { Intakes } from './intake.js';
import { Limits } from './limits.js';
import { backOffMs, pause } from './retry.js';
import { Standstill, upTo } from './standstill.js';
import type { Group, OrderAnswer, PartitionStatus, ReplayStatus, TaskWork } from './work.js';

export interface TaskOptions {
  readonly id: string;
  readonly partitions: readonly TopicPartition[];
  readonly work: TaskWork;
  readonly reader: Reader;
  readonly startAt: 'earliest' | 'latest';
  readonly maxGroupRecords: number;
  readonly maxBufferedRecords: number;
  readonly order: 'arrival' | 'time';
  /** Which part of a rate over all partitions falls to this task. */
  readonly share: number;
  /** Why it may not be moved; undefined: it may. */
  readonly fixed: string | undefined;
  readonly now: () => number;
  /** Called once, when the task cannot go on; it has stopped by then. */
  readonly onFailed: (task: Task, error: SpoolError) => void;
  readonly onProgress: () => void;
}

const emptyGroup: Group = { records: [], positions: new Map() };
const maxSleepMs = 250;
/** A group that is handled until it passes, or until an order takes it away. */
interface Attempt {
  readonly group: Group;
  /** Allowed by a step: it is handled though the task is paused. */
  readonly stepped: boolean;
  failures: number;
}

/** How many answers are kept to be reported. */
const maxAnswers = 8;

/** One input partition set and the loop over its groups. Everything that changes it happens between two groups. */
export class Task {
  readonly id: string;
  readonly partitions: readonly TopicPartition[];
  #error: SpoolError | undefined;
  readonly #keys: ReadonlySet<string>;
  readonly #intake: Intakes;
  readonly #standstill = new Standstill();
  readonly #orders: ControlOrder[] = [];
  readonly #stop = new AbortController();
  /** Ends a wait (back-off, rate) when there is an order to obey. */
  #alarm = new AbortController();
  /** The group that failed for the moment. */
  #retry: Attempt | undefined;
  #applied = -1n;
  #obeyFailures = 0;
  #answers: readonly OrderAnswer[] = [];
  #paused = false;
  /** Fires when others may own the partitions: nothing is written until `unquiesce`. */
  #quiet = new AbortController();
  #recordsPerSecond: number | undefined;
  #steps = 0;
  readonly #limits: Limits;
  #wake: (() => void) | undefined;
  #progressing: NodeJS.Immediate | undefined;
  #idle: Promise<void> = Promise.resolve();
  #loop: Promise<void> | undefined;

  constructor(private readonly options: TaskOptions) {
    this.id = options.id;
    this.partitions = options.partitions;
    this.#keys = new Set(options.partitions.map(partitionKey));
    const classOf = (topic: string): number => options.work.lanes?.classOf(topic) ?? 0;
    this.#intake = new Intakes(options.partitions, { ...options, classOf });
    this.#limits = new Limits(this.#intake);
  }

  start(): void {
    this.#intake.open(this.options.work.positions, this.options.startAt);
    const { lanes } = this.options.work;
    if (lanes !== undefined) lanes.onProgress = () => this.#progress();
    this.#loop = this.#run();
  }

  /** Many records may end in one turn: it is told of once. */
  #progress(): void {
    this.#progressing ??= setImmediate(() => {
      this.#progressing = undefined;
      this.#wake?.();
      this.options.onProgress();
    });
  }

  owns(partition: TopicPartition): boolean {
    return this.#keys.has(partitionKey(partition));
  }

  offer(slice: Slice): void {
    this.#intake.offer(slice);
    this.#wake?.();
  }

  /** Between two groups: the order waits until the one under way is durable, and does not wait for one that fails again and again. */
  order(order: ControlOrder): void {
    this.#orders.push(order);
    this.#alarm.abort();
    this.#alarm = new AbortController();
    this.#wake?.();
  }

  /** See `RunningProcessor`. */
  async until(limits: ReadonlyMap<string, Offset> | undefined): Promise<void> {
    this.#limits.set(limits);
    this.#wake?.();
    await this.#idle;
  }

  /** Ends when the group under way is durable; nothing starts after it until `unquiesce`. */
  async quiesce(): Promise<void> {
    this.#quiet.abort();
    await this.#idle;
    await this.options.work.lanes?.quiet();
  }
  unquiesce(): void {
    this.#quiet = new AbortController();
    this.options.work.lanes?.go();
    this.#wake?.();
  }

  /** Closed or failed: it will not go on. */
  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }
  get error(): SpoolError | undefined {
    return this.#error ?? this.#standstill.error ?? this.options.work.lanes?.error;
  }
  get paused(): boolean {
    return this.#paused;
  }
  get positions(): ReadonlyMap<string, Offset> {
    return this.options.work.lanes?.reached ?? this.#intake.positions;
  }
  get replay(): ReplayStatus | undefined {
    const { replay } = this.options.work;
    if (replay === undefined) return undefined;
    const running = replay.state === 'running';
    return { ...replay, state: running && this.#paused ? 'paused' : replay.state, current: new Map(this.positions) };
  }
  /** The last order whose effect is durable. */
  get epoch(): bigint {
    return this.options.work.epoch;
  }
  /** The last order that was dealt with, in whatever way. */
  get applied(): bigint {
    return this.#applied;
  }
  get answers(): readonly OrderAnswer[] {
    return this.#answers;
  }
  get stepsLeft(): number {
    return this.#steps;
  }
  status(): readonly PartitionStatus[] {
    const positions = this.positions;
    return this.partitions.map((partition) => {
      const key = partitionKey(partition);
      const position = positions.get(key) ?? this.#intake.position(key) ?? offset(0);
      const end = this.#intake.end(key) ?? position;
      const since = position < end ? (this.options.work.lanes?.oldest(key) ?? this.#intake.since(key)) : undefined;
      return { ...partition, position, end, lagSeconds: since === undefined ? 0 : Math.max(0, (this.options.now() - since) / 1000) };
    });
  }

  /** Stops after the group under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#alarm.abort();
    this.#wake?.();
    await this.#loop;
    this.#intake.close();
    await this.options.work.close();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#stop.signal.aborted) {
        const fatal = this.options.work.lanes?.fatal;
        if (fatal !== undefined) throw fatal;
        const order = this.#quiet.signal.aborted ? undefined : this.#orders[0];
        const attempt = order === undefined ? this.#next() : undefined;
        if (order !== undefined) {
          await this.#busy(this.#obey(order));
          if (this.#obeyFailures > 0) await pause(backOffMs(this.#obeyFailures), AbortSignal.any([this.#stop.signal, this.#quiet.signal]));
        } else if (attempt !== undefined) {
          // Timers that set themselves again and again leave room for everything else.
          if (attempt.group === emptyGroup) await new Promise((resolve) => setImmediate(resolve));
          await this.#handle(attempt);
        } else await this.#wait();
      }
    } catch (thrown) {
      const error = toSpoolError(thrown);
      this.#error = error;
      this.#stop.abort();
      this.#intake.close();
      this.options.onFailed(this, error);
    }
  }

  async #busy(work: Promise<void>): Promise<void> {
    this.#idle = work.catch(() => undefined);
    await work;
  }

  /** Sleeps, but not while there is an order to obey. */
  async #sleep(ms: number): Promise<void> {
    if (this.#orders.length === 0) await pause(ms, this.#alarm.signal);
  }

  async #handle(attempt: Attempt): Promise<void> {
    const { group } = attempt;
    const began = this.options.now();
    try {
      await this.#busy(this.options.work.process(group));
    } catch (thrown) {
      const stands = this.#standstill.hold(toSpoolError(thrown));
      if (stands !== undefined) {
        this.#intake.still(stands.key);
        this.#retry = { ...attempt, group: upTo(group, stands), failures: 0 };
        return;
      }
      await this.#backOff(thrown, attempt.failures++);
      this.#retry = attempt;
      return;
    }
    this.#error = undefined;
    this.#intake.handled(group);
    this.#standstill.handled(group);
    this.options.onProgress();
    const due = (group.records.length / (this.#rate ?? Number.POSITIVE_INFINITY)) * 1000 - (this.options.now() - began);
    if (due > 0) await this.#sleep(due);
  }

  /** @throws what no waiting mends */
  async #backOff(thrown: unknown, failures: number): Promise<void> {
    const error = toSpoolError(thrown);
    if (error.entry.retryable !== 'backoff') throw error;
    this.#error = error;
    await this.#sleep(backOffMs(failures));
  }

  /** Deals with the first order that waits. One that fails for the moment stays the first. */
  async #obey(order: ControlOrder): Promise<void> {
    let answer: OrderAnswer | undefined;
    const { lanes } = this.options.work;
    try {
      if (order.action === 'pause') lanes?.hold(true);
      // What moves, and a pause that is acknowledged, leave nothing under way behind them.
      if (order.action !== 'step' && order.action !== 'resume' && order.action !== 'rate') await lanes?.quiet();
      answer = await this.#apply(order);
      this.#error = undefined;
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (this.#stop.signal.aborted || this.#quiet.signal.aborted) return;
      if (error.entry.retryable === 'backoff') {
        this.#error = error;
        this.#obeyFailures += 1;
        return;
      }
      if (error.entry.retryable === 'fatal') throw error;
      answer = { order: order.epoch, refused: error.message, records: 0, failed: undefined };
    } finally {
      if (!this.#quiet.signal.aborted) lanes?.go();
    }
    this.#obeyFailures = 0;
    this.#orders.shift();
    this.#applied = order.epoch;
    if (answer !== undefined) this.#answers = [...this.#answers, answer].slice(-maxAnswers);
    this.options.onProgress();
  }

  async #apply(order: ControlOrder): Promise<OrderAnswer | undefined> {
    const { work, fixed } = this.options;
    const refuse = (why: string): never => {
      throw new SpoolError('ORDER_REFUSED', why);
    };
    // What moves or settles is obeyed once; the log and the store remember up to which order.
    const done = order.epoch <= work.epoch;
    switch (order.action) {
      case 'pause':
        this.#paused = true;
        return undefined;
      case 'resume':
        this.#flow();
        return undefined;
      case 'step':
        if (!this.#paused && order.records > 0) refuse('it is not paused: a step is for a consumer that is held');
        // Records that were taken before the pause come first.
        this.#steps += order.records - (work.lanes?.permit(order.records) ?? 0);
        return undefined;
      case 'rate':
        this.#recordsPerSecond = order.recordsPerSecond;
        return undefined;
      case 'drain':
        // Of the whole instance, which closes its processors.
        return undefined;
      case 'cancel':
        await work.cancelReplay?.(order.replayId);
        return undefined;
      case 'rewind':
        // After a restart too: a rewind ends the pause that was ordered before it.
        this.#flow();
        if (done) return undefined;
        if (work.rewind === undefined) return refuse(fixed ?? 'its work cannot be replayed');
        this.#moveTo(await work.rewind({ ...order, now: this.options.now() }));
        return undefined;
      case 'seek':
        if (done) return undefined;
        if (fixed !== undefined) return refuse(fixed);
        if (work.seek === undefined) return refuse('its work cannot be moved');
        this.#moveTo(await work.seek(order));
        return undefined;
      case 'retry':
      case 'discard': {
        if (done) return undefined;
        if (work.settle === undefined) return refuse('it parks no records');
        const value = order.action === 'retry' ? order.value : undefined;
        const signal = AbortSignal.any([this.#stop.signal, this.#quiet.signal]);
        const settled = await work.settle({ epoch: order.epoch, action: order.action, letters: order.letters, value, signal });
        return { order: order.epoch, refused: undefined, ...settled };
      }
    }
  }

  /** Until something comes, or a timer is due. */
  async #wait(): Promise<void> {
    const nextTimer = Math.min(this.options.work.nextTimer ?? Number.POSITIVE_INFINITY, this.options.now() + this.#standstill.nextMs);
    const idle = this.#quiet.signal.aborted || this.#paused || (nextTimer === Number.POSITIVE_INFINITY && !this.#intake.holdsBack);
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      // The clock may be set: look at it now and then.
      if (!idle) timer = setTimeout(resolve, Math.min(maxSleepMs, Math.max(1, nextTimer - this.options.now())));
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }

  #flow(): void {
    [this.#paused, this.#steps] = [false, 0];
    this.options.work.lanes?.hold(false);
  }

  /** What has been read and not handled is given up; what lanes have done out of order as well. */
  #moveTo(starts: ReadonlyMap<string, Offset>): void {
    this.#retry = undefined;
    this.#standstill.clear();
    this.#intake.moveTo(new Map([...(this.options.work.lanes?.reached ?? []), ...starts]));
  }

  get #rate(): number | undefined {
    return this.#recordsPerSecond === undefined ? undefined : this.#recordsPerSecond * this.options.share;
  }

  /** What to handle next; undefined while there is nothing, or nothing may be handled. */
  #next(): Attempt | undefined {
    if (this.#quiet.signal.aborted) return undefined;
    const failed = this.#retry;
    if (failed !== undefined) {
      if (this.#paused && !failed.stepped) return undefined;
      this.#retry = undefined;
      const group = this.#limits.within(failed.group);
      return group && { ...failed, group };
    }
    this.#limits.release();
    for (const key of this.#standstill.due()) this.#intake.release(key);
    const stepped = this.#paused;
    const group = this.#take();
    return group === undefined ? undefined : { group, stepped, failures: 0 };
  }

  #take(): Group | undefined {
    if (this.#paused && this.#steps <= 0) return undefined;
    if (!this.#intake.ready) {
      const due = (this.options.work.nextTimer ?? Number.POSITIVE_INFINITY) <= this.options.now();
      return due ? emptyGroup : undefined;
    }
    const rate = this.#rate;
    // A rate limit is kept in slices of a tenth of a second.
    const limit = Math.min(
      this.options.maxGroupRecords,
      this.#paused ? this.#steps : Number.POSITIVE_INFINITY,
      rate === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(rate / 10)),
    );
    const group = this.#limits.take(limit, (of) => this.options.work.lanes?.room(of) ?? Number.POSITIVE_INFINITY);
    if (group !== undefined && this.#paused) this.#steps -= group.records.length;
    return group;
  }
}
