/**
 * Read, decide, write, as one step, with any number of replicas.
 *
 * A transactional id is the lock: opening a producer with it fences whoever held it, and a fenced producer cannot commit. So a replica opens the
 * id, reads the log to its end (proved by a marker that it commits and reads back), decides on that state, and commits. If the
 * commit succeeds, nobody else has written since the state was read; if it was fenced, nothing of it is in the log, and it starts again
 * after a random pause. The lock is kept between writes and simply taken away by the next writer, so one replica alone pays one transaction
 * for each batch. The alternative, letting every replica append and having readers ignore the losers, does not survive compaction: a loser has
 * the key (subject, version) of the winner and would replace it.
 *
 * A write is answered after its records came back through the tail, so whoever got the answer finds it in the next request.
 */
import { SpoolError } from '@spool/schemas';
import type { ConsumedRecord, Kafka, Log, ProducerRecord, TransactionalProducer } from '@spool/streams';
import { overloaded, RegistryError, schemaTooLarge, storeFailed, timedOut } from '../errors.js';
import { encodeChange, type Change } from './records.js';
import type { RegistryState } from './state.js';
import type { Tail } from './tail.js';

export interface Decision<T> {
  /** Empty when the state is as wanted already. */
  readonly changes: readonly Change[];
  readonly result: T;
}
/** Pure, since it may run again on a newer state. @throws RegistryError */
export type Decide<T> = (state: RegistryState) => Decision<T>;

export interface WriterOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  readonly transactionalId: string;
  /** How long a write may take before it is answered with 50002, in milliseconds. */
  readonly writeTimeoutMs: number;
  /** Writes beyond this are refused at once. */
  readonly maxWaiting: number;
  readonly newId: () => string;
  readonly random: () => number;
  readonly log: Log;
}

interface Item {
  readonly decide: Decide<unknown>;
  readonly settle: (outcome: Outcome) => void;
  settled: boolean;
}
type Outcome = { readonly result: unknown } | { readonly error: RegistryError };
interface Batch {
  readonly writeId: string;
  readonly decided: readonly (readonly [Item, Outcome])[];
  readonly records: readonly ProducerRecord[];
}

/** One transaction decides at most so many writes and bytes: it holds up the event loop, and a batch of records has Kafka's size limit. */
const maxBatchItems = 64;
const maxBatchBytes = 256 * 1024;
const writeHeader = 'spoolwrite';

export class Writer {
  readonly #queue: Item[] = [];
  #producer: TransactionalProducer | undefined;
  /** Deciding on a state that is not past this would overlook writes of this very replica. */
  #mustRead = -1n;
  /** A commit that failed: whether it is in the log is known once the lock is held again and the log has been read. */
  #unsettled: { readonly batch: Batch; seen: boolean } | undefined;
  #alone = false;
  #lastProblem = '';
  #running: Promise<void> | undefined;
  /** Takes no more writes. */
  #closed = false;
  /** Works off no more writes either. */
  #ended = false;

  constructor(
    private readonly tail: Tail,
    private readonly options: WriterOptions,
  ) {}

  /** The log is read from its beginning again: offsets from before mean nothing. */
  restart(): void {
    this.#mustRead = -1n;
    this.#release();
  }

  /** Told of every record that the tail reads. */
  observe(record: ConsumedRecord): void {
    const pending = this.#unsettled;
    if (pending !== undefined && record.headers[writeHeader]?.toString() === pending.batch.writeId) pending.seen = true;
  }

