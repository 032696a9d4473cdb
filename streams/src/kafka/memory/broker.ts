import { EventEmitter } from 'node:events';
import { SpoolError } from '@spool/schemas';
import { topicConfig } from '../manifest.js';
import { partitionOf } from '../partitioner.js';
import type { Offset, ProducerRecord, RecordPosition, TopicPartition, TopicSpec } from '../port.js';
import { MemoryGroup } from './group.js';
import { MemoryLog, type MemoryTransaction } from './log.js';

export interface MemoryOptions {
  /** Milliseconds since the epoch, for records that bring no timestamp. @default Date.now */
  readonly clock?: () => number;
}

/** How a commit ends that the writer hears nothing of. `open`: the transaction hangs until the id is taken again. */
export type BrokenCommit = 'committed' | 'aborted' | 'open';

const DEFAULTS: Readonly<Record<string, string>> = {
  'cleanup.policy': 'delete',
  'retention.ms': '604800000',
  'retention.bytes': '-1',
  'min.insync.replicas': '1',
  'max.message.bytes': '1048588',
};

interface MemoryTopic {
  config: Readonly<Record<string, string>>;
  readonly logs: readonly MemoryLog[];
  nextRoundRobin: number;
}

interface TransactionalId {
  epoch: number;
  transaction: MemoryTransaction | undefined;
  partitions: readonly MemoryLog[];
}

/** What the brokers of a cluster keep, in this process. Clients come and go. */
export class MemoryBroker {
  readonly clock: () => number;
  readonly topics = new Map<string, MemoryTopic>();
  readonly #groups = new Map<string, MemoryGroup>();
  readonly #ids = new Map<string, TransactionalId>();
  readonly #broken = new Map<string, BrokenCommit>();
  readonly #changes = new EventEmitter().setMaxListeners(0);

  constructor(options: MemoryOptions = {}) {
    this.clock = options.clock ?? Date.now;
  }

  /** Removes the records before an offset, as retention does. */
  truncate({ topic, partition }: TopicPartition, before: Offset): void {
    this.log(topic, partition).truncate(Number(before));
    this.changed();
  }

  /** Compacts a topic now; holes stay where records were. */
  compact(topic: string): void {
    for (const log of this.topic(topic).logs) log.compact();
    this.changed();
  }

  /** Makes the next commit of a transactional id fail with TRANSACTION_INDETERMINATE, and says how it truly ends. */
  breakCommit(transactionalId: string, ending: BrokenCommit): void {
    this.#broken.set(transactionalId, ending);
  }

  /** @throws SpoolError UNKNOWN_TOPIC */
  topic(name: string): MemoryTopic {
    const topic = this.topics.get(name);
    if (!topic) throw new SpoolError('UNKNOWN_TOPIC', `no topic ${name}`);
    return topic;
  }

  log(topic: string, partition: number): MemoryLog {
    const { logs } = this.topic(topic);
    const log = logs[partition];
    if (!log) throw new SpoolError('UNKNOWN_TOPIC', `${topic} has ${logs.length} partitions and no partition ${partition}`);
    return log;
  }

  createTopic(spec: TopicSpec): void {
    const topic: MemoryTopic = {
      config: { ...DEFAULTS, ...topicConfig(spec) },
      logs: Array.from(
        { length: spec.partitions },
        (_, partition) => new MemoryLog({ topic: spec.name, partition }, () => Number(topic.config['max.message.bytes'])),
      ),
      nextRoundRobin: 0,
    };
    this.topics.set(spec.name, topic);
    this.changed();
  }

  group(groupId: string): MemoryGroup {
    let group = this.#groups.get(groupId);
    if (!group) this.#groups.set(groupId, (group = new MemoryGroup()));
    return group;
  }

  groupIds(): readonly string[] {
    return [...this.#groups].filter(([, group]) => group.inUse).map(([groupId]) => groupId);
  }

  /** Where a record goes. @throws SpoolError UNKNOWN_TOPIC, RECORD_TOO_LARGE */
  place(record: ProducerRecord): number {
    const topic = this.topic(record.topic);
    const count = topic.logs.length;
    const partition = record.partition ?? (record.key === null ? topic.nextRoundRobin++ % count : partitionOf(record.key, count));
    this.log(record.topic, partition).check(record);
    return partition;
  }

  append(record: ProducerRecord, partition: number, transaction?: MemoryTransaction): RecordPosition {
    const at = this.log(record.topic, partition).append(record, Math.trunc(record.timestamp ?? this.clock()), transaction);
    this.changed();
    return { topic: record.topic, partition, offset: at };
  }

  /** Gives the next epoch of a transactional id; an open transaction of the one before is rolled back. */
  takeId(transactionalId: string): number {
    let id = this.#ids.get(transactionalId);
    if (!id) this.#ids.set(transactionalId, (id = { epoch: -1, transaction: undefined, partitions: [] }));
    this.#settle(id, 'aborted');
    return ++id.epoch;
  }

  /** @throws SpoolError PRODUCER_FENCED when the id has been taken since. */
  checkEpoch(transactionalId: string, epoch: number): void {
    if (this.#ids.get(transactionalId)?.epoch !== epoch)
      throw new SpoolError('PRODUCER_FENCED', `transaction ${transactionalId}: epoch ${epoch} has passed`);
  }

  /** @throws SpoolError PRODUCER_FENCED, TRANSACTION_INDETERMINATE, or why nothing was written. */
  commit(transactionalId: string, epoch: number, records: readonly ProducerRecord[]): readonly RecordPosition[] {
    this.checkEpoch(transactionalId, epoch);
    const partitions = records.map((record) => this.place(record));
    const id = this.#ids.get(transactionalId)!;
    id.transaction = { state: 'open' };
    id.partitions = [...new Set(records.map((record, i) => this.log(record.topic, partitions[i]!)))];
    const transaction = id.transaction;
    const positions = records.map((record, i) => this.append(record, partitions[i]!, transaction));
    const broken = this.#broken.get(transactionalId);
    this.#broken.delete(transactionalId);
    if (broken !== 'open') this.#settle(id, broken ?? 'committed');
    if (broken) throw new SpoolError('TRANSACTION_INDETERMINATE', `transaction ${transactionalId}: no answer to the commit`);
    return positions;
  }

  #settle(id: TransactionalId, state: 'committed' | 'aborted'): void {
    if (!id.transaction) return;
    id.transaction.state = state;
    id.transaction = undefined;
    for (const log of id.partitions) log.mark();
    this.changed();
  }

  changed(): void {
    this.#changes.emit('change');
  }

  /** Calls back once, at the next change of any log; gives how to stop listening. */
  onceChanged(listener: () => void): () => void {
    this.#changes.once('change', listener);
    return () => this.#changes.off('change', listener);
  }
}
