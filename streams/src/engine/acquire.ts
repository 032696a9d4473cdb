import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, toSpoolError } from '@spool/schemas';
import type { ConsumedRecord, Kafka, Offset, Producer, TopicPartition } from '../kafka/port.js';
import { offset } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import { partitionKey, type Store, type StoreCheckpoint, type Table } from '../store/store.js';
import { putStreamTime } from './handling.js';
import { readToEnd, type RestoreProgress } from './restore.js';
import { rowsReader, type StoreSpec } from './stores.js';
import { timersSpec } from './timers.js';
import type { SharedWriter, Writer } from './writer.js';

/** The record in the changelog that says how far a task's committed work reaches. */
export interface TaskCheckpoint {
  /** The transactional id that wrote it. */
  readonly owner: string;
  readonly generation: number;
  readonly inputs: ReadonlyMap<string, Offset>;
  /** Restoring the covered topic starts here; null: at its beginning. */
  readonly covered: Offset | null;
  /** The highest record timestamp that the task had seen, in milliseconds; -1 before the first. */
  readonly streamTime: number;
}

export interface RestoreSource {
  readonly partition: TopicPartition;
  /** `true`: a store without a position of it starts at the checkpoint's `covered`. */
  readonly fromCovered: boolean;
  readonly apply: (record: ConsumedRecord, table: <V>(name: string) => Table<V>) => void | Promise<void>;
}

