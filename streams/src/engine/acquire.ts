import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import type { Kafka, Producer } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import {
  claimKey,
  claimTable,
  noCheckpoint,
  restore,
  restoreSources,
  type RestoreOptions,
  type RestoreSource,
  type TaskCheckpoint,
} from './restore.js';
import type { SharedWriter, Writer } from './writer.js';

export interface AcquireOptions extends RestoreOptions {
  readonly generation: number;
  readonly encodeCheckpoint: (checkpoint: TaskCheckpoint) => Buffer;
  /**
   * Absent: one transactional id per partition, which the broker takes from a former owner by itself. Given: one for all partitions of the
   * instance, and ownership by claims in the changelog.
   */
  readonly writer?: SharedWriter;
  /**
   * Given: at least once. Outputs and changelog go out without a transaction and nobody is fenced; the input position follows when they are held.
   */
  readonly producer?: Producer;
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
      const { inputs, covered, streamTime, epoch } = checkpoint ?? noCheckpoint;
      const value = options.encodeCheckpoint({ owner: writer.id, generation, inputs, covered, streamTime, epoch });
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
