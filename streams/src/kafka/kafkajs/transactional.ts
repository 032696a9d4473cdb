import { SpoolError } from '@spool/schemas';
import type Broker from 'kafkajs/src/broker/index.js';
import {
  offset,
  type ProducerRecord,
  type RecordPosition,
  type TransactionalProducer,
  type TransactionalProducerOptions,
} from '../port.js';
import { partitionOf } from '../partitioner.js';
import { backoffMs } from '../backoff.js';
import { persist } from './persist.js';
import { BrokerError, Code, codeOf, isConnectionError, isTransient, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { initProducerIdMessage, type ProducerIdentity } from './messages.js';
import { produceMessage } from './produce.js';
import { readyRecord, type BatchToSend, type ReadyRecord } from './record-batch.js';

const BATCH_BYTES = 1_000_000;
const UNKNOWN_TOPIC_GRACE_MS = 500;

/** The records of one commit for one partition, and where each stood in the call. */
interface Share {
  readonly topic: string;
  readonly partition: number;
  readonly records: ReadyRecord[];
  readonly places: number[];
}

export class TransactionWriter implements TransactionalProducer {
  readonly transactionalId: string;
  readonly #cluster: Cluster;
  readonly #timeoutMs: number;
  #identity: ProducerIdentity = { producerId: -1n, epoch: -1 };
  readonly #sequences = new Map<string, number>();
  readonly #roundRobin = new Map<string, number>();
  #busy = false;
  /** Why this object refuses further calls. */
  #over: SpoolError | undefined;

  constructor(cluster: Cluster, options: TransactionalProducerOptions) {
    this.#cluster = cluster;
    this.transactionalId = options.transactionalId;
    this.#timeoutMs = options.timeoutMs ?? 15_000;
  }

  /** Takes the id. kafkajs would do so at the first transaction only, and the former owner could commit until then. */
  async open(): Promise<this> {
    this.#identity = await this.#atCoordinator('take', this.#cluster.retryForMs, (broker) =>
      broker.connectionPool.send(initProducerIdMessage(this.transactionalId, this.#timeoutMs)),
    );
    return this;
  }

  async commit(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    if (this.#over) throw this.#over;
    if (this.#busy) throw new SpoolError('INTERNAL', `transaction ${this.transactionalId}: a commit is under way already`);
    if (records.length === 0) return [];
    this.#busy = true;
    try {
      // 1. where each record goes; nothing has begun yet, so an error here needs no abort
      const shares = await this.#share(records);
      const positions = new Array<RecordPosition>(records.length);
      // 2. the partitions join the transaction, the records are written, invisible
      try {
        await this.#join(shares);
        await this.#write(shares, positions);
      } catch (thrown) {
        throw await this.#abort(thrown);
      }
      // 3. they become visible
      await this.#end();
      return positions;
    } finally {
      this.#busy = false;
    }
  }

  async close(): Promise<void> {
    this.#over ??= new SpoolError('KAFKA_UNAVAILABLE', `transaction ${this.transactionalId}: closed`);
    await this.#cluster.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #share(records: readonly ProducerRecord[]): Promise<readonly Share[]> {
    const shares = new Map<string, Share>();
    const now = Date.now();
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!;
      const { topic } = record;
      const count = this.#cluster.known(topic)?.leaders.length || (await this.#partitions(topic));
      const ready = readyRecord(record, now);
      const partition = record.partition ?? (ready.key === null ? this.#nextRoundRobin(topic) % count : partitionOf(ready.key, count));
      if (partition >= count) throw new SpoolError('UNKNOWN_TOPIC', `${topic} has ${count} partitions and no partition ${partition}`);
      const key = `${topic}-${partition}`;
      let share = shares.get(key);
      if (!share) shares.set(key, (share = { topic, partition, records: [], places: [] }));
      share.records.push(ready);
      share.places.push(i);
    }
    return [...shares.values()];
  }

  async #partitions(topic: string): Promise<number> {
    return persist({ doing: `transaction ${this.transactionalId}: send to ${topic}`, forMs: UNKNOWN_TOPIC_GRACE_MS }, async () => {
      await this.#cluster.refresh([topic]);
      const metadata = await this.#cluster.topic(topic);
      if (metadata.error !== Code.NONE) throw new BrokerError(metadata.error, topic);
      return metadata.leaders.length;
    }).catch((thrown: unknown) => {
      const unknown = this.#cluster.known(topic)?.error === Code.UNKNOWN_TOPIC_OR_PARTITION;
      throw unknown ? new SpoolError('UNKNOWN_TOPIC', `no topic ${topic}`, { cause: thrown }) : thrown;
    });
  }

  #nextRoundRobin(topic: string): number {
    const next = this.#roundRobin.get(topic) ?? 0;
    this.#roundRobin.set(topic, next + 1);
    return next;
  }

  async #join(shares: readonly Share[]): Promise<void> {
    const partitions = new Map<string, number[]>();
    for (const { topic, partition } of shares) {
      const of = partitions.get(topic);
      if (of) of.push(partition);
      else partitions.set(topic, [partition]);
    }
    const topics = [...partitions].map(([topic, of]) => ({ topic, partitions: of }));
    const graceEnd = performance.now() + UNKNOWN_TOPIC_GRACE_MS;
    const { producerId, epoch } = this.#identity;
    await this.#atCoordinator('begin', this.#timeoutMs, (broker) =>
      broker
        .addPartitionsToTxn({ transactionalId: this.transactionalId, producerId, producerEpoch: epoch, topics })
        .catch(async (thrown: unknown) => {
          const code = codeOf(thrown);
          if (code === Code.UNKNOWN_TOPIC_OR_PARTITION || code === Code.OPERATION_NOT_ATTEMPTED)
            await this.#failIfGone(partitions.keys(), graceEnd);
          throw thrown;
        }),
    );
  }

  /** The coordinator refuses a transaction whole, and says of one partition alone why: a topic may have been deleted. */
  async #failIfGone(topics: Iterable<string>, graceEnd: number): Promise<void> {
    const names = [...topics];
    await this.#cluster.refresh(names);
    const gone = names.filter((name) => this.#cluster.known(name)?.error === Code.UNKNOWN_TOPIC_OR_PARTITION);
    if (gone.length > 0 && performance.now() > graceEnd)
      throw new SpoolError('UNKNOWN_TOPIC', `transaction ${this.transactionalId}: no topic ${gone.join(', ')}`);
  }

  /** Writes what is left of each share, a batch of each partition at a time, until nothing is. */
  async #write(shares: readonly Share[], positions: RecordPosition[]): Promise<void> {
    const end = performance.now() + this.#timeoutMs;
    const next = new Map<Share, number>(shares.map((share) => [share, 0]));
    while (next.size > 0) {
      await persist(
        { doing: `transaction ${this.transactionalId}: send`, forMs: Math.max(0, end - performance.now()), signal: this.#cluster.signal },
        () => this.#writeOnce(next, positions),
      );
    }
  }

  async #writeOnce(next: Map<Share, number>, positions: RecordPosition[]): Promise<void> {
    const byNode = new Map<number, Share[]>();
    for (const share of next.keys()) {
      const node = this.#cluster.leader(share.topic, share.partition);
      if (node === undefined) {
        await this.#cluster.refresh([share.topic]);
        throw new BrokerError(Code.LEADER_NOT_AVAILABLE, `${share.topic}-${share.partition}`);
      }
      const of = byNode.get(node);
      if (of) of.push(share);
      else byNode.set(node, [share]);
    }
    const results = await Promise.allSettled([...byNode].map(([node, of]) => this.#writeTo(node, of, next, positions)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) {
      if (isTransient(failed.reason)) await this.#cluster.refresh(new Set([...next.keys()].map(({ topic }) => topic)));
      throw failed.reason;
    }
  }

  async #writeTo(node: number, shares: readonly Share[], next: Map<Share, number>, positions: RecordPosition[]): Promise<void> {
    const batches = shares.map((share) => this.#batch(share, next.get(share)!));
    const broker = await this.#cluster.node(node);
    const answers = await broker.connectionPool
      .send(produceMessage(this.transactionalId, batches, this.#cluster.config.requestTimeoutMs ?? 10_000))
      .catch((thrown: unknown) => {
        if (isConnectionError(thrown)) this.#cluster.drop(broker);
        throw thrown;
      });
    let failure: BrokerError | undefined;
    for (const answer of answers) {
      const index = shares.findIndex(({ topic, partition }) => topic === answer.topic && partition === answer.partition);
      const share = shares[index]!;
      if (answer.code !== Code.NONE) {
        failure ??= new BrokerError(answer.code, `${share.topic}-${share.partition}`);
        continue;
      }
      const { sequence, records } = batches[index]!;
      const from = next.get(share)!;
      for (let i = 0; i < records.length; i++)
        positions[share.places[from + i]!] = {
          topic: share.topic,
          partition: share.partition,
          offset: offset(answer.baseOffset + BigInt(i)),
        };
      this.#sequences.set(`${share.topic}-${share.partition}`, (sequence + records.length) % 0x80000000);
      if (from + records.length === share.records.length) next.delete(share);
      else next.set(share, from + records.length);
    }
    if (failure) throw failure;
  }

  #batch(share: Share, from: number): BatchToSend {
    let to = from;
    for (let bytes = 0; to < share.records.length; to++) {
      bytes += share.records[to]!.maxBytes;
      if (to > from && bytes > BATCH_BYTES) break;
    }
    const { topic, partition } = share;
    const records = from === 0 && to === share.records.length ? share.records : share.records.slice(from, to);
    return { topic, partition, records, identity: this.#identity, sequence: this.#sequences.get(`${topic}-${partition}`) ?? 0 };
  }

  /** Takes the records back and gives the error to throw. */
  async #abort(thrown: unknown): Promise<SpoolError> {
    const error = kafkaError(thrown, `transaction ${this.transactionalId}`);
    if (error.code === 'PRODUCER_FENCED') return (this.#over = error);
    try {
      await this.#atCoordinator('abort', this.#timeoutMs, (broker) => this.#endTransaction(broker, false)).catch((second: unknown) => {
        if (!(second instanceof SpoolError) || codeOf(second.cause) !== Code.INVALID_TXN_STATE) throw second; // it had not begun
      });
      // the next epoch starts the sequence numbers anew, since what reached the logs is not known; it is taken only if we are not fenced
      this.#identity = await this.#atCoordinator('abort', this.#timeoutMs, (broker) =>
        broker.connectionPool.send(initProducerIdMessage(this.transactionalId, this.#timeoutMs, this.#identity)),
      );
      this.#sequences.clear();
      return error;
    } catch (second) {
      const reason = kafkaError(second, 'abort');
      if (reason.code === 'PRODUCER_FENCED') return (this.#over = reason);
      const message = `${error.message}; its abort was not confirmed either: ${reason.message}`;
      return (this.#over = new SpoolError('TRANSACTION_INDETERMINATE', message, { cause: error }));
    }
  }

  #endTransaction(broker: Broker, commit: boolean): Promise<void> {
    const { producerId, epoch } = this.#identity;
    return broker.endTxn({ transactionalId: this.transactionalId, producerId, producerEpoch: epoch, transactionResult: commit });
  }

  async #end(): Promise<void> {
    let asked = false;
    try {
      await this.#atCoordinator('commit', this.#timeoutMs, async (broker) => {
        // asked again after a lost answer, the coordinator tells that it is done, or does it now
        await this.#endTransaction(broker, true).catch((thrown: unknown) => {
          asked ||= codeOf(thrown) === undefined;
          throw thrown;
        });
      });
    } catch (thrown) {
      const error = kafkaError(thrown, `transaction ${this.transactionalId}`);
      const known = error.code === 'PRODUCER_FENCED' && !asked;
      throw (this.#over = known
        ? error
        : new SpoolError('TRANSACTION_INDETERMINATE', `${error.message}; whether it was committed is not known`, { cause: thrown }));
    }
  }

  /** Asks the coordinator until it answers; it refuses for a moment while it still finishes the transaction before. */
  async #atCoordinator<T>(step: string, forMs: number, ask: (broker: Broker) => Promise<T>): Promise<T> {
    return persist(
      { doing: `transaction ${this.transactionalId}: ${step}`, forMs, pauseMs: coordinatorPauseMs, signal: this.#cluster.signal },
      () => this.#cluster.atCoordinator('transaction', this.transactionalId, ask),
    );
  }
}

/** The transaction before takes a fraction of a millisecond to finish after its answer: ask again at once, then each millisecond or two. */
export const coordinatorPauseMs = (n: number, thrown: unknown): number =>
  codeOf(thrown) === Code.CONCURRENT_TRANSACTIONS ? Math.min(Math.max(0, n - IMMEDIATE_RETRIES), 20) : backoffMs(n);
const IMMEDIATE_RETRIES = 2;
