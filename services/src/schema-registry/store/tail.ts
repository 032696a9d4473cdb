/** Follows the `_schemas` topic from its beginning and keeps the state that it says. */
import type { ConsumedRecord, Log, Reader, Slice } from '@spool/streams';
import { decodeRecord } from './records.js';
import { RegistryState } from './state.js';

export interface TailOptions {
  readonly topic: string;
  readonly log: Log;
  /** Called with every record after it was applied. */
  readonly onRecord: (record: ConsumedRecord) => void;
  /** Called when the log is read anew: offsets known from before mean nothing any more. */
  readonly onRestart: () => void;
  /** Pause after a failed fetch, in milliseconds. */
  readonly retryMs: number;
}

interface Waiter {
  readonly offset: bigint;
  readonly settle: (reached: boolean) => void;
}

export class Tail {
  #state = new RegistryState();
  /** While the log is read anew, the state under construction; the old one serves until then. */
  #building: RegistryState | undefined = new RegistryState();
  #position = 0n;
  #problem: string | undefined = 'the topic has not been read to its end yet';
  #displaced = false;
  #closed = false;
  readonly #waiters = new Set<Waiter>();
  #running: Promise<void> | undefined;

  constructor(
    private readonly reader: Reader,
    private readonly options: TailOptions,
  ) {}

  get state(): RegistryState {
    return this.#state;
  }
  /** Why the state may be behind the log, or undefined. */
  get problem(): string | undefined {
    return this.#problem;
  }

  start(): void {
    this.reader.assign({ topic: this.options.topic, partition: 0 }, 'earliest');
    this.#running = this.#follow();
  }

  /** The log lost records that were read before (a topic made anew): its state is built from scratch after the fetch that tells so. */
  displaced(): void {
    this.#displaced = true;
  }

  /** Resolves when everything up to and with `offset` has been applied. @returns false when `timeoutMs` passed first. */
  async readPast(offset: bigint, timeoutMs: number): Promise<boolean> {
    if (this.#position > offset) return true;
    return new Promise((resolve) => {
      const waiter: Waiter = {
        offset,
        settle: (reached) => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve(reached);
        },
      };
      const timer = setTimeout(() => waiter.settle(false), timeoutMs);
      this.#waiters.add(waiter);
    });
  }

  /** Ends the reader too; who waits is told that it was not reached. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of [...this.#waiters]) waiter.settle(false);
    await this.reader.close();
    await this.#running;
  }

  async #follow(): Promise<void> {
    while (!this.#closed) {
      try {
        const slices = await this.reader.fetch();
        if (this.#displaced) this.#restart();
        else for (const slice of slices) this.#apply(slice);
      } catch (error) {
        await this.#fetchFailed(error);
      }
    }
  }

  async #fetchFailed(error: unknown): Promise<void> {
    if (this.#closed) return;
    this.#problem = `the topic cannot be read: ${error instanceof Error ? error.message : String(error)}`;
    this.options.log('error', this.#problem, { topic: this.options.topic });
    await new Promise((resolve) => setTimeout(resolve, this.options.retryMs));
  }

  #restart(): void {
    this.options.log('warn', 'the schema topic lost its position and is read again from the beginning', { topic: this.options.topic });
    this.#displaced = false;
    this.#building = new RegistryState();
    this.#problem = 'the topic is being read again';
    this.#position = 0n;
    this.options.onRestart();
    this.reader.assign({ topic: this.options.topic, partition: 0 }, 'earliest');
  }

  #apply(slice: Slice): void {
    const state = this.#building ?? this.#state;
    for (const record of slice.records) {
      const change = decodeRecord(record.key, record.value);
      if (change.type === 'UNREADABLE' || !state.apply(change)) {
        const reason = change.type === 'UNREADABLE' ? change.reason : 'its id belongs to another schema';
        this.options.log('warn', `record left aside: ${reason}`, { topic: record.topic, offset: String(record.offset) });
      }
      this.options.onRecord(record);
    }
    this.#position = slice.nextOffset;
    if (slice.nextOffset >= slice.lastStableOffset) {
      this.#state = state;
      this.#building = undefined;
      this.#problem = undefined;
    }
    for (const waiter of [...this.#waiters]) if (this.#position > waiter.offset) waiter.settle(true);
  }
}
