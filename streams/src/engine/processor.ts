import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type Assignment, type Kafka, type Membership, type Offset, type Reader, type TopicPartition } from '../kafka/port.js';
import { logEnds } from '../kafka/log-ends.js';
import { partitionKey } from '../store/store.js';
import type { Control, ControlOrder } from './control.js';
import { adviceOf, inForce, joinedAnswers } from './order-status.js';
import { backOffMs, pause } from './retry.js';
import { byTask } from './by-task.js';
import { Task } from './task.js';
import type { ProcessorDefinition, ProcessorState, ProcessorStatus, StandbyCopy } from './work.js';

export interface ProcessorOptions {
  readonly kafka: Kafka;
  readonly now: () => number;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Where orders come from; those of the past are in force before the first record is handled. @default by `apply` alone */
  readonly control?: Pick<Control, 'follow'>;
  /** Called after each group and each change of state. */
  readonly onProgress?: (processor: RunningProcessor) => void;
  /** Tasks whose stores are on this machine; their partitions come back here if they can. @default none */
  readonly stored?: () => readonly string[];
}

export interface RunningProcessor extends AsyncDisposable {
  readonly consumer: string;
  status(): ProcessorStatus;
  apply(order: ControlOrder): void;
  /** Resolves when every source partition has been read to where its end was at the call. */
  caughtUp(signal?: AbortSignal): Promise<void>;
  /**
   * Goes no further than `limits` (next offsets) until it is told otherwise, and stays where it is in a partition that is beyond; `undefined` lifts
   * them. Kept by nobody: whoever starts anew says it again. Resolves when the groups under way are durable.
   */
  until(limits: ReadonlyMap<string, Offset> | undefined): Promise<void>;
  /** Finishes the group under way, commits the position and leaves the group. */
  close(): Promise<void>;
}

const advisoryCommitMs = 1000;
/** How long a closing processor waits for the groups under way before it leaves its group. */
const closeGraceMs = 5000;

/** Runs a processor until it is closed. Nothing that a handler or the broker does ends it: it backs off and goes on. */
export async function runProcessor(definition: ProcessorDefinition, options: ProcessorOptions): Promise<RunningProcessor> {
  const processor = new Processor(definition, options, await options.kafka.reader());
  await processor.start();
  return processor;
}

class Processor implements RunningProcessor {
  readonly consumer: string;
  readonly #tasks = new Map<string, Task>();
  readonly #standbys = new Map<string, StandbyCopy>();
  readonly #stop = new AbortController();
  /** Fires when what is being opened is no longer wanted. */
  #assigning: AbortSignal = this.#stop.signal;
  readonly #history: ControlOrder[] = [];
  readonly #committed = new Map<string, string>();
  /** How many tasks the partitions make, here and elsewhere. */
  #taskCount = 1;
  /** The last order that came. */
  #ordered = -1n;
  #limits: ReadonlyMap<string, Offset> | undefined;
  #unfollow: (() => void) | undefined;
  #membership: Membership | undefined;
  #state: ProcessorState = 'starting';
  #error: SpoolError | undefined;
  #fetching: Promise<void> = Promise.resolve();
  #committer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  /** Opening and closing of tasks, one after the other. */
  #changes: Promise<void> = Promise.resolve();
  readonly #waiters = new Set<() => void>();
  /** How often partitions were lost without notice, or given up: what was opened before may commit no more. */
  #losses = 0;

  constructor(
    private readonly definition: ProcessorDefinition,
    private readonly options: ProcessorOptions,
    private readonly reader: Reader,
  ) {
    this.consumer = definition.consumer;
  }

