import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { offset, type Producer, type ProducerOptions, type ProducerRecord, type RecordPosition } from '../port.js';
import { partitionOf } from '../partitioner.js';
import { backoffMs } from '../backoff.js';
import { Code, describeCode, isConnectionError, isFencedCode, isTransient, isTransientCode, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { initProducerIdMessage, type ProducerIdentity, type TopicMetadata } from './messages.js';
import { produceMessage, type ProduceAnswer } from './produce.js';
import { BATCH_OVERHEAD, readyRecord, type ReadyRecord } from './record-batch.js';

/** Requests that one broker may have in flight: the second is encoded while the broker writes the first. */
const REQUESTS_IN_FLIGHT = 2;
/** A batch must fit the topic's max.message.bytes, 1,048,588 unless changed; a record that is larger than this goes alone. */
const BATCH_BYTES = 1_000_000;
const REQUEST_BYTES = 8 * 1024 * 1024;
/** The metadata of a topic just created spreads to all brokers within this time. */
const UNKNOWN_TOPIC_GRACE_MS = 500;
const SWEEP_MS = 250;

interface Pending {
  readonly ready: ReadyRecord;
  readonly deadline: number;
  resolve(position: RecordPosition): void;
  reject(error: SpoolError): void;
}

interface Batch {
  readonly pending: readonly Pending[];
  readonly identity: ProducerIdentity;
  readonly sequence: number;
  attempts: number;
  /** An attempt ended without an answer: it may have been written. */
  uncertain: boolean;
  /** Its callers have been told that it failed. */
  expired: boolean;
}

/** What is on its way to one partition. One batch at a time, so that order and sequence numbers hold through every retry. */
interface Lane {
  readonly topic: string;
  readonly partition: number;
  queue: Pending[];
  batch: Batch | undefined;
  sending: boolean;
  /** Waits for a back-off. */
  resting: boolean;
  identity: ProducerIdentity | undefined;
  sequence: number;
}

interface TopicLanes {
  lanes: Lane[];
  /** Records that came before the topic's partitions were known, in order. */
  unrouted: { readonly record: ProducerRecord; readonly pending: Pending }[];
  lookingUp: boolean;
  nextRoundRobin: number;
}

export class IdempotentProducer implements Producer {
  readonly #cluster: Cluster;
  readonly #maxBufferedBytes: number;
  readonly #deliveryTimeoutMs: number;
  readonly #topics = new Map<string, TopicLanes>();
  /** Lanes with something to send. */
  readonly #ready = new Set<Lane>();
  readonly #inFlight = new Map<number, number>();
  #identity: Promise<ProducerIdentity> | undefined;
  #bufferedBytes = 0;
  #buffered = 0;
  #pumpDue = false;
  #sweep: NodeJS.Timeout | undefined;
  #closed = false;
  #drained: (() => void) | undefined;

  constructor(cluster: Cluster, options: ProducerOptions) {
    this.#cluster = cluster;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? 32 * 1024 * 1024;
    this.#deliveryTimeoutMs = options.deliveryTimeoutMs ?? 30_000;
  }

  /** Takes a producer id, so that a cluster that cannot be reached or refuses us shows at once. */
  async open(): Promise<this> {
    await this.#cluster.persist('connect a producer', () => this.#currentIdentity());
    return this;
  }

  send(record: ProducerRecord): Promise<RecordPosition> {
    return new Promise((resolve, reject) => {
      const refusal = this.#enqueue(record, resolve, reject);
      if (refusal) reject(refusal);
    });
  }

  sendAll(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    return new Promise((resolve, reject) => {
      const positions = new Array<RecordPosition>(records.length);
      let missing = records.length;
      if (missing === 0) return resolve(positions);
      for (let i = 0; i < records.length; i++) {
        const refusal = this.#enqueue(
          records[i]!,
          (position) => {
            positions[i] = position;
            if (--missing === 0) resolve(positions);
          },
          reject,
        );
        if (refusal) return reject(refusal);
      }
    });
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      if (this.#buffered > 0) await new Promise<void>((resolve) => (this.#drained = resolve)); // each record ends by its deadline
      clearInterval(this.#sweep);
    }
    await this.#cluster.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #enqueue(record: ProducerRecord, resolve: Pending['resolve'], reject: Pending['reject']): SpoolError | undefined {
    if (this.#closed) return new SpoolError('KAFKA_UNAVAILABLE', 'this producer is closed');
    const ready = readyRecord(record, Date.now());
    if (ready.maxBytes > this.#maxBufferedBytes)
      return new SpoolError(
        'RECORD_TOO_LARGE',
        `record for ${record.topic}: ${ready.maxBytes} bytes, the buffer holds ${this.#maxBufferedBytes}`,
      );
    if (this.#bufferedBytes + ready.maxBytes > this.#maxBufferedBytes)
      return new SpoolError('OVERLOADED', `${this.#bufferedBytes} bytes wait for acknowledgement`, { retryAfterMs: 100 });
    this.#bufferedBytes += ready.maxBytes;
    this.#buffered++;
    const settled = () => {
      this.#bufferedBytes -= ready.maxBytes;
      if (--this.#buffered === 0) this.#idle();
    };
    const pending: Pending = {
      ready,
      deadline: performance.now() + this.#deliveryTimeoutMs,
      resolve: (position) => {
        settled();
        resolve(position);
      },
      reject: (error) => {
        settled();
        reject(error);
      },
    };
    this.#sweep ??= setInterval(() => {
      this.#expire();
    }, SWEEP_MS);
    this.#route(record, pending);
    return undefined;
  }

  #idle(): void {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#drained?.();
  }

  // 1. from topic and key to a partition

  #route(record: ProducerRecord, pending: Pending): void {
    let topic = this.#topics.get(record.topic);
    if (!topic) this.#topics.set(record.topic, (topic = { lanes: [], unrouted: [], lookingUp: false, nextRoundRobin: 0 }));
    if (topic.lanes.length === 0 || topic.lookingUp) {
      topic.unrouted.push({ record, pending });
      if (!topic.lookingUp) void this.#lookUp(record.topic, topic);
      return;
    }
    this.#put(topic, record, pending);
  }

  #put(topic: TopicLanes, record: ProducerRecord, pending: Pending): void {
    const count = topic.lanes.length;
    const { key } = pending.ready;
    const partition = record.partition ?? (key === null ? topic.nextRoundRobin++ % count : partitionOf(key, count));
    const lane = topic.lanes[partition];
    if (!lane) {
      pending.reject(new SpoolError('UNKNOWN_TOPIC', `${record.topic} has ${count} partitions and no partition ${partition}`));
      return;
    }
    lane.queue.push(pending);
    this.#ready.add(lane);
    this.#pumpSoon();
  }

  async #lookUp(name: string, topic: TopicLanes): Promise<void> {
    topic.lookingUp = true;
    const graceEnd = performance.now() + UNKNOWN_TOPIC_GRACE_MS;
    let failure = new SpoolError('KAFKA_UNAVAILABLE', `${name}: no metadata`);
    for (let attempt = 0; topic.unrouted.length > 0; attempt++) {
      try {
        if (attempt > 0) await this.#cluster.refresh([name]);
        const metadata = await this.#cluster.topic(name);
        if (metadata.error === Code.NONE && metadata.leaders.length > 0) {
          this.#lay(name, topic, metadata);
          break;
        }
        failure = kafkaError(Object.assign(new Error(describeCode(metadata.error)), { code: metadata.error }), `send to ${name}`);
        if (performance.now() > graceEnd || !isTransientCode(metadata.error)) break;
      } catch (thrown) {
        failure = kafkaError(thrown, `send to ${name}`);
        if (!isTransient(thrown)) break;
      }
      await sleep(backoffMs(attempt));
    }
    topic.lookingUp = false;
    const unrouted = topic.unrouted;
    topic.unrouted = [];
    for (const { record, pending } of unrouted) {
      if (topic.lanes.length > 0) this.#put(topic, record, pending);
      else pending.reject(failure);
    }
    if (topic.lanes.length === 0) this.#topics.delete(name);
  }

  #lay(name: string, topic: TopicLanes, metadata: TopicMetadata): void {
    for (let partition = topic.lanes.length; partition < metadata.leaders.length; partition++)
      topic.lanes.push({
        topic: name,
        partition,
        queue: [],
        batch: undefined,
        sending: false,
        resting: false,
        identity: undefined,
        sequence: 0,
      });
  }

  // 2. from lanes to requests: one batch of each ready partition of a broker, as long as the broker has a free slot

  #pumpSoon(): void {
    if (this.#pumpDue) return;
    this.#pumpDue = true;
    setImmediate(() => {
      this.#pumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    const byNode = new Map<number, Lane[]>();
    for (const lane of this.#ready) {
      const node = this.#cluster.leader(lane.topic, lane.partition);
      if (node === undefined) {
        this.#ready.delete(lane);
        void this.#rest(lane, 0);
        continue;
      }
      if ((this.#inFlight.get(node) ?? 0) >= REQUESTS_IN_FLIGHT) continue;
      const lanes = byNode.get(node);
      if (lanes) lanes.push(lane);
      else byNode.set(node, [lane]);
    }
    for (const [node, lanes] of byNode) void this.#request(node, lanes);
  }

  async #request(node: number, sent: readonly Lane[]): Promise<void> {
    this.#inFlight.set(node, (this.#inFlight.get(node) ?? 0) + 1);
    // all of them at once: what follows awaits, and another request must not take them meanwhile
    for (const lane of sent) {
      lane.sending = true;
      this.#ready.delete(lane);
    }
    try {
      const identity = this.#knownIdentity ?? (await this.#currentIdentity());
      let bytes = 0;
      for (const lane of sent) {
        if (bytes >= REQUEST_BYTES) break;
        lane.identity ??= identity;
        const batch = (lane.batch ??= this.#cut(lane, lane.identity));
        if (batch) bytes += BATCH_OVERHEAD + batch.pending.reduce((sum, { ready }) => sum + ready.maxBytes, 0);
      }
      const batches = sent.flatMap((lane) => (lane.batch ? [toSend(lane, lane.batch)] : []));
      if (batches.length > 0) {
        const broker = await this.#cluster.node(node);
        let answers: readonly ProduceAnswer[];
        try {
          answers = await broker.connectionPool.send(produceMessage(null, batches, this.#cluster.config.requestTimeoutMs ?? 10_000));
        } catch (thrown) {
          for (const lane of sent) if (lane.batch) lane.batch.uncertain = true;
          if (isConnectionError(thrown)) this.#cluster.drop(broker);
          throw thrown;
        }
        this.#settle(sent, answers);
      }
    } catch (thrown) {
      for (const lane of sent) this.#failed(lane, thrown);
    } finally {
      this.#inFlight.set(node, this.#inFlight.get(node)! - 1);
      for (const lane of sent) {
        lane.sending = false;
        if (!lane.resting && (lane.batch || lane.queue.length > 0)) this.#ready.add(lane);
      }
      if (this.#ready.size > 0) this.#pump();
    }
  }

  #cut(lane: Lane, identity: ProducerIdentity): Batch | undefined {
    let bytes = 0;
    let count = 0;
    for (const { ready } of lane.queue) {
      if (count > 0 && bytes + ready.maxBytes > BATCH_BYTES) break;
      bytes += ready.maxBytes;
      count++;
    }
    if (count === 0) return undefined;
    const pending = count === lane.queue.length ? lane.queue : lane.queue.slice(0, count);
    lane.queue = count === lane.queue.length ? [] : lane.queue.slice(count);
    return { pending, identity, sequence: lane.sequence, attempts: 0, uncertain: false, expired: false };
  }

  // 3. from answers to callers

  #settle(sent: readonly Lane[], answers: readonly ProduceAnswer[]): void {
    for (const lane of sent) {
      const batch = lane.batch;
      if (!batch) continue;
      const answer = answers.find(({ topic, partition }) => topic === lane.topic && partition === lane.partition);
      if (answer?.code === Code.NONE) this.#written(lane, batch, answer.baseOffset);
      else if (answer) this.#refused(lane, batch, answer.code);
      else this.#failed(lane, new Error('the broker left the partition out of its answer'));
    }
  }

  #written(lane: Lane, batch: Batch, baseOffset: bigint): void {
    lane.batch = undefined;
    lane.sequence = (batch.sequence + batch.pending.length) % 0x80000000;
    if (batch.expired) return;
    const { topic, partition } = lane;
    for (let i = 0; i < batch.pending.length; i++) batch.pending[i]!.resolve({ topic, partition, offset: offset(baseOffset + BigInt(i)) });
  }

  #refused(lane: Lane, batch: Batch, code: number): void {
    if (code === Code.MESSAGE_TOO_LARGE || code === Code.RECORD_LIST_TOO_LARGE) {
      lane.batch = undefined; // nothing was written, so the sequence number is still free
      if (batch.pending.length === 1) this.#reject(batch, kafkaError(codeError(code), `send to ${lane.topic}`));
      else lane.batch = this.#halve(lane, batch);
      return;
    }
    const outOfStep =
      code === Code.OUT_OF_ORDER_SEQUENCE || code === Code.UNKNOWN_PRODUCER_ID || code === Code.DUPLICATE_SEQUENCE || isFencedCode(code);
    if (outOfStep || code === Code.INVALID_PRODUCER_ID_MAPPING) {
      // the broker has forgotten this producer id or no longer takes it: go on under a new one, unless that could write twice
      if (batch.uncertain) this.#reject(batch, unknownOutcome(lane));
      else lane.queue = [...batch.pending, ...lane.queue];
      this.#startAnew(lane);
      return;
    }
    this.#failed(lane, codeError(code));
  }

  #failed(lane: Lane, thrown: unknown): void {
    const batch = lane.batch;
    if (batch?.expired) return this.#startAnew(lane);
    if (isTransient(thrown) && !this.#cluster.signal.aborted) {
      void this.#rest(lane, batch ? batch.attempts++ : 0, isUnknownTopic(thrown));
      return;
    }
    const error = kafkaError(thrown, `send to ${lane.topic}-${lane.partition}`);
    if (batch) {
      this.#reject(batch, error);
      if (batch.uncertain) this.#startAnew(lane);
      lane.batch = undefined;
    } else for (const pending of lane.queue.splice(0)) pending.reject(error);
  }

  /** Waits, asks for the leaders anew, and makes the lane ready again. */
  async #rest(lane: Lane, attempt: number, unknownTopic = false): Promise<void> {
    lane.resting = true;
    await sleep(backoffMs(attempt));
    try {
      await this.#cluster.refresh([lane.topic]);
    } catch (thrown) {
      if (!isTransient(thrown)) this.#failQueue(lane, kafkaError(thrown, `send to ${lane.topic}`));
    }
    const metadata = this.#cluster.known(lane.topic);
    const gone = metadata?.error === Code.UNKNOWN_TOPIC_OR_PARTITION;
    if (gone && unknownTopic && attempt > 5) {
      this.#failQueue(lane, new SpoolError('UNKNOWN_TOPIC', `send to ${lane.topic}: the topic no longer exists`));
      this.#topics.delete(lane.topic);
    }
    lane.resting = false;
    if (lane.batch || lane.queue.length > 0) {
      if (gone) return void this.#rest(lane, attempt + 1, true);
      this.#ready.add(lane);
      this.#pumpSoon();
    }
  }

  #failQueue(lane: Lane, error: SpoolError): void {
    if (lane.batch) this.#reject(lane.batch, error);
    this.#startAnew(lane);
    for (const pending of lane.queue.splice(0)) pending.reject(error);
  }

  #halve(lane: Lane, batch: Batch): Batch {
    const half = batch.pending.length >> 1;
    lane.queue = [...batch.pending.slice(half), ...lane.queue];
    return { ...batch, pending: batch.pending.slice(0, half) };
  }

  #reject(batch: Batch, error: SpoolError): void {
    if (batch.expired) return;
    batch.expired = true;
    for (const pending of batch.pending) pending.reject(error);
  }

  /** Sequence numbers start again under a fresh producer id, so that nothing new can be taken for a repetition of what was lost. */
  #startAnew(lane: Lane): void {
    lane.batch = undefined;
    lane.identity = undefined;
    lane.sequence = 0;
    this.#identity = undefined;
    this.#knownIdentity = undefined;
  }

  #expire(): void {
    const now = performance.now();
    const late = new SpoolError('KAFKA_UNAVAILABLE', `not acknowledged within ${this.#deliveryTimeoutMs} ms`);
    for (const topic of this.#topics.values()) {
      topic.unrouted = topic.unrouted.filter(({ pending }) => keep(pending));
      for (const lane of topic.lanes) {
        if (lane.queue.length > 0 && lane.queue[0]!.deadline <= now) lane.queue = lane.queue.filter(keep);
        const batch = lane.batch;
        if (!batch || batch.expired || batch.pending[0]!.deadline > now) continue;
        this.#reject(batch, lane.sending || batch.uncertain ? unknownOutcome(lane) : late);
        if (!lane.sending) this.#startAnew(lane);
      }
    }
    function keep(pending: Pending): boolean {
      if (pending.deadline > now) return true;
      pending.reject(late);
      return false;
    }
  }

  #knownIdentity: ProducerIdentity | undefined;
  #currentIdentity(): Promise<ProducerIdentity> {
    return (this.#identity ??= this.#newIdentity().then(
      (identity) => (this.#knownIdentity = identity),
      (thrown: unknown) => {
        this.#identity = undefined;
        throw thrown;
      },
    ));
  }

  async #newIdentity(): Promise<ProducerIdentity> {
    const broker = await this.#cluster.anyNode();
    return broker.connectionPool.send(initProducerIdMessage(null, 0));
  }
}

const toSend = (lane: Lane, batch: Batch) => ({
  topic: lane.topic,
  partition: lane.partition,
  records: batch.pending.map(({ ready }) => ready),
  identity: batch.identity,
  sequence: batch.sequence,
});

const codeError = (code: number): Error => Object.assign(new Error(describeCode(code)), { code });
const isUnknownTopic = (thrown: unknown): boolean =>
  thrown instanceof Error && 'code' in thrown && thrown.code === Code.UNKNOWN_TOPIC_OR_PARTITION;
const unknownOutcome = (lane: Lane): SpoolError =>
  new SpoolError('KAFKA_UNAVAILABLE', `${lane.topic}-${lane.partition}: no acknowledgement came; the records may have been written`);
