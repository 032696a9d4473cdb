/**
 * The Kafka port: all that Spool asks of Kafka. Two adapters stand behind it, `kafkajs/` (the only importer of
 * kafkajs) and `memory/` (unit tests); `conformance.ts` is the suite that both pass.
 */

declare const offsetBrand: unique symbol;
/** A Kafka offset: the place of one record in one partition. Offsets have gaps (transaction markers, compaction). */
export type Offset = bigint & { readonly [offsetBrand]: true };
export const offset = (value: bigint | number | string): Offset => BigInt(value) as Offset;

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}
export interface RecordPosition extends TopicPartition {
  readonly offset: Offset;
}

export interface ProducerRecord {
  readonly topic: string;
  /** `null` has no key: the partition is then chosen round robin. */
  readonly key: string | Buffer | null;
  /** `null` is a tombstone. */
  readonly value: Buffer | null;
  readonly headers?: Readonly<Record<string, string | Buffer>>;
  /** @default the murmur2 hash of the key, as Kafka's Java client computes it. */
  readonly partition?: number;
  /** Milliseconds since the epoch. @default the clock of the producer. */
  readonly timestamp?: number;
}

/** Its buffers are views of the whole answer that it came in: copy what is to be kept for long. */
export interface ConsumedRecord extends RecordPosition {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** A header that occurs more than once keeps its last value. */
  readonly headers: Readonly<Record<string, Buffer>>;
  /** Milliseconds since the epoch; the producer's clock unless the topic says LogAppendTime. */
  readonly timestamp: number;
}

export interface Producer extends AsyncDisposable {
  /**
   * Resolves when all in-sync replicas hold the record. Sends are grouped without a timer: what arrives while a request is
   * in flight goes with the next one. Order per partition is kept. Idempotent.
   * @throws SpoolError OVERLOADED when more than `maxBufferedBytes` wait; RECORD_TOO_LARGE; UNKNOWN_TOPIC; KAFKA_UNAVAILABLE.
   */
  send(record: ProducerRecord): Promise<RecordPosition>;
  /** As `send` for many, in order; resolves when all are held. Not atomic. */
  sendAll(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]>;
  /** Waits for what was sent, then disconnects. */
  close(): Promise<void>;
}

export interface ProducerOptions {
  /** Records that wait beyond this are refused at once with OVERLOADED. @default 32 MiB */
  readonly maxBufferedBytes?: number;
  /** How long a record may wait for its acknowledgement, in milliseconds. @default 30000 */
  readonly deliveryTimeoutMs?: number;
}

export interface TransactionalProducer extends AsyncDisposable {
  readonly transactionalId: string;
  /**
   * Writes all records in one transaction: all of them become visible to read-committed readers, or none.
   * One at a time; a second call while one is under way is a programming error and throws.
   * @throws SpoolError PRODUCER_FENCED (another producer has taken the id: never retry) or TRANSACTION_INDETERMINATE (the
   *   outcome is unknown: open a new producer and read back). After either this object refuses all further calls.
   *   Any other code means that the transaction was aborted and the producer can be used again.
   */
  commit(records: readonly ProducerRecord[]): Promise<readonly RecordPosition[]>;
  close(): Promise<void>;
}

export interface TransactionalProducerOptions {
  readonly transactionalId: string;
  /** The broker aborts a transaction left open for longer; readers of its partitions wait that long. @default 15000 */
  readonly timeoutMs?: number;
}

/** Where reading starts. */
export type StartPosition = Offset | 'earliest' | 'latest' | { readonly timestamp: number };

/** What one fetch gave for one partition. */
export interface Slice extends TopicPartition {
  /** The offset that was asked for; a slice that does not continue the one before it is stale (the partition was assigned anew). */
  readonly fromOffset: Offset;
  /** Without aborted records and control records; may be empty though `nextOffset` moved on. */
  readonly records: readonly ConsumedRecord[];
  /** Where the next fetch starts, beyond markers and holes. Caught up means `nextOffset >= lastStableOffset`. */
  readonly nextOffset: Offset;
  readonly highWatermark: Offset;
  /** Equal to `highWatermark` for a read-uncommitted reader. */
  readonly lastStableOffset: Offset;
}

export interface Reader extends AsyncDisposable {
  /** Adds a partition or moves it; what an earlier fetch of it still brings is discarded. */
  assign(partition: TopicPartition, start: StartPosition): void;
  unassign(partition: TopicPartition): void;
  /** Keeps the place and stops fetching. */
  pause(partition: TopicPartition): void;
  resume(partition: TopicPartition): void;
  /**
   * Fetches once: resolves as soon as there is something (records, or a position or watermark that moved) or after `maxWaitMs`. It
   * gives a slice for each partition that answered, and an empty list when all are paused (after `maxWaitMs`). Retries what is
   * transient; a position out of range goes to the nearest end of the log that is still there, earliest if below: an empty slice leads from
   * the position that was asked for to the one it moved to, and `onOutOfRange` is told.
   * One call at a time. @throws SpoolError KAFKA_UNAVAILABLE after `unavailableAfterMs`; it may be called again.
   */
  fetch(): Promise<readonly Slice[]>;
  /** Ends at once; a pending fetch resolves with an empty list. */
  close(): Promise<void>;
}