export interface AcquireOptions {
  readonly kafka: Kafka;
  readonly consumer: string;
  /** The number of the partition. */
  readonly task: string;
  readonly generation: number;
  readonly store: Store;
  readonly changelog: TopicPartition;
  readonly encodeCheckpoint: (checkpoint: TaskCheckpoint) => Buffer;
  readonly decodeCheckpoint: (value: Buffer) => TaskCheckpoint | Promise<TaskCheckpoint>;
  /** Tables that are kept in the changelog, and come back from it. @default none */
  readonly stores?: readonly StoreSpec[];
  /** What else is read, in this order. @default the changelog alone */
  readonly restore?: readonly RestoreSource[];
  /**
   * Absent: one transactional id per partition, which the broker takes from a former owner by itself. Given: one for all partitions of the
   * instance, and ownership by claims in the changelog.
   */
  readonly writer?: SharedWriter;
  /**
   * Given: at least once. Outputs and changelog go out without a transaction and nobody is fenced; the input position follows when they are held.
   */
  readonly producer?: Producer;
  readonly onRestore?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

export interface Acquired {
  readonly writer: Writer;
  /** Of the last committed group; undefined where there was none. */
  readonly checkpoint: TaskCheckpoint | undefined;
  /** What the store was restored from. */
  readonly restored: readonly RestoreSource[];
  /** Says that no fencing is needed any more; after the last write. */
  release(): Promise<void>;
}

/** Keys of the changelog that are the engine's: `c/<task>` the checkpoint, `c/<task>/<transactional id>` the claim of one writer. */
const checkpointPrefix = 'c/';
const checkpointTable = '$checkpoint';
const claimTable = '$claims';
/** A former owner that is alive gives its claim back within moments; one that is dead is fenced after it. */
const releaseGraceMs = 300;
const maxRounds = 100;
/** The broker ends what is left open within `transaction.timeout.ms`, 15 s. */
const openTransactionMs = 200;
/** Longer than a session and a rebalance: within it, whoever claimed with a higher generation is the owner. */
const yieldMs = 45_000;

/** Makes this the only writer of a partition, with its store as the log has it. */
export async function acquire(options: AcquireOptions): Promise<Acquired> {
  const restored = restoreSources(options);
  const nothing = (): Promise<void> => Promise.resolve();
  if (options.producer !== undefined) {
    return { writer: plainWriter(options.producer, options), checkpoint: await restore(options), restored, release: nothing };
  }
  if (options.writer === undefined) {
    const writer = await openWriter(options.kafka, plainId(options));
    try {
      let checkpoint = await restore(options);
      // Left by instances that shared a writer.
      const claimants = [...options.store.range(claimTable)].map(([id]) => id);
      for (const id of claimants) await (await openWriter(options.kafka, id)).close();
      if (claimants.length > 0) checkpoint = await restore(options);
      return { writer, checkpoint, restored, release: nothing };
    } catch (error) {
      await writer.close();
      throw error;
    }
  }
  const writer = await options.writer.current();
  const checkpoint = await claim(options, options.writer, writer);
  const key = claimKey(options.task, writer.id);
  return {
    writer,
    checkpoint,
    restored,
    release: () =>
      writer.commit([{ ...options.changelog, key, value: null }]).then(
        () => undefined,
        () => undefined,
      ),
  };
}

/**
 * Ownership by claims. Whoever may write has a claim in the log before it writes. To acquire: read to where the log is decided; fence each foreign
 * claim by taking its transactional id, and read again; claim, and take the fenced claims back in the same transaction; read back. A claim that came
 * between is fenced in its turn, unless its generation is higher: then this one yields. `ownership.unit.test.ts` checks it over every interleaving.
 */
async function claim(options: AcquireOptions, shared: SharedWriter, writer: Writer): Promise<TaskCheckpoint | undefined> {
  const { store, generation, task, changelog } = options;
  const fenced = new Set<string>();
  let claimed = false;
  for (let round = 0; round < maxRounds; round++) {
    const checkpoint = await restore(options);
    const claims = new Map([...store.range(claimTable)] as [string, number][]);
    const readBack = claims.delete(writer.id);
    // An instance that had a writer for each partition left no claim.
    if (checkpoint?.owner === plainId(options)) claims.set(checkpoint.owner, checkpoint.generation);
    // A member that has been replaced hears so from the group within moments. A claim that stands longer was left by a group that is forgotten.
    const newer = [...claims].find(([id, of]) => of > generation && shared.knownFor(id) < yieldMs);
    if (newer !== undefined) {
      throw new SpoolError(
        'PRODUCER_FENCED',
        `${newer[0]} owns ${partitionKey(changelog)} by generation ${newer[1]}; this is ${generation}`,
      );
    }
    const rivals = [...claims.keys()].filter((id) => !fenced.has(id));
    if (rivals.length > 0) {
      if (round === 0) await sleep(releaseGraceMs);
      const left = round === 0 ? await stillClaimed(options, rivals) : rivals;
      for (const id of left) await (await openWriter(options.kafka, id)).close();
      for (const id of rivals) fenced.add(id);
    } else if (readBack && claimed) return checkpoint;
    // Somebody's open transaction lies before the claim: until it is decided, what it holds is not known.
    else if (claimed) await sleep(openTransactionMs);
    else {
      const { inputs, covered, streamTime } = checkpoint ?? { inputs: new Map<string, Offset>(), covered: null, streamTime: -1 };
      const value = options.encodeCheckpoint({ owner: writer.id, generation, inputs, covered, streamTime });
      const taken = [...claims.keys()].map((id) => ({ ...changelog, key: claimKey(task, id), value: null }));
      await writer.commit([{ ...changelog, key: claimKey(task, writer.id), value }, ...taken]);
      claimed = true;
      continue;
    }
    // Whoever was fenced after the claim has its claim taken back by another.
    if (rivals.length > 0) claimed = false;
  }
  throw new SpoolError('UNAVAILABLE', `${partitionKey(changelog)} could not be claimed in ${maxRounds} rounds`);
}

async function stillClaimed(options: AcquireOptions, ids: readonly string[]): Promise<readonly string[]> {
  const checkpoint = await restore(options);
  return ids.filter((id) => options.store.get(claimTable, id) !== undefined || checkpoint?.owner === id);
}

/** The id of a writer that has one partition only. */
const plainId = ({ consumer, task }: AcquireOptions): string => `${consumer}.${task}`;
const claimKey = (task: string, id: string): string => `${checkpointPrefix}${task}/${id}`;
export const checkpointKey = (task: string): string => checkpointPrefix + task;

async function openWriter(kafka: Kafka, transactionalId: string): Promise<Writer> {
  const producer = await kafka.transactionalProducer({ transactionalId });
  return { id: transactionalId, commit: (records) => producer.commit(records), close: () => producer.close() };
}

/** The checkpoint, the last of each group, goes when the rest is held: a crash between repeats the group and loses nothing. */
const plainWriter = (producer: Producer, options: AcquireOptions): Writer => ({
  id: plainId(options),
  async commit(records) {
    const positions = await producer.sendAll(records.slice(0, -1));
    return [...positions, ...(await producer.sendAll(records.slice(-1)))];
  },
  close: () => Promise.resolve(),
});

function claimant(record: ConsumedRecord, task: string): string | undefined {
  const prefix = `${checkpointPrefix}${task}/`;
  const key = record.key?.toString();
  return key?.startsWith(prefix) === true ? key.slice(prefix.length) : undefined;
}

async function restore(options: AcquireOptions): Promise<TaskCheckpoint | undefined> {
  try {
    return await readSources(options);
  } catch (error) {
    if (toSpoolError(error).code !== 'STORE_CORRUPT') throw error;
    // The store is ahead of the log or has a gap: it belongs to another log. The log is the truth.
    options.store.clear({ positions: new Map(), epoch: -1n, replay: undefined });
    return readSources(options);
  }
}

/** With the changelog, whose rows of declared stores need no reader of their own. */
function restoreSources({ changelog, restore: declared = [], stores = [] }: AcquireOptions): readonly RestoreSource[] {
  const rows = rowsReader([...stores, timersSpec]);
  const isChangelog = ({ partition }: RestoreSource): boolean => partitionKey(partition) === partitionKey(changelog);
  const sources = declared.some(isChangelog)
    ? declared
    : [{ partition: changelog, fromCovered: false, apply: () => undefined }, ...declared];
  return sources.map((source) => {
    if (!isChangelog(source)) return source;
    return { ...source, apply: (record, table) => rows(record, table) ?? source.apply(record, table) };
  });
}

async function readSources(options: AcquireOptions): Promise<TaskCheckpoint | undefined> {
  const { store } = options;
  const staged = stage(store);
  const table = <V>(name: string): Table<V> => staged.table<V>(name);
  for (const source of restoreSources(options)) {
    const key = partitionKey(source.partition);
    const from = restoreFrom(store, source);
    const take = recordTaker(options, source, table);
    const next = await readToEnd({
      kafka: options.kafka,
      partition: source.partition,
      from,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.onRestore === undefined ? {} : { onProgress: options.onRestore }),
      apply: async (records, position) => {
        for (const record of records) {
          const pending = take(record);
          if (pending !== undefined) await pending;
        }
        staged.commit(moved(store, key, position));
      },
    });
    staged.commit(moved(store, key, next));
  }
  return storedCheckpoint(store);
}

