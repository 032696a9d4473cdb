import type { TopicOffset } from '@spool/schemas';
import { offset, partitionKey, type Offset, type RunningProcessor } from '@spool/streams';
import type { ReadModel } from './read-model.js';

/** One copy of a read model on this instance. */
export interface Copy {
  readonly model: ReadModel;
  readonly processor: RunningProcessor;
}

export const positionsOf = ({ processor }: Copy): ReadonlyMap<string, Offset> =>
  new Map(processor.status().partitions.map((at) => [partitionKey(at), at.position]));
/** Of each partition, where the one that is ahead stands. */
export function furthest(copies: readonly Copy[]): ReadonlyMap<string, Offset> {
  const places = new Map<string, Offset>();
  for (const copy of copies)
    for (const [key, at] of positionsOf(copy)) {
      const known = places.get(key);
      if (known === undefined || at > known) places.set(key, at);
    }
  return places;
}
/** In every partition. */
export function isAt(copy: Copy, wanted: ReadonlyMap<string, Offset>): boolean {
  const positions = positionsOf(copy);
  return [...wanted].every(([key, at]) => (positions.get(key) ?? 0n) >= at);
}
export const offsets = (places: readonly TopicOffset[]): Map<string, Offset> =>
  new Map(places.map((at) => [partitionKey(at), offset(at.offset)]));
