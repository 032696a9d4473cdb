import { readMeta, SpoolError, type Codec, type Decoder, type ReadMeta } from '@spool/schemas';
import type { ConsumedRecord, Table } from '@spool/streams';
import type { Aggregate } from './aggregate.js';
import { offsetKey, stateTable, uncoveredTable, type StateRow } from './rows.js';

export interface ReadEvent {
  readonly type: string;
  readonly aggregateId: string;
  readonly version: number;
  readonly at: number;
  readonly data: unknown;
  readonly meta: ReadMeta;
}

/** Decodes the events of an aggregate by the schemas of this version of the code; an event of a type that it does not know has no data. */
export function eventReader(
  aggregate: Aggregate,
  codec: Codec,
): (record: ConsumedRecord) => ReadEvent | undefined | Promise<ReadEvent | undefined> {
  const decoders = new Map<string, Decoder<unknown>>();
  for (const [type, schema] of Object.entries(aggregate.events)) decoders.set(type, codec.decoder(schema));
  return (record) => {
    if (record.value === null || record.key === null) return undefined;
    const meta = readMeta(record.headers);
    const { type, aggregateVersion: version } = meta;
    if (type === undefined || version === undefined) {
      throw new SpoolError(
        'RECORD_UNREADABLE',
        `${record.topic}-${record.partition}@${record.offset} is not an event: ce_type and aggregateversion are missing`,
      );
    }
    const decoder = decoders.get(type);
    const aggregateId = record.key.toString();
    const at = meta.time ?? record.timestamp;
    const data = decoder?.decode(record.value);
    const event = (value: unknown): ReadEvent => ({ type, aggregateId, version, at, data: value, meta });
    return data instanceof Promise ? data.then(event) : event(data);
  };
}

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