const restoreFrom = (store: Store, source: RestoreSource): Offset | 'earliest' =>
  store.checkpoint.positions.get(partitionKey(source.partition)) ??
  (source.fromCovered ? storedCheckpoint(store)?.covered : undefined) ??
  'earliest';

/** Takes the engine's own records of a changelog, and leaves the rest to the source. */
function recordTaker(
  options: Pick<AcquireOptions, 'changelog' | 'task' | 'decodeCheckpoint'>,
  source: RestoreSource,
  table: <V>(name: string) => Table<V>,
): (record: ConsumedRecord) => void | Promise<void> {
  if (partitionKey(source.partition) !== partitionKey(options.changelog)) return (record) => source.apply(record, table);
  const claims = table<number>(claimTable);
  return (record) => {
    if (record.key?.toString('latin1').startsWith(checkpointPrefix) !== true) return source.apply(record, table);
    const id = claimant(record, options.task);
    if (id !== undefined && record.value === null) return claims.delete(id);
    if (record.value === null || (id === undefined && record.key.toString() !== checkpointKey(options.task))) return;
    const take = (checkpoint: TaskCheckpoint): void => {
      if (id !== undefined) return claims.put(id, checkpoint.generation);
      putCheckpoint(table(checkpointTable), checkpoint);
      putStreamTime(table, checkpoint.streamTime);
    };
    const checkpoint = options.decodeCheckpoint(record.value);
    if (checkpoint instanceof Promise) return checkpoint.then(take);
    take(checkpoint);
  };
}

const moved = (store: Store, key: string, position: Offset): StoreCheckpoint => ({
  ...store.checkpoint,
  positions: new Map(store.checkpoint.positions).set(key, position),
});

interface StoredTaskCheckpoint {
  readonly owner: string;
  readonly generation: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly covered: string | null;
  readonly streamTime: number;
}
const toStored = (checkpoint: TaskCheckpoint): StoredTaskCheckpoint => ({
  owner: checkpoint.owner,
  generation: checkpoint.generation,
  inputs: Object.fromEntries([...checkpoint.inputs].map(([key, at]) => [key, at.toString()])),
  covered: checkpoint.covered?.toString() ?? null,
  streamTime: checkpoint.streamTime,
});
/** Keeps the last checkpoint in the store, for a start that finds nothing new in the changelog. */
export const putCheckpoint = (table: Table<unknown>, checkpoint: TaskCheckpoint): void => table.put('last', toStored(checkpoint));
export const checkpointTableName = checkpointTable;
function storedCheckpoint(store: Store): TaskCheckpoint | undefined {
  const row = store.get(checkpointTable, 'last') as StoredTaskCheckpoint | undefined;
  if (row === undefined) return undefined;
  return {
    owner: row.owner,
    generation: row.generation,
    inputs: new Map(Object.entries(row.inputs).map(([key, at]) => [key, offset(at)])),
    covered: row.covered === null ? null : offset(row.covered),
    streamTime: row.streamTime,
  };
}