  /** @throws RegistryError whatever `decide` throws, 50001, 50002 (the outcome may be unknown), 50301. */
  async write<T>(decide: Decide<T>): Promise<T> {
    if (this.#closed) throw storeFailed('The registry is shutting down');
    if (this.#queue.length >= this.options.maxWaiting) throw overloaded(this.#queue.length);
    const result = new Promise<unknown>((resolve, reject) => {
      const item: Item = {
        decide,
        settled: false,
        settle: (outcome) => {
          if (item.settled) return;
          item.settled = true;
          clearTimeout(timer);
          if ('error' in outcome) reject(outcome.error);
          else resolve(outcome.result);
        },
      };
      const timer = setTimeout(() => {
        const cause = this.#lastProblem === '' ? '' : ` (${this.#lastProblem})`;
        item.settle({
          error: timedOut(`The write was not confirmed within ${this.options.writeTimeoutMs} ms; read before you send it again${cause}`),
        });
      }, this.options.writeTimeoutMs);
      this.#queue.push(item);
    });
    this.#running ??= this.#work();
    return result as Promise<T>;
  }

  /** Lets what is under way finish, within `timeoutMs`, and gives up the lock. */
  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    this.#ended = true;
    for (const item of this.#queue) item.settle({ error: storeFailed('The registry is shutting down') });
    this.#release();
  }

  async #work(): Promise<void> {
    for (let failures = 0; this.#queue.length > 0 && !this.#ended;) {
      try {
        await this.#hold();
        const batch = this.#decide();
        if (batch !== undefined) await this.#commit(batch);
        failures = 0;
        this.#lastProblem = '';
      } catch (error) {
        this.#lastProblem = error instanceof Error ? error.message : String(error);
        this.options.log('warn', `a write to the schema topic has to be repeated: ${this.#lastProblem}`);
        this.#release();
        failures += 1;
        // Different on each replica and growing, or they would fence each other for ever; short at first, since mostly the lock was
        // taken while this one was idle.
        const pause = this.options.random() * Math.min(1_000, 20 * 2 ** failures);
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
      this.#dropSettled();
    }
    this.#running = undefined; // in the same tick as the last look at the queue, so that no write falls between
  }

  /** Takes the lock unless it is held, and brings the state up to date. */
  async #hold(): Promise<void> {
    const { kafka, topic, transactionalId } = this.options;
    if (this.#producer === undefined) {
      this.#producer = await kafka.transactionalProducer({ transactionalId, timeoutMs: 10_000 });
      if (this.#ended) throw storeFailed('The registry has shut down');
      // Read first, so that the marker carries the highest id; then prove by the marker that the end was reached under the lock.
      const end = (await kafka.admin.offsets(topic)).find(({ partition }) => partition === 0);
      await this.#read(BigInt(end?.latest ?? 0n) - 1n);
      await this.#append(this.#producer, [this.#record({ type: 'NOOP', maxId: this.tail.state.maxId }, this.options.newId())]);
    }
    await this.#read(this.#mustRead);
    if (this.tail.problem !== undefined) throw storeFailed(this.tail.problem);
    const doubtful = this.#unsettled;
    this.#unsettled = undefined;
    if (doubtful?.seen === true) settleAll(doubtful.batch);
    this.#dropSettled();
  }

  /** Decides as many waiting writes as fit in one transaction, each on the state that the one before leaves behind. */
  #decide(): Batch | undefined {
    const writeId = this.options.newId();
    const decided: (readonly [Item, Outcome])[] = [];
    const records: ProducerRecord[] = [];
    let bytes = 0;
    let state = this.tail.state;
    for (const item of this.#queue.slice(0, this.#alone ? 1 : maxBatchItems)) {
      try {
        const { changes, result } = item.decide(state);
        const encoded = changes.map((change) => this.#record(change, writeId));
        bytes += encoded.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
        if (records.length > 0 && bytes > maxBatchBytes) break;
        if (changes.length > 0 && state === this.tail.state) state = state.fork();
        for (const change of changes) state.apply(change);
        records.push(...encoded);
        decided.push([item, { result }]);
      } catch (error) {
        if (!(error instanceof RegistryError)) this.options.log('error', `deciding a write failed: ${String(error)}`);
        decided.push([item, { error: error instanceof RegistryError ? error : storeFailed('The write failed') }]);
      }
    }
    this.#alone = false;
    if (decided.length === 0) return undefined;
    // A refusal is an answer too, and as wrong as an overwrite if another replica has changed the state meanwhile: the commit of a
    // marker proves that none has.
    if (records.length === 0) records.push(this.#record({ type: 'NOOP', maxId: state.maxId }, writeId));
    return { writeId, decided, records };
  }

  async #commit(batch: Batch): Promise<void> {
    if (this.#producer === undefined) return;
    this.#unsettled = { batch, seen: false };
    try {
      await this.#append(this.#producer, batch.records);
    } catch (error) {
      if (!(error instanceof SpoolError) || error.code !== 'RECORD_TOO_LARGE') throw error;
      this.#unsettled = undefined;
      this.#alone = batch.decided.length > 1;
      if (!this.#alone) for (const [item] of batch.decided) item.settle({ error: schemaTooLarge() });
      return;
    }
    this.#unsettled = undefined;
    if (await this.tail.readPast(this.#mustRead, this.options.writeTimeoutMs)) settleAll(batch);
    else for (const [item] of batch.decided) item.settle({ error: timedOut('The write is in the log but was not read back in time') });
  }

  async #append(producer: TransactionalProducer, records: readonly ProducerRecord[]): Promise<void> {
    for (const { offset } of await producer.commit(records)) if (offset > this.#mustRead) this.#mustRead = offset;
  }

  async #read(offset: bigint): Promise<void> {
    if (!(await this.tail.readPast(offset, this.options.writeTimeoutMs))) throw storeFailed(`the log was not read up to ${offset} in time`);
  }

  #record(change: Change, writeId: string): ProducerRecord {
    return { topic: this.options.topic, partition: 0, headers: { [writeHeader]: writeId }, ...encodeChange(change) };
  }

  #release(): void {
    const producer = this.#producer;
    this.#producer = undefined;
    producer?.close().catch((error: unknown) => this.options.log('warn', `closing a producer failed: ${String(error)}`));
  }

  #dropSettled(): void {
    const waiting = this.#queue.filter((item) => !item.settled);
    this.#queue.splice(0, this.#queue.length, ...waiting);
  }
}

function settleAll({ decided }: Batch): void {
  for (const [item, outcome] of decided) item.settle(outcome);
}
