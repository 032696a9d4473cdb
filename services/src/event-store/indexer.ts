import { readMeta, SnapshotSchema, SpoolError, type Snapshot } from '@spool/schemas';
import { snapshotPrefix, stateHash, type RegisteredComponent } from '@spool/sdk';
import { localWork, type ConsumedRecord, type Instance, type Offset, type RunningProcessor, type Store, type Table } from '@spool/streams';
import { listInstance } from './sagas.js';
import { maxVersion, rowKey, statesTable, streamsTable, versionOf, type FoldedRow, type IndexRow } from './index-rows.js';

/** What writes events of its own, in a topic of its own. */
const sourceKinds = ['aggregate', 'service', 'saga'] as const;
type SourceKind = (typeof sourceKinds)[number];
export interface EventSource {
  readonly kind: SourceKind;
  readonly name: string;
}

export const isSource = <C extends { readonly kind: string }>(component: C): component is C & { readonly kind: SourceKind } =>
  (sourceKinds as readonly string[]).includes(component.kind);

/** The components that write events and have a topic for them. */
export async function sourcesOf(
  { kafka, topics }: Pick<Instance, 'kafka' | 'topics'>,
  components: readonly RegisteredComponent[],
): Promise<readonly EventSource[]> {
  const there = new Set(await kafka.admin.listTopics());
  return components.filter(isSource).filter(({ name }) => there.has(topics.events(name).name));
}

/** The consumer that keeps the index of a source. */
export const indexConsumer = (name: string): string => `spool.event-store.${name}`;

/** The index of one source of events. */
export interface EventIndex {
  readonly source: EventSource;
  readonly topic: string;
  readonly store: Store;
  readonly processor: RunningProcessor;
  readonly positions: ReadonlyMap<string, Offset>;
  /** Called after each commit. */
  onCommitted(listener: () => void): () => void;
}

/**
 * Keeps aggregate -> versions -> event from the log, and of an aggregate the snapshots as they pass; every gateway holds it whole. Undefined while
 * there is no topic.
 */
export async function startIndexer(instance: Instance, source: EventSource): Promise<EventIndex | undefined> {
  const { kafka, topics } = instance;
  const consumer = indexConsumer(source.name);
  const topic = topics.events(source.name).name;
  const snapshots = topics.snapshots(source.name).name;
  if (!(await kafka.admin.listTopics()).includes(topic)) return undefined;
  await kafka.admin.ensureTopics([topics.deadLetters(consumer)]);
  const snapshot = instance.codec.decoder(SnapshotSchema);
  const listeners = new Set<() => void>();
  let store: Store | undefined;
  const processor = await instance.run({
    consumer,
    sources: source.kind === 'aggregate' ? [topic, snapshots] : [topic],
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
          deadLetterTopic: topics.deadLetters(consumer).name,
          owner: instance.id,
          kafka,
          now: instance.now,
          async handle(record, { table }) {
            if (record.topic !== snapshots) {
              index(record, table<IndexRow>(streamsTable));
              if (source.kind === 'saga') listInstance(record, table);
            } else if (record.value !== null && record.key?.toString().startsWith(snapshotPrefix) === true) {
              keepState(table<FoldedRow>(statesTable), await snapshot.decode(record.value));
            }
          },
          onCommitted: () => listeners.forEach((listener) => listener()),
        }),
      );
    },
  });
  return {
    source,
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

/** So many versions lie between two states that are kept, whatever the number of snapshots; the last one is always kept. */
export const spacing = 100;

function keepState(states: Table<FoldedRow>, { aggregateId, version, state, stateHash: hash, codeVersion, rebuilt }: Snapshot): void {
  if (stateHash(state) !== hash) return;
  const all = { from: rowKey(aggregateId, 0), to: rowKey(aggregateId, maxVersion) };
  if (rebuilt) for (const [key] of [...states.range(all)]) states.delete(key);
  const below = { from: rowKey(aggregateId, 0), to: rowKey(aggregateId, version), reverse: true, limit: 2 };
  const [last, before] = [...states.range(below)];
  if (last !== undefined && version - (before === undefined ? 0 : versionOf(before[0])) <= spacing) states.delete(last[0]);
  states.put(rowKey(aggregateId, version), { state, codeVersion });
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
