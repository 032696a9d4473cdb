import { SpoolError, type InstanceRow } from '@spool/schemas';
import type { Instances } from '@spool/sdk';
import { instanceTarget, platformBundle, type Instance } from '@spool/streams';
import { orderRecords, type Actor } from '../consumers/index.js';
import { exclusively } from '../exclusive/index.js';

export interface Drains {
  /**
   * Orders an instance to finish what is under way and stop its processors; it stays, and says when it is drained.
   * @throws SpoolError UNKNOWN_INSTANCE; INVALID_REQUEST for one that does not run, or the last of the platform
   */
  order(instance: string, reason: string, actor: Actor): Promise<InstanceRow>;
}

export async function openDrains(instance: Instance, instances: Instances): Promise<Drains> {
  const records = await orderRecords(instance);
  const exclusive = exclusively(instance, 'spool.cluster.drain');
  return {
    order: (id, reason, actor) =>
      exclusive(async (commit) => {
        const row = drainable(instances, id);
        if (row.state === 'draining') return row;
        const order = records.order({ consumer: instanceTarget(id), action: 'drain', reason, actor: actor.name });
        await commit([order, records.audit(actor, 'instance.drain', id, reason)]);
        return row;
      }),
  };
}

function drainable(instances: Instances, id: string): InstanceRow {
  const row = instances.get(id);
  if (row === undefined) throw new SpoolError('UNKNOWN_INSTANCE', `there is no instance ${id}`);
  if (row.state === 'down' || row.state === 'gone') {
    throw new SpoolError('INVALID_REQUEST', `instance ${id} is ${row.state}: there is nothing to drain`);
  }
  if (row.bundle === platformBundle && instances.live(platformBundle).every((other) => other.instance === id)) {
    throw new SpoolError('INVALID_REQUEST', `instance ${id} is the last of the platform: nobody would be left to keep the cluster's state`);
  }
  return row;
}
