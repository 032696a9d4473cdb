import { SpoolError } from '@spool/schemas';
import { offset, type RecordPosition } from '../port.js';
import { Code, describeCode, isFencedCode, isTransientCode, kafkaError } from './broker-errors.js';
import type { ProducerIdentity } from './messages.js';
import type { BatchToSend, ReadyRecord } from './record-batch.js';

/** A batch must fit the topic's max.message.bytes, 1,048,588 unless changed; a record that is larger than this goes alone. */
export const BATCH_BYTES = 1_000_000;

/** A record on its way, and whom to tell. */
export interface Pending {
  readonly ready: ReadyRecord;
  /** By `performance.now()`; falls due in the order of sending. */
  readonly deadline: number;
  resolve(position: RecordPosition): void;
  reject(error: SpoolError): void;
}

/** Sent again it is the same bytes, so that the broker can tell that it has it already. */
interface Batch {
  readonly pending: readonly Pending[];
  readonly bytes: number;
  readonly identity: ProducerIdentity;
  readonly sequence: number;
  /** An attempt ended without an answer: it may have been written. */
  uncertain: boolean;
  /** Its callers have been told that it failed. */
  expired: boolean;
}

const codeError = (code: number): Error => Object.assign(new Error(describeCode(code)), { code });

/** What is on its way to one partition: one batch at a time, so that order and sequence numbers hold through every retry. */
export class Lane {
  readonly topic: string;
  readonly partition: number;
  /** `ready` has something to send, `resting` waits for a back-off. */
  state: 'idle' | 'ready' | 'sending' | 'resting' = 'idle';
  /** The producer id that was in use must not be used here again. Whoever calls `next` takes note and resets this. */
  identityLost = false;
  /** Failures since the last answer. */
  attempts = 0;
  #queue: Pending[] = [];
  #head = 0;
  #batch: Batch | undefined;
  #identity: ProducerIdentity | undefined;
  #sequence = 0;

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  get empty(): boolean {
    return this.#batch === undefined && this.#head === this.#queue.length;
  }

  put(pending: Pending): void {
    this.#queue.push(pending);
  }

  /** The batch to send, the last one again if it failed; `fresh` is the producer id for a lane that has none. Undefined when nothing is left. */
  next(fresh: ProducerIdentity): (BatchToSend & { readonly bytes: number }) | undefined {
    this.#batch ??= this.#cut((this.#identity ??= fresh));
    if (!this.#batch) return undefined;
    const { pending, bytes, identity, sequence } = this.#batch;
    return { topic: this.topic, partition: this.partition, records: pending.map(({ ready }) => ready), bytes, identity, sequence };
  }

  /** The request went out and no answer came. */
  unanswered(): void {
    if (this.#batch) this.#batch.uncertain = true;
  }

  /** The broker's answer. Gives what was thrown, so to speak, when the batch should be sent again. */
  answered(code: number, baseOffset: bigint): Error | undefined {
    const batch = this.#batch;
    if (!batch) return undefined;
    if (code === Code.NONE) this.#written(batch, baseOffset);
    else if (code === Code.MESSAGE_TOO_LARGE || code === Code.RECORD_LIST_TOO_LARGE) this.#tooLarge(batch, code);
    else if (isOutOfStep(code)) this.#outOfStep(batch);
    else if (isTransientCode(code)) return codeError(code);
    else this.fail(kafkaError(codeError(code), `send to ${this.topic}-${this.partition}`));
    return undefined;
  }

  /** Rejects all that waits here. */
  fail(error: SpoolError): void {
    if (this.#batch) this.#reject(this.#batch, this.#batch.uncertain ? this.#unknownOutcome() : error);
    this.#startAnew();
    for (const pending of this.#queue.splice(this.#head)) pending.reject(error);
  }

  /** Rejects what is past its deadline. */
  expire(now: number, error: SpoolError): void {
    for (; this.#head < this.#queue.length && this.#queue[this.#head]!.deadline <= now; this.#head++)
      this.#queue[this.#head]!.reject(error);
    const batch = this.#batch;
    if (!batch || batch.expired || batch.pending[0]!.deadline > now) return;
    const sending = this.state === 'sending';
    this.#reject(batch, sending || batch.uncertain ? this.#unknownOutcome() : error);
    if (!sending) this.#startAnew();
  }

  /** Lets go of a batch whose callers gave up on it, once its request has ended. */
  forgetExpired(): void {
    if (this.#batch?.expired) this.#startAnew();
  }

  #cut(identity: ProducerIdentity): Batch | undefined {
    let bytes = 0;
    let end = this.#head;
    for (; end < this.#queue.length; end++) {
      const { maxBytes } = this.#queue[end]!.ready;
      if (end > this.#head && bytes + maxBytes > BATCH_BYTES) break;
      bytes += maxBytes;
    }
    if (end === this.#head) return undefined;
    const pending = this.#queue.slice(this.#head, end);
    this.#head = end;
    if (end === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    return { pending, bytes, identity, sequence: this.#sequence, uncertain: false, expired: false };
  }

  #written(batch: Batch, baseOffset: bigint): void {
    this.#batch = undefined;
    this.#sequence = (batch.sequence + batch.pending.length) % 0x80000000;
    if (batch.expired) return;
    const { topic, partition } = this;
    for (let i = 0; i < batch.pending.length; i++) batch.pending[i]!.resolve({ topic, partition, offset: offset(baseOffset + BigInt(i)) });
  }

  /** Nothing was written, so the sequence number is still free: halves, until the record is alone that does not fit. */
  #tooLarge(batch: Batch, code: number): void {
    this.#batch = undefined;
    if (batch.pending.length === 1 || batch.expired) return this.#reject(batch, kafkaError(codeError(code), `send to ${this.topic}`));
    const half = batch.pending.length >> 1;
    this.#requeue(batch.pending.slice(half));
    this.#batch = { ...batch, pending: batch.pending.slice(0, half), bytes: batch.bytes / 2 };
  }

  /** The broker has forgotten this producer id, or no longer takes it: goes on under a new one, unless that could write twice. */
  #outOfStep(batch: Batch): void {
    if (batch.uncertain) this.#reject(batch, this.#unknownOutcome());
    else if (!batch.expired) this.#requeue(batch.pending);
    this.#startAnew();
  }

  #requeue(pending: readonly Pending[]): void {
    this.#queue = [...pending, ...this.#queue.slice(this.#head)];
    this.#head = 0;
  }

  #reject(batch: Batch, error: SpoolError): void {
    if (batch.expired) return;
    batch.expired = true;
    for (const pending of batch.pending) pending.reject(error);
  }

  /** Sequence numbers start again under a fresh producer id, so that nothing new can be taken for a repetition of what was lost. */
  #startAnew(): void {
    this.#batch = undefined;
    this.#identity = undefined;
    this.#sequence = 0;
    this.identityLost = true;
  }

  #unknownOutcome(): SpoolError {
    return new SpoolError(
      'KAFKA_UNAVAILABLE',
      `${this.topic}-${this.partition}: no acknowledgement came; the records may have been written`,
    );
  }
}

const isOutOfStep = (code: number): boolean =>
  code === Code.OUT_OF_ORDER_SEQUENCE ||
  code === Code.DUPLICATE_SEQUENCE ||
  code === Code.UNKNOWN_PRODUCER_ID ||
  code === Code.INVALID_PRODUCER_ID_MAPPING ||
  isFencedCode(code);