export interface ReaderOptions {
  /** @default 'read_committed' */
  readonly isolation?: 'read_committed' | 'read_uncommitted';
  /** How long a fetch may wait for data. It delays a new assignment by as much. @default 250 */
  readonly maxWaitMs?: number;
  /** @default 1 MiB */
  readonly maxBytesPerPartition?: number;
  /** @default 60000 */
  readonly unavailableAfterMs?: number;
  readonly onOutOfRange?: (at: RecordPosition, movedTo: Offset) => void;
}

export interface Assignment {
  readonly generation: number;
  readonly memberId: string;
  readonly partitions: readonly TopicPartition[];
  /** Others own these; a copy of their state is to be kept warm here. */
  readonly standbys: readonly TopicPartition[];
}

/** A member of a consumer group; it gets partitions and reads nothing. Heartbeats run apart from the work. */
export interface Membership extends AsyncDisposable {
  /** The assignment in force; undefined while (re)joining. */
  readonly assignment: Assignment | undefined;
  /**
   * Commits as a member of the current generation. Advisory for most processors; the sink keeps its range in `metadata`.
   * @throws SpoolError PRODUCER_FENCED when the generation has passed.
   */
  commitOffsets(offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void>;
  /** Leaves the group (after `onRebalance`), so that the others need not wait for the session to end. */
  close(): Promise<void>;
}

export interface MembershipOptions {
  readonly groupId: string;
  readonly topics: readonly string[];
  /** @default 10000 */
  readonly sessionTimeoutMs?: number;
  /** How many other members keep a warm copy of each partition's state. @default 0 */
  readonly standbys?: number;
  /** Partitions whose state is on this machine already: they come here rather than elsewhere. @default none */
  readonly warm?: () => readonly TopicPartition[];
  /** How long a member may take to come back with `onRebalance` done. @default 30000 */
  readonly rebalanceTimeoutMs?: number;
  /** A rebalance begins: finish and commit what is under way, stop writing. Heartbeats go on meanwhile. */
  readonly onRebalance: () => Promise<void>;
  /**
   * Called with each new assignment, also when it is unchanged. `signal` aborts when the assignment ends; `onRebalance` waits for this call to
   * return, and the group for `onRebalance`. Errors thrown here make the member leave and join again with back-off.
   */
  readonly onAssigned: (assignment: Assignment, signal: AbortSignal) => Promise<void>;
  /** The session ended without notice: others own the partitions already. Stop writing at once. */
  readonly onLost: () => void;
}

export type CleanupPolicy = 'delete' | 'compact';
/** The settings of a topic that Spool owns. */
export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  readonly cleanup: CleanupPolicy;
  /** Milliseconds; -1 keeps for ever. Ignored for `compact`. */
  readonly retentionMs: number;
  /** Losing a record of it loses history: `ensureTopics` refuses to run on it when its real settings could lose any. */
  readonly sourceOfTruth?: boolean;
  /** Other topic settings, such as `min.compaction.lag.ms`. */
  readonly config?: Readonly<Record<string, string>>;
}
export interface TopicDescription {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly config: Readonly<Record<string, string>>;
}
export interface PartitionOffsets extends TopicPartition {
  readonly earliest: Offset;
  /** The last stable offset, as a read-committed reader sees the end. */
  readonly latest: Offset;
}
export interface CommittedOffset extends RecordPosition {
  readonly metadata: string;
}

export interface Admin {
  /**
   * Creates what is missing and checks what is there. Safe to call from many processes at once.
   * @throws SpoolError UNSAFE_TOPIC, PARTITIONS_CHANGED, each listing every problem found.
   */
  ensureTopics(specs: readonly TopicSpec[]): Promise<void>;
  listTopics(): Promise<readonly string[]>;
  /** @throws SpoolError UNKNOWN_TOPIC */
  describeTopics(names: readonly string[]): Promise<readonly TopicDescription[]>;
  /** Changes the named settings and leaves the others as they are. */
  alterTopic(name: string, config: Readonly<Record<string, string>>): Promise<void>;
  deleteTopics(names: readonly string[]): Promise<void>;
  /** Earliest and last stable offset of every partition. */
  offsets(topic: string): Promise<readonly PartitionOffsets[]>;
  /** For each partition the first offset at or after `timestamp` (ms), or the end. Timestamps are producers' clocks: approximate. */
  offsetsAt(topic: string, timestamp: number): Promise<readonly RecordPosition[]>;
  committedOffsets(groupId: string, topics: readonly string[]): Promise<readonly CommittedOffset[]>;
  /** Works on a group without members only. */
  commitOffsets(groupId: string, offsets: readonly (RecordPosition & { readonly metadata?: string })[]): Promise<void>;
  listGroups(): Promise<readonly string[]>;
}

export interface Kafka extends AsyncDisposable {
  readonly admin: Admin;
  producer(options?: ProducerOptions): Promise<Producer>;
  /** Takes the transactional id and so fences whoever held it, before it resolves. */
  transactionalProducer(options: TransactionalProducerOptions): Promise<TransactionalProducer>;
  reader(options?: ReaderOptions): Promise<Reader>;
  membership(options: MembershipOptions): Promise<Membership>;
  /** Closes everything that was opened through this object. */
  close(): Promise<void>;
}
