import { isWanted, partitionKey, type Kafka, type Offset, type ReplayFilter } from '@spool/streams';
import type { Planned } from './starts.js';
import type { ReplayPreview } from './requests.js';

export interface PreviewLimits {
  /** At most so many records are read. @default 200000 */
  readonly records?: number;
  /** At most for so long, in milliseconds. @default 3000 */
  readonly forMs?: number;
}
export interface PreviewRequest {
  readonly kafka: Pick<Kafka, 'reader'>;
  readonly plan: readonly Planned[];
  /** How fast the target has been replayed before, by offsets; undefined: never. */
  readonly offsetsPerSecond: number | undefined;
  /** What it does not want is not counted. */
  readonly filter?: ReplayFilter | undefined;
  /** The limit that is asked for, records per second. */
  readonly rate: number | undefined;
  readonly now: () => number;
  readonly limits?: PreviewLimits | undefined;
}

/**
 * Reads what would be replayed and counts it by type. Within the limits that is exact; beyond them, what was read stands for the rest, by offsets.
 * @throws SpoolError KAFKA_UNAVAILABLE
 */
export async function previewOf({ kafka, plan, filter, offsetsPerSecond, rate, now, limits = {} }: PreviewRequest): Promise<ReplayPreview> {
  const { records: most = 200_000, forMs = 3000 } = limits;
  const counts = new Map<string, number>();
  const left = new Map<string, { at: Offset; readonly end: Offset }>();
  await using reader = await kafka.reader({ maxWaitMs: 250, unavailableAfterMs: forMs });
  for (const { topic, partition, start, target } of plan) {
    if (start >= target) continue;
    left.set(partitionKey({ topic, partition }), { at: start, end: target });
    reader.assign({ topic, partition }, start);
  }
  const whole = plan.reduce((sum, { start, target }) => sum + Math.max(0, Number(target - start)), 0);
  const deadline = now() + forMs;
  let read = 0;
  let wanted = 0;
  while (left.size > 0 && read < most && now() < deadline) {
    for (const slice of await reader.fetch()) {
      const range = left.get(partitionKey(slice));
      if (range === undefined) continue;
      for (const record of slice.records) {
        if (record.offset >= range.end) break;
        read += 1;
        if (filter !== undefined && !isWanted(filter, record)) continue;
        wanted += 1;
        const type = record.headers.ce_type?.toString() ?? '';
        counts.set(type, (counts.get(type) ?? 0) + 1);
      }
      range.at = slice.nextOffset;
      if (range.at < range.end) continue;
      left.delete(partitionKey(slice));
      reader.unassign(slice);
    }
  }
  const unread = [...left.values()].reduce((sum, { at, end }) => sum + Number(end - at), 0);
  const share = whole === unread ? 1 : whole / (whole - unread);
  // Nothing came in time: every offset may be a record.
  const records = whole === unread ? whole : Math.round(wanted * share);
  const seconds = [offsetsPerSecond === undefined ? [] : whole / offsetsPerSecond, rate === undefined ? [] : records / rate].flat();
  return {
    exact: left.size === 0,
    records,
    types: [...counts].map(([type, count]) => ({ type, records: Math.round(count * share) })).sort((a, b) => b.records - a.records),
    read,
    seconds: seconds.length === 0 ? null : Math.ceil(Math.max(...seconds)),
  };
}
