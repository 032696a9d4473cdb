import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import type { Producer, ProducerOptions, ProducerRecord, RecordPosition } from '../port.js';
import { backoffMs } from '../backoff.js';
import { partitionOf } from '../partitioner.js';
import { BrokerError, Code, isConnectionError, isTransient, isTransientCode, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { groupBy } from './group-by.js';
import { Lane, type Pending } from './lane.js';
import { initProducerIdMessage, type ProducerIdentity } from './messages.js';
import { produceMessage } from './produce.js';
import { readyRecord, type BatchToSend } from './record-batch.js';

/** Requests that one broker may have in flight. More do not go faster; the second lets others pass a partition that waits for its replicas. */
const REQUESTS_IN_FLIGHT = 2;
const REQUEST_BYTES = 8 * 1024 * 1024;
/** What one broker knows of a new topic, the others know within this time. */
const UNKNOWN_TOPIC_GRACE_MS = 500;
const SWEEP_MS = 250;
/** Topics of others may get more partitions; ours do not. */
const METADATA_AGE_MS = 300_000;

interface Topic {
  readonly name: string;
  /** By partition; empty until they are known. */
  readonly lanes: Lane[];
  /** Records that came before the partitions were known, in order. */
  unrouted: { readonly record: ProducerRecord; readonly pending: Pending }[];
  lookingUp: boolean;
  lookedUpAt: number;
  nextRoundRobin: number;
  /** Since when the cluster says that there is no such topic. */
  missingSince: number | undefined;
}

export class IdempotentProducer implements Producer {
  readonly #cluster: Cluster;
  readonly #maxBufferedBytes: number;
  readonly #deliveryTimeoutMs: number;
  readonly #topics = new Map<string, Topic>();
  readonly #ready = new Set<Lane>();
  readonly #inFlight = new Map<number, number>();
  /** For lanes that have no producer id yet. */
  #identity: ProducerIdentity | undefined;
  #identityComing: Promise<ProducerIdentity> | undefined;
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
  async open(): Promise<void> {
    await this.#cluster.persist('connect a producer', () => this.#currentIdentity());
  }

  send(record: ProducerRecord): Promise<RecordPosition> {
    return new Promise((resolve, reject) => {
      this.#enqueue(record, resolve, reject);
    });
  }

  sendAll(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> {
    return new Promise((resolve, reject) => {
      const positions = new Array<RecordPosition>(records.length);
      let missing = records.length;
      if (missing === 0) resolve(positions);
      records.every((record, i) =>
        this.#enqueue(
          record,
          (position) => {
            positions[i] = position;
            if (--missing === 0) resolve(positions);
          },
          reject,
        ),
      );
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#buffered > 0) await new Promise<void>((resolve) => (this.#drained = resolve)); // each record ends by its deadline
    await this.#cluster.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // 1. into the buffer, or not

  #enqueue(record: ProducerRecord, resolve: Pending['resolve'], reject: Pending['reject']): boolean {
    const ready = readyRecord(record, Date.now());
    const refusal = this.#refusal(record.topic, ready.maxBytes);
    if (refusal) {
      reject(refusal);
      return false;
    }
    this.#bufferedBytes += ready.maxBytes;
    this.#buffered++;
    this.#sweep ??= setInterval(() => {
      this.#expire();
    }, SWEEP_MS);
    const now = performance.now();
    this.#route(now, record, {
      ready,
      deadline: now + this.#deliveryTimeoutMs,
      resolve: (position) => {
        this.#settled(ready.maxBytes);
        resolve(position);
      },
      reject: (error) => {
        this.#settled(ready.maxBytes);
        reject(error);
      },
    });
    return true;
  }

  #refusal(topic: string, bytes: number): SpoolError | undefined {
    if (this.#closed) return new SpoolError('KAFKA_UNAVAILABLE', 'this producer is closed');
    if (bytes > this.#maxBufferedBytes)
      return new SpoolError('RECORD_TOO_LARGE', `record for ${topic}: ${bytes} bytes, the buffer holds ${this.#maxBufferedBytes}`);
    if (this.#bufferedBytes + bytes > this.#maxBufferedBytes)
      return new SpoolError('OVERLOADED', `${this.#bufferedBytes} bytes wait for acknowledgement`, { retryAfterMs: 100 });
    return undefined;
  }

  #settled(bytes: number): void {
    this.#bufferedBytes -= bytes;
    if (--this.#buffered > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#drained?.();
  }

  #expire(): void {
    const now = performance.now();
    const late = new SpoolError('KAFKA_UNAVAILABLE', `not acknowledged within ${this.#deliveryTimeoutMs} ms`);
    for (const topic of this.#topics.values()) {
      topic.unrouted = topic.unrouted.filter(({ pending }) => {
        if (pending.deadline <= now) pending.reject(late);
        return pending.deadline > now;
      });
      for (const lane of topic.lanes) lane.expire(now, late);
    }
  }

  // 2. from topic and key to a partition

  #route(now: number, record: ProducerRecord, pending: Pending): void {
    let topic = this.#topics.get(record.topic);
    if (!topic) {
      const unknown = { lanes: [], unrouted: [], lookingUp: false, lookedUpAt: now, nextRoundRobin: 0, missingSince: undefined };
      this.#topics.set(record.topic, (topic = { name: record.topic, ...unknown }));
    }
    if (topic.lanes.length === 0) topic.unrouted.push({ record, pending });
    else this.#put(topic, record, pending);
    if (!topic.lookingUp && (topic.lanes.length === 0 || now - topic.lookedUpAt > METADATA_AGE_MS)) void this.#lookUp(topic);
  }

  #put(topic: Topic, record: ProducerRecord, pending: Pending): void {
    const count = topic.lanes.length;
    const { key } = pending.ready;
    const lane = topic.lanes[record.partition ?? (key === null ? topic.nextRoundRobin++ % count : partitionOf(key, count))];
    if (!lane) {
      pending.reject(new SpoolError('UNKNOWN_TOPIC', `${topic.name} has ${count} partitions and no partition ${record.partition ?? ''}`));
      return;
    }
    lane.put(pending);
    if (lane.state === 'idle') this.#makeReady(lane);
  }

  async #lookUp(topic: Topic): Promise<void> {
    const { name } = topic;
    topic.lookingUp = true;
    topic.lookedUpAt = performance.now();
    let failure: SpoolError | undefined;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#cluster.refresh([name]);
        const { error, leaders } = await this.#cluster.topic(name);
        for (let partition = topic.lanes.length; partition < leaders.length; partition++) topic.lanes.push(new Lane(name, partition));
        if (topic.lanes.length > 0 || (topic.unrouted.length === 0 && attempt > 0)) break;
        failure = kafkaError(new BrokerError(error, name), `send to ${name}`);
        if (!isTransientCode(error) || performance.now() - topic.lookedUpAt > UNKNOWN_TOPIC_GRACE_MS) break;
      } catch (thrown) {
        failure = kafkaError(thrown, `send to ${name}`);
        if (!isTransient(thrown) || topic.unrouted.length === 0) break;
      }
      await sleep(backoffMs(attempt));
    }
    topic.lookingUp = false;
    for (const { record, pending } of topic.unrouted.splice(0)) {
      if (topic.lanes.length > 0) this.#put(topic, record, pending);
      else pending.reject(failure ?? new SpoolError('UNKNOWN_TOPIC', `no topic ${name}`));
    }
    if (topic.lanes.length === 0) this.#topics.delete(name);
  }

  // 3. from lanes to requests: one batch of each ready partition of a broker, as long as the broker has a free slot

  #makeReady(lane: Lane): void {
    lane.state = 'ready';
    this.#ready.add(lane);
    if (this.#pumpDue) return;
    this.#pumpDue = true;
    // what is sent in the same turn goes together
    setImmediate(() => {
      this.#pumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    for (const [node, lanes] of groupBy(this.#ready, (lane) => this.#cluster.leader(lane.topic, lane.partition))) {
      if (node === undefined) for (const lane of lanes) void this.#rest(lane, new BrokerError(Code.LEADER_NOT_AVAILABLE, lane.topic));
      else if ((this.#inFlight.get(node) ?? 0) < REQUESTS_IN_FLIGHT) void this.#request(node, lanes);
    }
  }

  async #request(node: number, lanes: readonly Lane[]): Promise<void> {
    this.#inFlight.set(node, (this.#inFlight.get(node) ?? 0) + 1);
    for (const lane of lanes) {
      lane.state = 'sending';
      this.#ready.delete(lane);
    }
    const sent = new Map<Lane, BatchToSend>();
    let failure: unknown;
    try {
      const identity = await this.#identityFor(lanes);
      let bytes = 0;
      for (const lane of lanes) {
        const batch = bytes < REQUEST_BYTES ? lane.next(identity) : undefined;
        if (batch) sent.set(lane, batch);
        else this.#release(lane); // it goes with the next request
        bytes += batch?.bytes ?? 0;
      }
      if (sent.size > 0) await this.#exchange(node, sent);
    } catch (thrown) {
      failure = thrown;
    }
    this.#inFlight.set(node, this.#inFlight.get(node)! - 1);
    for (const lane of lanes) {
      if (lane.state !== 'sending') continue;
      lane.forgetExpired();
      if (failure !== undefined && !lane.empty) void this.#rest(lane, failure);
      else this.#release(lane);
    }
    if (this.#ready.size > 0) this.#pump();
  }

  #release(lane: Lane): void {
    if (lane.empty) lane.state = 'idle';
    else this.#makeReady(lane);
  }

  /** The producer id in use; another one once a lane can no longer use it. */
  async #identityFor(lanes: readonly Lane[]): Promise<ProducerIdentity> {
    for (const lane of lanes) {
      if (lane.identityLost) this.#identity = this.#identityComing = undefined;
      lane.identityLost = false;
    }
    return this.#identity ?? (await this.#currentIdentity());
  }

  async #exchange(node: number, sent: ReadonlyMap<Lane, BatchToSend>): Promise<void> {
    const broker = await this.#cluster.node(node);
    try {
      const timeoutMs = this.#cluster.config.requestTimeoutMs ?? 10_000;
      for (const answer of await broker.connectionPool.send(produceMessage(null, [...sent.values()], timeoutMs))) {
        const lane = this.#topics.get(answer.topic)?.lanes[answer.partition];
        const retry = lane && sent.has(lane) ? lane.answered(answer.code, answer.baseOffset) : undefined;
        if (retry) void this.#rest(lane!, retry);
        else if (lane) lane.attempts = 0;
      }
    } catch (thrown) {
      for (const lane of sent.keys()) lane.unanswered();
      if (isConnectionError(thrown)) this.#cluster.drop(broker);
      throw thrown;
    }
  }

  /** Waits, asks for the leaders anew and makes the lane ready again; or gives up when there is no hope. */
  async #rest(lane: Lane, thrown: unknown): Promise<void> {
    this.#ready.delete(lane);
    if (!isTransient(thrown) || this.#cluster.signal.aborted) {
      lane.fail(kafkaError(thrown, `send to ${lane.topic}-${lane.partition}`));
      lane.state = 'idle';
      return;
    }
    lane.state = 'resting';
    await sleep(backoffMs(lane.attempts++));
    await this.#cluster.refresh([lane.topic]).catch(() => undefined);
    this.#failIfTopicIsGone(lane.topic, thrown);
    lane.forgetExpired();
    this.#release(lane);
  }

  #failIfTopicIsGone(name: string, cause: unknown): void {
    const topic = this.#topics.get(name);
    if (!topic) return;
    const missing = this.#cluster.known(name)?.error === Code.UNKNOWN_TOPIC_OR_PARTITION;
    topic.missingSince = missing ? (topic.missingSince ?? performance.now()) : undefined;
    if (topic.missingSince === undefined || performance.now() - topic.missingSince < UNKNOWN_TOPIC_GRACE_MS) return;
    this.#topics.delete(name); // should it be made again, it is looked up again
    for (const lane of topic.lanes) lane.fail(new SpoolError('UNKNOWN_TOPIC', `send to ${name}: the topic no longer exists`, { cause }));
  }

  #currentIdentity(): Promise<ProducerIdentity> {
    return (this.#identityComing ??= this.#cluster
      .anyNode()
      .then((broker) => broker.connectionPool.send(initProducerIdMessage(null, 0)))
      .then(
        (identity) => (this.#identity = identity),
        (thrown: unknown) => {
          this.#identityComing = undefined;
          throw thrown;
        },
      ));
  }
}
