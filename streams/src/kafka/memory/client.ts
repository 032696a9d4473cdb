import { SpoolError } from '@spool/schemas';
import { backoffMs } from '../backoff.js';
import { GroupMembership } from '../membership.js';
import type {
  Kafka,
  Membership,
  MembershipOptions,
  Producer,
  ProducerOptions,
  ProducerRecord,
  Reader,
  ReaderOptions,
  RecordPosition,
  TransactionalProducer,
  TransactionalProducerOptions,
} from '../port.js';
import { MemoryAdmin } from './admin.js';
import type { MemoryBroker } from './broker.js';
import { MemoryGroupCoordinator } from './coordinator.js';
import { sizeOf } from './log.js';
import { MemoryReader } from './reader.js';

export class MemoryClient implements Kafka {
  readonly admin: MemoryAdmin;
  readonly #broker: MemoryBroker;
  readonly #open = new Set<{ close(): Promise<void> }>();
  #closed = false;

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
    this.admin = new MemoryAdmin(broker);
  }

  producer(options: ProducerOptions = {}): Promise<Producer> {
    return this.#opened(new MemoryProducer(this.#broker, options));
  }

  transactionalProducer(options: TransactionalProducerOptions): Promise<TransactionalProducer> {
    return this.#opened(new MemoryTransactionalProducer(this.#broker, options));
  }

  reader(options: ReaderOptions = {}): Promise<Reader> {
    return this.#opened(new MemoryReader(this.#broker, options));
  }

  async membership(options: MembershipOptions): Promise<Membership> {
    const { sessionTimeoutMs = 10_000, rebalanceTimeoutMs = 30_000 } = options;
    const context = { sessionTimeoutMs, rebalanceTimeoutMs, log: () => undefined, backoffMs };
    const membership = await this.#opened(new GroupMembership(new MemoryGroupCoordinator(this.#broker, options), options, context));
    return membership.open();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#open].map((resource) => resource.close()));
    this.#open.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #opened<T extends { close(): Promise<void> }>(resource: T): Promise<T> {
    if (this.#closed) throw new SpoolError('KAFKA_UNAVAILABLE', 'this Kafka client is closed');
    this.#open.add(resource);
    return Promise.resolve(resource);
  }
}

class MemoryProducer implements Producer {
  readonly #broker: MemoryBroker;
  readonly #maxBufferedBytes: number;
  #bufferedBytes = 0;
  #closed = false;
  /** The records on their way, in order. */
  #sending: Promise<unknown> = Promise.resolve();

  constructor(broker: MemoryBroker, options: ProducerOptions) {
    this.#broker = broker;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? 32 * 1024 * 1024;
  }

  async send(record: ProducerRecord): Promise<RecordPosition> {
    if (this.#closed) throw new SpoolError('KAFKA_UNAVAILABLE', 'this producer is closed');
    const bytes = sizeOf(record);
    if (bytes > this.#maxBufferedBytes)
      throw new SpoolError('RECORD_TOO_LARGE', `record for ${record.topic}: ${bytes} bytes, the buffer holds ${this.#maxBufferedBytes}`);
    if (this.#bufferedBytes + bytes > this.#maxBufferedBytes)
      throw new SpoolError('OVERLOADED', `${this.#bufferedBytes} bytes wait for acknowledgement`, { retryAfterMs: 100 });
    this.#bufferedBytes += bytes;
    const sent = this.#sending.then(() => {
      this.#bufferedBytes -= bytes;
      return this.#broker.append(record, this.#broker.place(record));
    });
    this.#sending = sent.catch(() => undefined);
    return sent;
  }

  sendAll(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    return Promise.all(records.map((record) => this.send(record)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#sending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

class MemoryTransactionalProducer implements TransactionalProducer {
  readonly transactionalId: string;
  readonly #broker: MemoryBroker;
  readonly #epoch: number;
  #busy = false;
  #over: SpoolError | undefined;

  constructor(broker: MemoryBroker, { transactionalId }: TransactionalProducerOptions) {
    this.transactionalId = transactionalId;
    this.#broker = broker;
    this.#epoch = broker.takeId(transactionalId);
  }

  async commit(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    if (this.#over) throw this.#over;
    if (this.#busy) throw new SpoolError('INTERNAL', `transaction ${this.transactionalId}: a commit is under way already`);
    if (records.length === 0) return [];
    this.#busy = true;
    try {
      await new Promise((resolve) => setImmediate(resolve)); // as from a broker, the answer comes later
      return this.#broker.commit(this.transactionalId, this.#epoch, records);
    } catch (thrown) {
      if (thrown instanceof SpoolError && thrown.entry.retryable === 'fatal') this.#over = thrown;
      throw thrown;
    } finally {
      this.#busy = false;
    }
  }

  close(): Promise<void> {
    this.#over ??= new SpoolError('KAFKA_UNAVAILABLE', `transaction ${this.transactionalId}: closed`);
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
