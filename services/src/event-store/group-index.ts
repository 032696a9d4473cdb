import { createPatternTrie } from '@spool/sdk/routed';
import { emitterOf } from './signals.js';
import type { Seen, TailFilter } from './tail.js';

interface Indexed {
  readonly filter: TailFilter;
  readonly wants: (record: Seen) => boolean;
}

/** Finds the groups that want a record without a look at all of them: each stands under the narrowest thing that it asks for. */
export function groupIndex<G extends Indexed>() {
  const places = new Map<string, Set<G>>();
  const patterns = createPatternTrie<G>();
  const inTrie = new Map<G, () => void>();
  const placesOf = ({ filter }: G): readonly string[] => {
    if (filter.aggregateId !== undefined) return [`id ${filter.aggregateId}`];
    if (filter.correlationId !== undefined) return [`flow ${filter.correlationId}`];
    if (filter.types !== undefined) return filter.types.map((type) => `type ${type}`);
    return filter.aggregateTypes?.map((type) => `of ${type}`) ?? ['all'];
  };
  return {
    add(group: G): void {
      const { routed } = group.filter;
      if (routed !== undefined) inTrie.set(group, patterns.add(routed, group));
      else for (const place of placesOf(group)) places.set(place, (places.get(place) ?? new Set()).add(group));
    },
    remove(group: G): void {
      if (group.filter.routed !== undefined) {
        inTrie.get(group)?.();
        inTrie.delete(group);
        return;
      }
      for (const place of placesOf(group)) {
        places.get(place)?.delete(group);
        if (places.get(place)?.size === 0) places.delete(place);
      }
    },
    find(record: Seen): readonly G[] {
      const { aggregateId, aggregateType, meta, signal } = record;
      if (signal !== undefined) {
        const fitting = [...patterns.match(signal.routing, emitterOf(signal))];
        return fitting.filter(({ filter }) => filter.correlationId === undefined || filter.correlationId === signal.correlationId);
      }
      const found: G[] = [];
      for (const place of [
        `id ${aggregateId}`,
        `flow ${meta.correlationId ?? ''}`,
        `type ${meta.type ?? ''}`,
        `of ${aggregateType}`,
        'all',
      ]) {
        for (const group of places.get(place) ?? []) if (group.wants(record)) found.push(group);
      }
      return found;
    },
  };
}
