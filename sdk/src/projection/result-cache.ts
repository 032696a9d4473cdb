import { LRUCache } from 'lru-cache';
import type { Offset } from '@spool/streams';
import type { ReadModel } from '../projector/read-model.js';
import type { CacheOptions } from './projection.js';

export interface ResultCache {
  /** @param request as it came: what is equal in its bytes has one answer */
  answer(request: Buffer, compute: () => unknown): Promise<unknown>;
}

interface Entry {
  readonly view: unknown;
  readonly commits: number;
  readonly positions: ReadonlyMap<string, Offset>;
}

/** Serves an answer again while the read model stands where it stood before the answer was made. */
export function createResultCache(model: Pick<ReadModel, 'positions' | 'onCommit'>, { maxEntries, ttlMs }: CacheOptions): ResultCache {
  const entries = new LRUCache<string, Entry>({ max: maxEntries, ...(ttlMs === undefined ? {} : { ttl: ttlMs }) });
  /** Some commits change rows and no position: parked records that are handled again. */
  let commits = 0;
  model.onCommit(() => (commits += 1));
  return {
    async answer(request, compute) {
      const key = request.toString('latin1');
      const { positions } = model;
      const before = commits;
      const found = entries.get(key);
      if (found?.commits === before && found.positions === positions) return found.view;
      const view = await compute();
      if (view !== undefined) entries.set(key, { view, commits: before, positions });
      return view;
    },
  };
}
