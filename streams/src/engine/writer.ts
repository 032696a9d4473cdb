import { randomUUID } from 'node:crypto';
import { toSpoolError } from '@spool/schemas';
import type { Kafka, ProducerRecord, RecordPosition, TransactionalProducer } from '../kafka/port.js';

/** Writes groups of records in transactions under one transactional id. */
export interface Writer {
  /** The transactional id. */
  readonly id: string;
  /** All or nothing. @throws as `TransactionalProducer.commit`; after a fatal error every later call fails as well */
  commit(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]>;
  close(): Promise<void>;
}

/**
 * One writer for all tasks of a processor in this instance. A transaction costs the broker milliseconds whatever it holds, so while one is under
 * way the groups of all tasks gather for the next.
 */
export interface SharedWriter {
  /** The writer in force; one that has failed is replaced under a fresh transactional id, so nobody can take it for the old one. */
  current(): Promise<Writer>;
  /** How long a rival of a higher generation has been known here, in milliseconds; 0 at the first call. */
  knownFor(rival: string): number;
  close(): Promise<void>;
}

export interface SharedWriterOptions {
  readonly kafka: Kafka;
  /** Begins every transactional id: consumer and instance. */
  readonly prefix: string;
  /** @default Date.now */
  readonly now?: () => number;
  /** @default random */
  readonly newId?: () => string;
}

/** A transaction is cut here, so that a slow reader of one partition does not wait for a mountain. */
const maxRecords = 20_000;

export function createSharedWriter({ kafka, prefix, now = Date.now, newId = randomUUID }: SharedWriterOptions): SharedWriter {
  const rivals = new Map<string, number>();
  let latest: Promise<GroupWriter> | undefined;
  const replaced = async (before: Promise<GroupWriter> | undefined): Promise<GroupWriter> => {
    const known = await before?.catch(() => undefined);
    if (known?.failed === false) return known;
    await known?.end();
    return new GroupWriter(await kafka.transactionalProducer({ transactionalId: `${prefix}.${newId()}` }));
  };
  return {
    current: () => (latest = replaced(latest)),
    knownFor(rival) {
      const since = rivals.get(rival);
      if (since === undefined) rivals.set(rival, now());
      return since === undefined ? 0 : now() - since;
    },
    async close() {
      await (await latest?.catch(() => undefined))?.end();
    },
  };
}

interface Waiting {
  readonly records: readonly ProducerRecord[];
  readonly resolve: (positions: readonly RecordPosition[]) => void;
  readonly reject: (error: unknown) => void;
}

class GroupWriter implements Writer {
  failed = false;
  #waiting: Waiting[] = [];
  #busy: Promise<void> | undefined;

  constructor(private readonly producer: TransactionalProducer) {}

  get id(): string {
    return this.producer.transactionalId;
  }

  commit(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, resolve, reject });
      this.#busy ??= this.#run().finally(() => (this.#busy = undefined));
    });
  }

  /** The writer is shared: a task that closes leaves it to the others. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  async end(): Promise<void> {
    this.failed = true;
    await this.#busy;
    await this.producer.close();
  }

  async #run(): Promise<void> {
    // Tasks that were woken by the same fetch join the first transaction.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) await this.#write(this.#take());
  }

  #take(): readonly Waiting[] {
    let count = 0;
    const end = this.#waiting.findIndex(({ records }, index) => (count += records.length) > maxRecords && index > 0);
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      const positions = await this.producer.commit(group.flatMap(({ records }) => records));
      let from = 0;
      for (const { records, resolve } of group) resolve(positions.slice(from, (from += records.length)));
    } catch (thrown) {
      const { retryable } = toSpoolError(thrown).entry;
      if (retryable === 'fatal') this.failed = true;
      // What Kafka refused for its content is one task's fault: each goes by itself, and the others pass.
      if (retryable === 'never' && group.length > 1) for (const one of group) await this.#write([one]);
      else for (const { reject } of group) reject(thrown);
    }
  }
}
