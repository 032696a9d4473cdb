import { createHash } from 'node:crypto';
import { SnapshotSchema, SpoolError, toSpoolError, type Codec, type FoldRequest } from '@spool/schemas';
import { snapshotPrefix, stateHash } from '@spool/sdk';
import { offset, type ConsumedRecord } from '@spool/streams';
import { differences } from '../differences.js';
import { rowKey } from '../index-rows.js';
import type { AskFold } from '../states.js';
import { seenTable, type CheckedEvent, type EventChecks, type Seen } from './check-events.js';
import type { Scratch } from './scratch.js';

interface SnapshotRow {
  readonly version: number;
  readonly state: string;
  readonly deleted: boolean;
  readonly partition: number;
  readonly offset: string;
}
/** `<aggregate id> <version> <offset>` -> the snapshot, of those that can be compared. */
const snapshotsTable = 'snapshots';
/** Aggregate id -> the offset of its last snapshot that was rebuilt: those before it are not used any more. */
const rebuiltTable = 'rebuilt';
/** Aggregate id -> the last version of which there is such a snapshot. */
const comparedTable = 'compared';
const eventsTable = 'events';

export interface SnapshotChecks extends Pick<EventChecks, 'scratch' | 'tell'> {
  readonly codec: Codec;
  readonly aggregateType: string;
  readonly topic: string;
  /** Of the code that folds; undefined: nothing is folded. */
  readonly codeVersion: string | undefined;
}
export interface SnapshotCounts {
  readonly snapshots: number;
  /** Made by other code, so that there is nothing to compare them with. */
  readonly otherCode: number;
}

/** Takes the snapshots of a topic one after the other: their content against their hash, and notes those that are to be compared. */
export function snapshotReader({ scratch, tell, codec, codeVersion }: SnapshotChecks) {
  const decoder = codec.decoder(SnapshotSchema);
  const counts = { snapshots: 0, otherCode: 0 };
  const take = async (record: ConsumedRecord): Promise<void> => {
    const key = record.key?.toString() ?? '';
    if (record.value === null || !key.startsWith(snapshotPrefix)) return;
    counts.snapshots += 1;
    let snapshot: Awaited<ReturnType<typeof decoded>>;
    try {
      snapshot = await decoded(record.value);
      JSON.parse(snapshot.state);
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.entry.retryable === 'backoff') throw error;
      const aggregateId = key.slice(snapshotPrefix.length);
      tell('SNAPSHOT_UNREADABLE', record, { aggregateId, expected: 'a snapshot', found: error.message });
      return;
    }
    const { aggregateId, version, state, deleted } = snapshot;
    const hash = stateHash(state);
    if (hash !== snapshot.stateHash) {
      tell('SNAPSHOT_HASH', record, { aggregateId, version, expected: `hash ${snapshot.stateHash}`, found: `hash ${hash}` });
    }
    if (snapshot.codeVersion !== codeVersion) {
      counts.otherCode += 1;
      return;
    }
    const row: SnapshotRow = { version, state, deleted, partition: record.partition, offset: record.offset.toString() };
    if (snapshot.rebuilt) scratch.put(rebuiltTable, aggregateId, row.offset);
    scratch.put(snapshotsTable, `${rowKey(aggregateId, version)}\u0001${row.offset}`, row);
    const last = (scratch.get(comparedTable, aggregateId) as number | undefined) ?? 0;
    scratch.put(comparedTable, aggregateId, Math.max(last, version));
  };
  const decoded = async (value: Buffer) => decoder.decode(value);
  return { take, counts: (): SnapshotCounts => counts };
}

/** Keeps an event that a snapshot is to be compared with. */
export function keepForReplay(scratch: Scratch, { aggregateId, version, type, id, at, payload }: CheckedEvent): void {
  const until = scratch.get(comparedTable, aggregateId) as number | undefined;
  if (until !== undefined && version <= until) scratch.put(eventsTable, rowKey(aggregateId, version), { type, id, at, payload });
}

/** Of two states in one violation, in characters. */
const maxToldLength = 100_000;
/** Aggregates that are folded side by side. */
const sideBySide = 16;
const foldEvents = 500;
const foldBytes = 400_000;

