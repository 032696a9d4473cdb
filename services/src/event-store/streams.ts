import { SpoolError } from '@spool/schemas';
import { reached } from '@spool/sdk';
import type { Offset } from '@spool/streams';
import { maxVersion, rowKey, streamsTable, versionOf, type IndexRow } from './index-rows.js';
import type { EventIndex } from './indexer.js';

/** Of the versions from `from` up to, but without, `to`. */
export interface VersionRange {
  readonly from: number;
  readonly to: number;
  readonly reverse: boolean;
  readonly limit: number;
}

export function* rowsOf(index: EventIndex, id: string, range: VersionRange): Iterable<readonly [version: number, row: IndexRow]> {
  for (const [key, row] of index.store.range(streamsTable, { ...range, from: rowKey(id, range.from), to: rowKey(id, range.to) })) {
    yield [versionOf(key), row as IndexRow];
  }
}

export const rowAt = (index: EventIndex, id: string, version: number): IndexRow | undefined =>
  index.store.get(streamsTable, rowKey(id, version)) as IndexRow | undefined;

/** 0 for an aggregate without events. */
export function lastVersion(index: EventIndex, id: string): number {
  const [last] = rowsOf(index, id, { from: 0, to: maxVersion, reverse: true, limit: 1 });
  return last?.[0] ?? 0;
}

/** The last version that had been decided at a time, in milliseconds since the epoch; 0 for none. The time of the events is their owners' clocks. */
export function versionAt(index: EventIndex, id: string, at: number): number {
  let below = 0;
  let above = lastVersion(index, id) + 1;
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2);
    const row = rowAt(index, id, middle);
    if (row === undefined) throw new SpoolError('RECORD_UNREADABLE', `version ${middle} of ${id} is missing in ${index.topic}`);
    if (row.at <= at) below = middle;
    else above = middle;
  }
  return below;
}

/** @throws SpoolError EXPIRED */
export function untilReached(index: EventIndex, wanted: ReadonlyMap<string, Offset>, leftMs: number): Promise<void> {
  const there = (): boolean => reached(index.positions, wanted) && [...wanted].every(([key, at]) => at === 0n || index.positions.has(key));
  if (there()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = index.onCommitted(() => {
      if (!there()) return;
      clearTimeout(timer);
      stop();
      resolve();
    });
    const timer = setTimeout(
      () => {
        stop();
        reject(new SpoolError('EXPIRED', `the index of ${index.topic} did not reach the end of the log in time`));
      },
      Math.max(0, leftMs),
    );
  });
}