  async start(): Promise<void> {
    const { definition, options } = this;
    this.#unfollow = options.control?.follow(definition.consumer, (order) => this.apply(order));
    if (definition.assignment === 'all') {
      const topics = await options.kafka.admin.describeTopics(definition.sources);
      const partitions = topics.flatMap(({ name, partitions: count }) => range(count).map((partition) => ({ topic: name, partition })));
      await this.#open('all', partitions, undefined);
    } else {
      const topics = await options.kafka.admin.describeTopics(definition.sources);
      this.#taskCount = Math.max(...topics.map((topic) => topic.partitions));
      this.#membership = await options.kafka.membership({
        groupId: definition.consumer,
        topics: definition.sources,
        sessionTimeoutMs: definition.sessionTimeoutMs ?? 6000,
        standbys: definition.standbys ?? 0,
        warm: () => this.#warm(),
        onRebalance: () => this.#rebalance(),
        onAssigned: async (assignment, signal) => {
          this.#assigning = AbortSignal.any([signal, this.#stop.signal]);
          try {
            await this.#assigned(assignment);
          } catch (thrown) {
            // The member leaves the group now: when it comes back, others may have been there.
            await this.#lose();
            throw thrown;
          }
        },
        onLost: () => void this.#lose(),
      });
    }
    this.#fetching = this.#fetch();
    this.#committer = setInterval(() => void this.#commitAdvice(), advisoryCommitMs);
  }

  status(): ProcessorStatus {
    const tasks = [...this.#tasks.values()];
    const opening = this.#state === 'starting' || this.#state === 'restoring';
    const error = this.#error ?? tasks.find((task) => task.error !== undefined)?.error;
    const replays = tasks.flatMap((task) => task.replay ?? []);
    const paused = tasks.length > 0 ? tasks.every((task) => task.paused) : inForce(this.#history).paused;
    const running = paused ? 'paused' : 'running';
    const active = replays.some((replay) => replay.state === 'running') ? 'replaying' : running;
    return {
      consumer: this.consumer,
      state: this.#state === 'running' ? active : this.#state,
      // Tasks that are being opened have still to deal with it.
      epoch: opening ? -1n : tasks.reduce((lowest, task) => (task.applied < lowest ? task.applied : lowest), this.#ordered),
      answers: joinedAnswers(tasks.flatMap((task) => task.answers)),
      paused,
      stepsLeft: tasks.reduce((sum, task) => sum + task.stepsLeft, 0),
      recordsPerSecond: inForce(this.#history).recordsPerSecond,
      partitions: tasks.flatMap((task) => task.status()),
      standbys: [...this.#standbys.keys()],
      shared: this.definition.assignment === 'group',
      replays,
      error: error === undefined ? undefined : `${error.code}: ${error.message}`,
    };
  }

  apply(order: ControlOrder): void {
    this.#ordered = order.epoch;
    // A task that is opened later knows of the step, and does not step.
    this.#history.push(order.action === 'step' ? { ...order, records: 0 } : order);
    for (const task of this.#tasks.values()) task.order(order);
    this.#progress();
  }

  async caughtUp(signal?: AbortSignal): Promise<void> {
    const ends = await logEnds(this.options.kafka, this.definition.sources);
    const reached = (): boolean => {
      const positions = new Map([...this.#tasks.values()].flatMap((task) => [...task.positions]));
      return [...ends].every(([key, end]) => end === 0n || (positions.get(key) ?? -1n) >= end);
    };
    await this.#until(reached, signal);
  }

  async until(limits: ReadonlyMap<string, Offset> | undefined): Promise<void> {
    this.#limits = limits;
    await Promise.all([...this.#tasks.values()].map((task) => task.until(limits)));
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    clearInterval(this.#committer);
    this.#unfollow?.();
    this.#stop.abort();
    // A group that is tried again and again would never end.
    const quiet = Promise.all([...this.#tasks.values()].map((task) => task.quiesce()));
    await Promise.race([quiet, sleep(closeGraceMs, undefined, { ref: false })]);
    await this.#commitAdvice();
    await this.#membership?.close();
    await this.#change(() => this.#closeAll());
    await this.definition.close?.();
    await this.reader.close();
    await this.#fetching;
    this.#state = 'stopped';
    this.#progress();
  }

  async #fetch(): Promise<void> {
    for (let failures = 0; !this.#stop.signal.aborted;) {
      try {
        for (const slice of await this.reader.fetch()) {
          for (const task of this.#tasks.values()) if (task.owns(slice)) task.offer(slice);
        }
        failures = 0;
        if (this.#error?.code === 'KAFKA_UNAVAILABLE') this.#error = undefined;
      } catch (thrown) {
        this.#error = toSpoolError(thrown);
        this.options.log('warn', 'fetching failed', { consumer: this.consumer, error: this.#error.message });
        await pause(backOffMs(failures++), this.#stop.signal);
      }
    }
  }

  /** Eager protocol: all members stop writing, but stores stay open, since most partitions come back to where they were. */
  async #rebalance(): Promise<void> {
    if (this.#stop.signal.aborted) return; // done by #close
    await Promise.all([...this.#tasks.values()].map((task) => task.quiesce()));
    await this.#commitAdvice();
  }

  async #assigned(assignment: Assignment): Promise<void> {
    const wanted = byTask(assignment.partitions);
    const copies = byTask(assignment.standbys);
    await this.#change(async () => {
      // A copy gives its store to the task that it was kept for.
      for (const [id, copy] of this.#standbys) {
        if (copies.has(id)) continue;
        this.#standbys.delete(id);
        await copy.close();
      }
      for (const [id, task] of this.#tasks) {
        if (wanted.has(id) && !task.stopped) continue;
        this.#tasks.delete(id);
        await task.close();
      }
      for (const [id, partitions] of wanted) {
        const kept = this.#tasks.get(id);
        if (kept === undefined) await this.#openTask(id, partitions, assignment);
        else kept.unquiesce();
      }
      this.#state = 'running';
      this.#progress();
      for (const [id, partitions] of copies) {
        if (this.#standbys.has(id) || this.#stop.signal.aborted) continue;
        const copy = await this.definition.openStandby?.({ id, partitions });
        if (copy !== undefined) this.#standbys.set(id, copy);
      }
    });
  }

  #warm(): readonly TopicPartition[] {
    const tasks = this.options.stored?.() ?? [];
    return this.definition.sources.flatMap((topic) => tasks.map((id) => ({ topic, partition: Number(id) })));
  }

  #lose(): Promise<void> {
    this.#losses += 1;
    return this.#change(() => this.#closeAll());
  }

  /** Refuses to commit for a task whose partitions were lost, though the member may be back in the group, under a later generation. */
  #memberNow(): Membership | undefined {
    const membership = this.#membership;
    if (membership === undefined) return undefined;
    const losses = this.#losses;
    const { consumer } = this;
    return {
      get assignment() {
        return membership.assignment;
      },
      commitOffsets: async (offsets) => {
        if (losses !== this.#losses) throw new SpoolError('PRODUCER_FENCED', `${consumer}: the partitions were lost meanwhile`);
        await membership.commitOffsets(offsets);
      },
      close: () => membership.close(),
      [Symbol.asyncDispose]: () => membership.close(),
    };
  }

  async #open(id: string, partitions: readonly TopicPartition[], assignment: Assignment | undefined): Promise<void> {
    await this.#change(() => this.#openTask(id, partitions, assignment));
    this.#state = 'running';
  }

  async #openTask(id: string, partitions: readonly TopicPartition[], assignment: Assignment | undefined): Promise<void> {
    this.#state = 'restoring';
    this.#progress();
    const { startAt, fixed, order = 'arrival', maxGroupRecords = 2000, maxBufferedRecords = 10_000 } = this.definition;
    const work = await this.definition.open({ id, partitions, membership: this.#memberNow(), assignment, signal: this.#assigning });
    const task = new Task({
      id,
      partitions,
      work,
      reader: this.reader,
      ...{ startAt, fixed, order, maxGroupRecords, maxBufferedRecords },
      share: 1 / this.#taskCount,
      now: this.options.now,
      onFailed: (failed, error) => void this.#reopen(failed, error, partitions),
      onProgress: () => this.#progress(),
    });
    this.#tasks.set(id, task);
    for (const order of this.#history) task.order(order);
    if (this.#limits !== undefined) void task.until(this.#limits);
    task.start();
  }

  /** A task that failed is closed and, if the partitions are still ours, opened anew: fenced, restored and read back. */
  async #reopen(failed: Task, error: SpoolError, partitions: readonly TopicPartition[]): Promise<void> {
    this.#error = error;
    this.options.log('error', 'a task failed and is opened anew', {
      consumer: this.consumer,
      task: failed.id,
      code: error.code,
      error: error.message,
    });
    for (let attempt = 3; !this.#stop.signal.aborted; attempt++) {
      const current = (): boolean => !this.#stop.signal.aborted && this.#tasks.get(failed.id) === failed && this.#owns(partitions);
      try {
        await this.#change(async () => {
          if (this.#tasks.get(failed.id) === failed) await failed.close();
        });
        // Longer than a heartbeat, so that one who was rightly fenced learns of it and does not fence the new owner back.
        if (!(await pause(backOffMs(attempt), this.#stop.signal)) || !current()) return;
        await this.#change(async () => {
          if (!current()) return;
          await this.#openTask(failed.id, partitions, this.#membership?.assignment);
          this.#state = 'running';
        });
        this.#error = undefined;
        return;
      } catch (thrown) {
        this.#error = toSpoolError(thrown);
        this.#state = 'failed';
        this.options.log('error', 'a task cannot be opened', { consumer: this.consumer, task: failed.id, error: this.#error.message });
      }
    }
  }

  /** By the assignment in force; nothing is owned while there is none. */
  #owns(partitions: readonly TopicPartition[]): boolean {
    if (this.#membership === undefined) return true;
    const owned = new Set(this.#membership.assignment?.partitions.map(partitionKey));
    return partitions.every((partition) => owned.has(partitionKey(partition)));
  }

  async #closeAll(): Promise<void> {
    const tasks = [...this.#tasks.values()];
    this.#tasks.clear();
    for (const task of tasks) await task.close();
    const copies = [...this.#standbys.values()];
    this.#standbys.clear();
    for (const copy of copies) await copy.close();
  }

  /** The group's offsets are advice to outside tools (lag in kcat, KEDA), and the place of processors without a store. */
  async #commitAdvice(): Promise<void> {
    if (this.definition.commits === 'work') return;
    const due = [...this.#tasks.values()]
      .flatMap((task) => task.status().map((at) => ({ ...at, metadata: task.epoch < 0n ? '' : task.epoch.toString() })))
      .filter((at) => at.position > 0n && this.#committed.get(partitionKey(at)) !== adviceOf(at))
      .map(({ topic, partition, position, metadata }) => ({ topic, partition, offset: offset(position), position, metadata }));
    if (due.length === 0) return;
    try {
      if (this.#membership === undefined) await this.options.kafka.admin.commitOffsets(this.consumer, due);
      else await this.#membership.commitOffsets(due);
      for (const at of due) this.#committed.set(partitionKey(at), adviceOf(at));
    } catch (thrown) {
      // The next tick commits again; a passed generation has nothing to say any more.
      this.options.log('warn', 'offsets not committed', { consumer: this.consumer, error: toSpoolError(thrown).message });
    }
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#changes.then(change);
    this.#changes = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  #progress(): void {
    for (const waiter of this.#waiters) waiter();
    this.options.onProgress?.(this);
  }

  async #until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (condition()) done(resolve);
        else if (this.#state === 'stopped') done(() => reject(new SpoolError('UNAVAILABLE', `processor ${this.consumer} was stopped`)));
      };
      const abort = (): void => done(() => reject(toSpoolError(signal?.reason)));
      const done = (then: () => void): void => {
        this.#waiters.delete(check);
        signal?.removeEventListener('abort', abort);
        then();
      };
      this.#waiters.add(check);
      signal?.addEventListener('abort', abort);
    });
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