/** Folds every aggregate that has snapshots from its first event, and compares. @returns how many snapshots could be compared */
export async function compareSnapshots(
  checks: SnapshotChecks,
  ask: (request: FoldRequest) => ReturnType<AskFold>,
  signal?: AbortSignal,
): Promise<number> {
  const { scratch, aggregateType, tell } = checks;
  let compared = 0;
  const compare = async (aggregateId: string): Promise<void> => {
    const seen = scratch.get(seenTable, aggregateId) as Seen | undefined;
    const end = seen?.version ?? 0;
    const ended = seen?.deletedAt ?? Number.POSITIVE_INFINITY;
    let folded: { state: string | null; version: number } = { state: null, version: 0 };
    const rebuiltAt = BigInt((scratch.get(rebuiltTable, aggregateId) as string | undefined) ?? 0);
    const rows = [...scratch.range(snapshotsTable, { from: rowKey(aggregateId, 0), to: `${aggregateId}\u0002` })];
    for (const [, row] of rows) {
      const { version, state, deleted, partition, offset: at } = row as SnapshotRow;
      if (BigInt(at) < rebuiltAt) continue;
      const place = { topic: checks.topic, partition, offset: offset(at) };
      if (version > end) {
        tell('SNAPSHOT_AHEAD', place, { aggregateId, version, expected: `version ${end} at the most`, found: `version ${version}` });
        continue;
      }
      while (folded.version < version) {
        signal?.throwIfAborted();
        const events = batch(scratch, aggregateId, folded.version, version);
        // What is missing was told when the log was read.
        if (events.length === 0) return;
        const request = { aggregateType, aggregateId, ...folded, codeVersion: checks.codeVersion ?? '', events, statesAt: [] };
        const reply = await ask(request).catch((thrown: unknown) => toSpoolError(thrown));
        if (reply instanceof SpoolError) {
          if (reply.entry.retryable !== 'never') throw reply;
          const reason = `${reply.code}: ${reply.message}`;
          const expected = `the fold of versions ${folded.version + 1} to ${version}`;
          tell('FOLD_FAILED', place, { aggregateId, version, expected, found: reason });
          return;
        }
        // New code was deployed meanwhile.
        if (reply.state === null) return;
        folded = { state: reply.state, version: reply.version };
      }
      compared += 1;
      if (deleted !== version >= ended) {
        const of = (is: boolean): string => (is ? 'a deleted aggregate' : 'one that is there');
        tell('SNAPSHOT_DIFFERS', place, {
          aggregateId,
          version,
          expected: `the state of ${of(!deleted)}`,
          found: `that of ${of(deleted)}`,
        });
      }
      const expected = JSON.parse(folded.state!) as unknown;
      const found = JSON.parse(state) as unknown;
      const changes = differences(expected, found);
      if (changes.length === 0) continue;
      const { path, ...change } = changes[0]!;
      tell('SNAPSHOT_DIFFERS', place, {
        aggregateId,
        version,
        expected: `state ${hashOf(expected)} at version ${version}; at ${path === '' ? 'the root' : path} ${shortened(change.before)}`,
        found: `state ${hashOf(found)} with ${changes.length} differences; there ${shortened(change.after)}`,
        ...(folded.state!.length + state.length > maxToldLength ? {} : { states: { expected, found } }),
      });
    }
  };
  for (let from = ''; ;) {
    const ids = [...scratch.range(comparedTable, { from, limit: sideBySide })].map(([id]) => id);
    await Promise.all(ids.map(compare));
    if (ids.length < sideBySide) return compared;
    from = `${ids.at(-1)!}\u0000`;
  }
}

function batch(scratch: Scratch, aggregateId: string, after: number, until: number): FoldRequest['events'] {
  const events: FoldRequest['events'][number][] = [];
  let bytes = 0;
  const range = { from: rowKey(aggregateId, after + 1), to: rowKey(aggregateId, until + 1), limit: foldEvents };
  let version = after;
  for (const [key, row] of scratch.range(eventsTable, range)) {
    const event = row as Omit<FoldRequest['events'][number], 'version'>;
    version += 1;
    if (key !== rowKey(aggregateId, version) || (events.length > 0 && bytes + event.payload.length > foldBytes)) break;
    events.push({ ...event, version });
    bytes += event.payload.length;
  }
  return events;
}

/** Of the state with its names in order, since they have none. */
function hashOf(state: unknown): string {
  const ordered = JSON.stringify(state, (_, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(ordered).digest('hex').slice(0, 16);
}
const shortened = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 200));
