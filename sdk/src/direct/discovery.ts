import { hostname } from 'node:os';
import type { Instances } from '../cluster/instances.js';
import type { Registry } from '../registry/registry.js';
import type { Call } from './call.js';

/** An instance that takes calls. */
export interface Place {
  readonly instance: string;
  readonly url: string;
}
/** Who handles a call: a look-up in local tables, without a call. */
export interface Discovery {
  find(call: Pick<Call, 'kind' | 'type'>): readonly Place[];
}
export interface DiscoveryOptions {
  /** How long an answer is kept, in milliseconds; a change of the tables ends it sooner. @default 1000 */
  readonly cacheMs?: number;
  readonly now: () => number;
}

const loopback = /^https?:\/\/(127\.|localhost[:/]|\[::1\])/;
const maxCached = 10_000;

/** The instances of the bundle that handles the type, by the registry, as far as they take calls. */
export function discovery(
  registry: Registry,
  instances: Instances,
  { cacheMs = 1000, now }: DiscoveryOptions,
): Discovery & { close(): void } {
  const cache = new Map<string, { readonly until: number; readonly places: readonly Place[] }>();
  const forget = (): void => cache.clear();
  const forgets = [registry.onChange(forget), instances.onChange(forget)];
  const look = ({ kind, type }: Pick<Call, 'kind' | 'type'>): readonly Place[] => {
    const bundle = registry.payload(kind, type)?.bundle;
    if (bundle === undefined) return [];
    const rows = instances.live(bundle).filter(({ location, host }) => {
      // That of another machine means that machine.
      return location !== null && (host === hostname() || !loopback.test(location));
    });
    const up = rows.filter(({ state }) => state === 'up');
    return (up.length > 0 ? up : rows).map(({ instance, location }) => ({ instance, url: location! }));
  };
  return {
    find(call) {
      const key = `${call.kind}/${call.type}`;
      const known = cache.get(key);
      if (known !== undefined && known.until > now()) return known.places;
      const places = look(call);
      if (cache.size >= maxCached) cache.clear();
      cache.set(key, { until: now() + cacheMs, places });
      return places;
    },
    close: () => forgets.forEach((each) => each()),
  };
}
