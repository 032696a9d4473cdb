import { createHash } from 'node:crypto';
import { readMeta } from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import type { Scratch } from './scratch.js';
import type { Violation, ViolationCode } from './violations.js';

/** Of one aggregate, as far as the log was read. */
export interface Seen {
  readonly version: number;
  readonly offset: string;
  /** The version that ended it. */
  readonly deletedAt: number | null;
}
export const seenTable = 'aggregates';
const idsTable = 'ids';

export interface EventChecks {
  readonly scratch: Scratch;
  /** The first version that is seen of an aggregate is taken as it is: the log is not read from its beginning. */
  readonly partial: boolean;
  /** Types of the events that end an aggregate. */
  readonly deletes: ReadonlySet<string>;
  readonly tell: (code: ViolationCode, at: Pick<ConsumedRecord, 'topic' | 'partition' | 'offset'>, facts: Facts) => void;
}
export type Facts = Pick<Violation, 'aggregateId' | 'version' | 'expected' | 'found' | 'states'>;

export interface CheckedEvent {
  readonly aggregateId: string;
  readonly version: number;
  readonly type: string;
  readonly id: string;
  readonly at: number;
  readonly payload: Buffer;
}

/** Checks the events of one topic one after the other. @returns the event; undefined for a record that is none */
export function eventChecker({ scratch, partial, deletes, tell }: EventChecks): (record: ConsumedRecord) => CheckedEvent | undefined {
  const epochs = new Map<number, number>();
  return (record) => {
    const { key, value, partition, offset } = record;
    const meta = readMeta(record.headers);
    const { id, type, aggregateVersion: version, writerEpoch: epoch } = meta;
    const aggregateId = key?.toString() ?? '';
    if (key === null || value === null || id === undefined || type === undefined || version === undefined) {
      const there = { key, value, ce_id: id, ce_type: type, aggregateversion: version };
      const missing = Object.entries(there).flatMap(([name, each]) => (each === null || each === undefined ? [name] : []));
      tell('EVENT_UNREADABLE', record, { aggregateId, expected: Object.keys(there).join(', '), found: `no ${missing.join(', ')}` });
      return undefined;
    }
    // 1. Writers of a partition follow each other.
    const before = epochs.get(partition) ?? 0;
    if (epoch !== undefined && epoch < before) {
      tell('EPOCH_FELL', record, { aggregateId, expected: `epoch ${before} or later`, found: `epoch ${epoch}` });
    }
    epochs.set(partition, Math.max(before, epoch ?? 0));
    // 2. An id is there once.
    const idKey = id.length <= 200 ? `=${id}` : createHash('sha256').update(id).digest('hex');
    const earlier = scratch.get(idsTable, idKey) as string | undefined;
    if (earlier === undefined) scratch.put(idsTable, idKey, `${partition}@${offset}`);
    else tell('EVENT_REPEATED', record, { aggregateId, expected: `no second event ${id}`, found: `also at ${earlier}` });
    // 3. Versions go up by one, and end with a deletion.
    const seen = scratch.get(seenTable, aggregateId) as Seen | undefined;
    const next = seen === undefined ? (partial ? version : 1) : seen.version + 1;
    if (version !== next) {
      const facts = { aggregateId, expected: `version ${next}`, found: `version ${version}` };
      tell(version < next ? 'VERSION_REPEATED' : 'VERSION_GAP', record, facts);
    }
    const deletedAt = seen?.deletedAt ?? null;
    if (deletedAt !== null) {
      tell('AFTER_DELETION', record, { aggregateId, expected: `nothing after version ${deletedAt}`, found: `version ${version}, ${type}` });
    }
    scratch.put(seenTable, aggregateId, {
      version: Math.max(version, next - 1),
      offset: offset.toString(),
      deletedAt: deletedAt ?? (deletes.has(type) ? version : null),
    } satisfies Seen);
    return { aggregateId, version, type, id, at: meta.time ?? record.timestamp, payload: value };
  };
}
