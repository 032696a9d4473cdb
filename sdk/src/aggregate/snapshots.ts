import { createHash } from 'node:crypto';
import { SnapshotSchema, type Encoder, type Snapshot } from '@spool/schemas';
import type { Codec } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset, type RecordPosition, type Store, type Table, type TaskContext } from '@spool/streams';
import type { Aggregate } from './aggregate.js';
import { offsetKey, snapshotPrefix, stateTable, uncoveredTable, type StateRow } from './rows.js';

/** What a group did to an aggregate, as far as its snapshot goes; `rebuilt` replaced its state. */
export type Touch = 'changed' | 'asked' | 'rebuilt';

/** Aggregates whose events no snapshot covers yet, and the offset below which everything is covered: where a restore begins. */
export interface Snapshots {
  /**
   * Emits what is due in this group: of the touched aggregates those past `snapshotEvery`, asked for or rebuilt, then quiet ones that hold the
   * covered offset back.
   */
  emitDue(touched: ReadonlyMap<string, Touch>, context: TaskContext): void;
  /** Event offset below which every aggregate is covered, once the transaction under way has committed. */
  covered(): Offset | null;
  /** Notes the committed events of this group. */
  committed(aggregateId: string, event: RecordPosition, context: TaskContext): void;
}

export interface SnapshotsOptions {
  readonly aggregate: Aggregate;
  readonly topic: string;
  readonly partition: number;
  readonly store: Store;
  readonly encoder: Encoder<Snapshot>;
  readonly eventPosition: () => Offset | undefined;
  readonly now: () => number;
  /** A quiet aggregate is snapshotted when so many events have passed since; it bounds what a restore reads. */
  readonly maxUncovered: number;
}

/** In one group, so that catching up never makes a transaction large. */
const quietPerGroup = 500;

export function trackSnapshots(options: SnapshotsOptions): Snapshots {
  const { aggregate, store, encoder } = options;
  // Insertion order is offset order: an aggregate enters with its first uncovered event.
  const uncovered = new Map<string, Offset>();
  let end: Offset | undefined;
  let loaded = false;
  /** What the restore left, read with the first group: the store is complete by then. */
  const load = (): void => {
    if (loaded) return;
    loaded = true;
    for (const [key, id] of store.range(uncoveredTable)) uncovered.set(id as string, offset(key));
    end = options.eventPosition();
  };

  const emit = (id: string, row: StateRow, context: TaskContext, why?: Touch): void => {
    const state = JSON.stringify(row.state);
    context.emit({
      topic: options.topic,
      partition: options.partition,
      key: snapshotPrefix + id,
      value: encoder.encode({
        aggregateId: id,
        version: row.version,
        eventOffset: Number(end ?? 0n),
        state,
        stateHash: stateHash(state),
        codeVersion: aggregate.codeVersion,
        deleted: row.deleted,
        at: options.now(),
        rebuilt: why === 'rebuilt',
      }),
    });
    context.table<StateRow>(stateTable).put(id, { ...row, snapshotVersion: row.version });
    const since = uncovered.get(id);
    if (since === undefined) return;
    context.table<string>(uncoveredTable).delete(offsetKey(since));
    context.committed(() => uncovered.delete(id));
  };
  const dueAfter: Readonly<Record<Touch, number>> = { changed: aggregate.snapshotEvery, asked: 1, rebuilt: 0 };
  let coveredNow: Offset | null = null;
  return {
    emitDue(touched, context) {
      load();
      const rows = context.table<StateRow>(stateTable);
      const done = new Set<string>();
      for (const [id, why] of touched) {
        const row = rows.get(id);
        if (row === undefined || row.version - row.snapshotVersion < dueAfter[why]) continue;
        emit(id, row, context, why);
        done.add(id);
      }
      const limit = end === undefined ? 0n : end - BigInt(options.maxUncovered);
      let oldest: Offset | undefined;
      for (const [id, since] of uncovered) {
        if (done.has(id)) continue;
        const row = since < limit && done.size < quietPerGroup ? rows.get(id) : undefined;
        if (row === undefined) {
          oldest = since;
          break;
        }
        emit(id, row, context);
        done.add(id);
      }
      coveredNow = oldest ?? end ?? null;
    },
    covered: () => coveredNow,
    committed(id, event, context) {
      end = offset(event.offset + 1n);
      if (uncovered.has(id)) return;
      uncovered.set(id, event.offset);
      context.table<string>(uncoveredTable).put(offsetKey(event.offset), id);
    },
  };
}

export const stateHash = (state: string): string => createHash('sha256').update(state).digest('hex').slice(0, 32);

/**
 * Takes a snapshot into the store when it is newer and was made by this version of the code. One whose state is not what its hash says is told to
 * `onBroken` and passed over: its aggregate is to be folded from its events.
 */
export function snapshotReader(aggregate: Aggregate, codec: Codec, onBroken: (snapshot: Snapshot) => void) {
  const decoder = codec.decoder(SnapshotSchema);
  return async (record: ConsumedRecord, table: <V>(name: string) => Table<V>): Promise<void> => {
    if (record.value === null) return;
    const snapshot = await decoder.decode(record.value);
    if (snapshot.codeVersion !== aggregate.codeVersion) return;
    const rows = table<StateRow>(stateTable);
    const { aggregateId, version, deleted } = snapshot;
    if ((rows.get(aggregateId)?.version ?? 0) > version) return;
    if (stateHash(snapshot.state) !== snapshot.stateHash) onBroken(snapshot);
    else rows.put(aggregateId, { version, state: JSON.parse(snapshot.state) as unknown, snapshotVersion: version, deleted });
  };
}
