import { platformSettings, readEnvironment, type PlatformSettings } from '@spool/sdk';
import { z } from 'zod';

const environment = z.object({
  SCHEMA_REGISTRY_URL: z.url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' }),
  SPOOL_DATA_DIR: z.string().default('.spool/bundles/flights'),
  SPOOL_INSTANCE: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and dashes, such as flights-0')
    .default('flights-0'),
  SPOOL_FLIGHTS_FEED: z.enum(['on', 'off'], 'must be on or off').default('on'),
  SPOOL_FLIGHTS_BUG: z.enum(['on', 'off'], 'must be on or off').default('off'),
  SPOOL_FLIGHTS_RATE: z.coerce.number('must be a number').min(0, 'must be 0 at least').max(100_000, 'must be 100000 at most').default(400),
});

export interface FlightsSettings extends PlatformSettings {
  readonly schemaRegistryUrl: string;
  readonly dataDir: string;
  readonly instance: string;
  readonly feed: boolean;
  /** See `FlightsOptions.bug`. */
  readonly bug: boolean;
  /** 0 for no limit. */
  readonly flightsPerSecond: number;
}

/** @throws SpoolError INVALID_CONFIG that lists every problem */
export function flightsSettings(env: Readonly<Record<string, string | undefined>>): FlightsSettings {
  const set = readEnvironment(environment, env);
  return {
    ...platformSettings(env),
    schemaRegistryUrl: set.SCHEMA_REGISTRY_URL,
    dataDir: set.SPOOL_DATA_DIR,
    instance: set.SPOOL_INSTANCE,
    feed: set.SPOOL_FLIGHTS_FEED === 'on',
    bug: set.SPOOL_FLIGHTS_BUG === 'on',
    flightsPerSecond: set.SPOOL_FLIGHTS_RATE,
  };
}
