import { readMeta, SpoolError } from '@spool/schemas';
import { localWork, type ConsumedRecord, type Instance, type Offset, type RunningProcessor, type Store, type Table } from '@spool/streams';
import { rowKey, streamsTable, type IndexRow } from './index-rows.js';

/** The index of one aggregate type. */
export interface AggregateIndex {
  readonly topic: string;
  readonly store: Store;
  readonly processor: RunningProcessor;
  readonly positions: ReadonlyMap<string, Offset>;
  /** Called after each commit. */
  onCommitted(listener: () => void): () => void;
}

/** Keeps aggregate -> versions -> event from the log; every gateway holds it whole. */
export async function startIndexer(instance: Instance, aggregateType: string): Promise<AggregateIndex> {
  const consumer = `spool.event-store.${aggregateType}`;
  const topic = instance.topics.events(aggregateType).name;
  await instance.kafka.admin.ensureTopics([instance.topics.deadLetters(consumer)]);
  const listeners = new Set<() => void>();
  let store: Store | undefined;
  const processor = await instance.run({
    consumer,
    sources: [topic],
    assignment: 'all',
    startAt: 'earliest',
    open(task) {
      const opened = instance.openStore(consumer, task.id);
      store = opened;
      return Promise.resolve(
        localWork({
          consumer,
          store: opened,
          deadLetters: instance.producer,
          deadLetterTopic: instance.topics.deadLetters(consumer).name,
          owner: instance.id,
          kafka: instance.kafka,
          now: instance.now,
          handle: (record, { table }) => index(record, table<IndexRow>(streamsTable)),
          onCommitted: () => listeners.forEach((listener) => listener()),
        }),
      );
    },
  });
  return {
    topic,
    processor,
    get store() {
      return store!;
    },
    get positions() {
      return store!.checkpoint.positions;
    },
    onCommitted(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function index(record: ConsumedRecord, rows: Table<IndexRow>): void {
  const meta = readMeta(record.headers);
  const at = `${record.topic}-${record.partition}@${record.offset}`;
  const { id, type, aggregateVersion: version } = meta;
  if (record.key === null || record.value === null || id === undefined || type === undefined || version === undefined) {
    throw new SpoolError('RECORD_UNREADABLE', `${at} is not an event: it needs a key, a value, ce_id, ce_type and aggregateversion`);
  }
  const key = rowKey(record.key.toString(), version);
  const before = rows.get(key);
  // A version is written once; a second one would be a second writer, and is kept out of the index and parked for inspection.
  if (before !== undefined && before.offset !== record.offset.toString()) {
    throw new SpoolError('RECORD_UNREADABLE', `${at} has version ${version}, which offset ${before.offset} has already`);
  }
  rows.put(key, {
    id,
    type,
    at: meta.time ?? record.timestamp,
    partition: record.partition,
    offset: record.offset.toString(),
    payload: record.value,
    correlationId: meta.correlationId,
    causationId: meta.causationId,
    commandId: meta.commandId,
    actor: meta.actor,
  });
}
