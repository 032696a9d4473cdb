import type { ConsumedRecord, Offset } from '../kafka/port.js';
import type { ReplayFilter, StoredFilter } from '../store/stored-filter.js';
import { partitionKey, type StoredReplay } from '../store/store.js';

export const isWanted = (filter: ReplayFilter, { topic, partition, offset, key, headers }: Omit<ConsumedRecord, 'value'>): boolean => {
  const { types, skipTypes, keys, skipKeys, ends } = filter;
  const end = ends[partitionKey({ topic, partition })];
  return (
    (end === undefined || offset < BigInt(end)) &&
    (types.length === 0 || types.includes(headers.ce_type?.toString() ?? '') !== skipTypes) &&
    (keys.length === 0 || (key !== null && keys.includes(key.toString())) !== skipKeys)
  );
};

/** Of what had been handled before a replay, all is passed over that it does not want; when it was cancelled, all. */
export function isPassedOver(replay: StoredReplay | undefined, record: ConsumedRecord): boolean {
  const filter = replay?.filter;
  if (filter === undefined || record.offset >= BigInt(filter.handled[partitionKey(record)] ?? '0')) return false;
  return replay?.state === 'cancelled' || !isWanted(filter, record);
}

/** @param positions where the work stands @param before the replay before it: what that one has not come back to has been handled as well */
export function storedFilter(filter: ReplayFilter, positions: ReadonlyMap<string, Offset>, before: StoredReplay | undefined): StoredFilter {
  const handled = new Map([...positions].map(([key, at]) => [key, at.toString()]));
  for (const [key, at] of Object.entries(before?.filter?.handled ?? {}))
    if (BigInt(at) > BigInt(handled.get(key) ?? '0')) handled.set(key, at);
  return { ...filter, handled: Object.fromEntries(handled) };
}
