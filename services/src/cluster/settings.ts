import { ClusterConfigSchema, SpoolError, type ClusterConfig, type Violation } from '@spool/schemas';
import { clusterConfigKey, followClusterConfig, type Instance } from '@spool/streams';
import { z } from 'zod';
import { orderRecords, type Actor } from '../consumers/index.js';
import { exclusively } from '../exclusive/index.js';
import { checkIfMatch } from '../http/index.js';

const ms = (least: number, most: number) => z.int().min(least).max(most);
/** What may be changed while the cluster runs. */
export const clusterSettings = z.strictObject({
  heartbeatMs: ms(100, 60_000).describe('Time between two heartbeats of an instance'),
  suspectAfterMissed: z.int().min(1).max(100).describe('Heartbeats missed before an instance is suspect'),
  downMs: ms(500, 3_600_000).describe('Silence after which an instance is down'),
  forgetMs: ms(60_000, 30 * 24 * 3_600_000).describe('Time after which an instance that is down or gone is forgotten'),
  // Renewed three times in that time: whoever is busy for a second or two is not to lose what it holds.
  leaseMs: ms(5000, 600_000).describe('Time after which a lease that is not renewed is free again'),
  nodeEvents: z.enum(['kafka', 'http']).describe('How events of nodes go to other nodes; over http what is not taken goes over Kafka'),
});
type Settings = z.infer<typeof clusterSettings>;
/** What is left out stays. */
export type SettingsPatch = { readonly [K in keyof Settings]?: Settings[K] | undefined };

export interface SettingsService {
  readonly current: ClusterConfig;
  /**
   * Changes what is given, if the settings are still at the version that `ifMatch` names. Every instance follows at once.
   * @throws SpoolError PRECONDITION_FAILED, INVALID_REQUEST (times that contradict each other), UNAVAILABLE (somebody else writes)
   */
  change(patch: SettingsPatch, ifMatch: string | undefined, actor: Actor): Promise<ClusterConfig>;
}

const followWithinMs = 5000;

export async function openSettings(instance: Instance): Promise<SettingsService> {
  const { kafka, codec, topics, now, config, log } = instance;
  const exclusive = exclusively(instance, 'spool.cluster.config');
  const encoder = await codec.encoder(topics.clusterConfig.name, ClusterConfigSchema);
  const { audit } = await orderRecords(instance);
  const onError = (error: unknown): void => log('warn', 'the settings of the cluster cannot be read', { error: String(error) });
  return {
    get current() {
      return config.current;
    },
    change: (patch, ifMatch, actor) =>
      exclusive(async (commit) => {
        const before = await followClusterConfig({ kafka, codec, topics, onError });
        await before.close();
        checkIfMatch(ifMatch, before.current.version);
        const changed = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Partial<Settings>;
        const next = { ...before.current, ...changed, version: before.current.version + 1, actor: actor.name, at: now() };
        refuseContradictions(next);
        await commit([
          { topic: topics.clusterConfig.name, key: clusterConfigKey, value: encoder.encode(next) },
          audit(actor, 'cluster.config', clusterConfigKey, JSON.stringify(changed)),
        ]);
        await followed(instance, next.version);
        return next;
      }),
  };
}

function refuseContradictions({ heartbeatMs, suspectAfterMissed, downMs }: ClusterConfig): void {
  const suspectMs = heartbeatMs * suspectAfterMissed;
  if (downMs >= suspectMs) return;
  const violations: Violation[] = [{ pointer: '/downMs', message: `Expected ${suspectMs} at least: suspect comes before down` }];
  throw new SpoolError(
    'INVALID_REQUEST',
    `an instance would be down after ${downMs} ms and suspect only after ${suspectAfterMissed} x ${heartbeatMs} ms`,
    { violations },
  );
}

/** Whoever gets the answer may read the settings at once. */
function followed({ config }: Instance, version: number): Promise<void> {
  if (config.current.version >= version) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      forget();
      resolve();
    };
    const timer = setTimeout(done, followWithinMs);
    const forget = config.onChange((current) => {
      if (current.version >= version) done();
    });
  });
}
