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
  find(wanted: Wanted): readonly Place[];
}
/** By the type of the message, and of a stream by those of its events too. */
export type Wanted = Pick<Call, 'kind' | 'type'> | { readonly kind: 'stream'; readonly type: string; readonly events: readonly string[] };
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
  const bundleOf = (wanted: Wanted): string | undefined => {
    if (wanted.kind !== 'stream') return registry.payload(wanted.kind, wanted.type)?.bundle;
    const gives = ({ command, events }: { command: string; events: string[] }): boolean =>
      command === wanted.type && wanted.events.every((each) => events.includes(each));
    return registry.components().find(({ streams }) => streams?.some(gives) === true)?.bundle;
  };
  const look = (wanted: Wanted): readonly Place[] => {
    const bundle = bundleOf(wanted);
    if (bundle === undefined) return [];
    const rows = instances.live(bundle).filter(({ location, host }) => {
      // That of another machine means that machine.
      return location !== null && (host === hostname() || !loopback.test(location));
    });
    const up = rows.filter(({ state }) => state === 'up');
    return (up.length > 0 ? up : rows).map(({ instance, location }) => ({ instance, url: location! }));
  };
  return {
    find(wanted) {
      const key = [wanted.kind, wanted.type, ...(wanted.kind === 'stream' ? wanted.events : [])].join('/');
      const known = cache.get(key);
      if (known !== undefined && known.until > now()) return known.places;
      const places = look(wanted);
      if (cache.size >= maxCached) cache.clear();
      cache.set(key, { until: now() + cacheMs, places });
      return places;
    },
    close: () => forgets.forEach((each) => each()),
  };
}
