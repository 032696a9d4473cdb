import type { ConsumedRecord, Table } from '@spool/streams';
import { SpoolError } from '@spool/schemas';
import type { ReadEvent } from '../event/reader.js';
import type { Aggregate } from './aggregate.js';
import { offsetKey, stateTable, uncoveredTable, type StateRow } from './rows.js';

/** Folds an event into its row while a store is restored; an event that the row holds already is passed over. */
export function evolveRow(aggregate: Aggregate, event: ReadEvent, record: ConsumedRecord, table: <V>(name: string) => Table<V>): void {
  const rows = table<StateRow>(stateTable);
  const row = rows.get(event.aggregateId);
  const version = row?.version ?? 0;
  if (event.version <= version) return;
  if (event.version !== version + 1) {
    const at = `${record.topic}-${record.partition}@${record.offset}`;
    throw new SpoolError('STORE_CORRUPT', `${event.aggregateId} goes from version ${version} to ${event.version} at ${at}`);
  }
  const { aggregateId, at } = event;
  const state = aggregate.evolve(event.type, row === undefined ? aggregate.initial() : row.state, event.data, {
    aggregateId,
    version: event.version,
    at,
  });
  const deleted = row?.deleted === true || aggregate.deletes.has(event.type);
  rows.put(aggregateId, { version: event.version, state, snapshotVersion: row?.snapshotVersion ?? 0, deleted });
  if (row === undefined || row.version === row.snapshotVersion) table<string>(uncoveredTable).put(offsetKey(record.offset), aggregateId);
}
