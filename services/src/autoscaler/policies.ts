import { ScalingPolicySchema, SpoolError, type ScalingPolicy } from '@spool/schemas';
import { readTable, type Instance } from '@spool/streams';
import { z } from 'zod';
import { orderRecords, type Actor } from '../consumers/index.js';
import { exclusively } from '../exclusive/index.js';
import { checkIfMatch } from '../http/index.js';

const instances = z.int().min(0).max(10_000);
const ms = z
  .int()
  .min(0)
  .max(24 * 3_600_000);
/** What the owner of a bundle may say; what is left out is as before, and at first as it is by default. */
export const scalingPolicy = z.strictObject({
  min: instances.describe('Least instances'),
  max: instances.describe('Most instances'),
  targetUtilisation: z.number().min(0.05).max(1).describe("Part of an instance's time that is to be used"),
  drainMs: ms.min(1000).describe('What waits is to be handled within this time'),
  upHoldMs: ms.describe('So long more must be wanted before there are more'),
  downHoldMs: ms.describe('So long fewer must be enough before there are fewer'),
});
type Bounds = z.infer<typeof scalingPolicy>;
export type PolicyPatch = { readonly [K in keyof Bounds]?: Bounds[K] | undefined };

/** One instance, until its owner says how many there may be: nobody finds instances that were not asked for. */
const byDefault: Bounds = { min: 1, max: 1, targetUtilisation: 0.7, drainMs: 30_000, upHoldMs: 10_000, downHoldMs: 300_000 };

export interface Policies extends AsyncDisposable {
  /** Version 0: nobody has said anything about it. */
  of(bundle: string): ScalingPolicy;
  /**
   * Changes what is given, if the policy is still at the version that `ifMatch` names; the next decision follows it.
   * @throws SpoolError PRECONDITION_FAILED, INVALID_REQUEST (fewer at the most than at the least), UNAVAILABLE (somebody else writes)
   */
  change(bundle: string, patch: PolicyPatch, ifMatch: string | undefined, actor: Actor): Promise<ScalingPolicy>;
  close(): Promise<void>;
}

export async function openPolicies(instance: Instance): Promise<Policies> {
  const { kafka, codec, topics, now, log } = instance;
  const exclusive = exclusively(instance, 'spool.autoscale.policies');
  const topic = topics.scalingPolicies.name;
  const encoder = await codec.encoder(topic, ScalingPolicySchema);
  const decoder = codec.decoder(ScalingPolicySchema);
  const { audit } = await orderRecords(instance);
  const read = () =>
    readTable<ScalingPolicy>({
      kafka,
      topic,
      onError: (error) => log('warn', 'a scaling policy cannot be read', { error: String(error) }),
      decode: (_, value) => decoder.decode(value),
    });
  const table = await read();
  const orDefault = (row: ScalingPolicy | undefined, bundle: string): ScalingPolicy =>
    row ?? { bundle, ...byDefault, version: 0, actor: '', at: 0 };
  return {
    of: (bundle) => orDefault(table.get(bundle), bundle),
    change: (bundle, patch, ifMatch, actor) =>
      exclusive(async (commit) => {
        // Read anew: the table may be behind what another gateway has written.
        const fresh = await read();
        await fresh.close();
        const before = orDefault(fresh.get(bundle), bundle);
        checkIfMatch(ifMatch, before.version);
        const changed = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Partial<Bounds>;
        const next = { ...before, ...changed, version: before.version + 1, actor: actor.name, at: now() };
        if (next.max < next.min) {
          const violations = [{ pointer: '/max', message: `Expected ${next.min} at least: there are never fewer` }];
          throw new SpoolError('INVALID_REQUEST', `${bundle} would have ${next.max} instances at the most and ${next.min} at the least`, {
            violations,
          });
        }
        await commit([
          { topic, key: bundle, value: encoder.encode(next) },
          audit(actor, 'autoscale.policy', bundle, JSON.stringify(changed)),
        ]);
        return next;
      }),
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}
