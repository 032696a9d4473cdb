import {
  ReadModelAliasSchema,
  SpoolError,
  type ReadModelAlias,
  type ReadModelCopy,
  type ReplayJob,
  type TopicOffset,
} from '@spool/schemas';
import { copyConsumer, type Aliases } from '@spool/sdk';
import type { Instance, ProducerRecord } from '@spool/streams';
import type { Action, State } from './transitions.js';

const first: ReadModelCopy = { id: '', replayId: null, starts: [], targets: [], instance: null };

/** Unique, and fit for the name of a consumer and of a topic. */
const copyId = (job: Pick<ReplayJob, 'id'>): string => `r${job.id.slice(0, 8)}`;
/** The consumer that builds the copy of a replay. */
export const builder = (job: Pick<ReplayJob, 'id' | 'consumer'>): string => copyConsumer(job.consumer, copyId(job));

const placesOf = (job: ReplayJob, which: 'start' | 'target'): TopicOffset[] =>
  job.partitions.map(({ topic, partition, [which]: offset }) => ({ topic, partition, offset }));

/** How the alias of a read model follows its replay. */
export async function aliasRecords({ codec, topics, now }: Pick<Instance, 'codec' | 'topics' | 'now'>, aliases: Aliases) {
  const encoder = await codec.encoder(topics.aliases.name, ReadModelAliasSchema);
  const row = (job: ReplayJob, rest: Pick<ReadModelAlias, 'phase'> & Partial<ReadModelAlias>): ProducerRecord => {
    const before = aliases.get(job.consumer);
    const value: ReadModelAlias = {
      consumer: job.consumer,
      replayId: job.id,
      live: before?.live ?? first,
      standby: before?.standby ?? null,
      cut: [],
      generation: (before?.generation ?? 0) + 1,
      updatedAt: now(),
      ...rest,
    };
    return { topic: topics.aliases.name, key: job.consumer, value: encoder.encode(value) };
  };
  return {
    /** Instances begin to build the copy. @param only of them does it, and compares */
    build(job: ReplayJob, only: string | null): ProducerRecord {
      const standby = {
        id: copyId(job),
        replayId: job.id,
        starts: placesOf(job, 'start'),
        targets: placesOf(job, 'target'),
        instance: only,
      };
      return row(job, { standby, phase: only === null ? 'building' : 'comparing' });
    },
    /** The copies are brought to the cut, each on its side of it. @throws SpoolError INVALID_REQUEST when there is no other copy any more */
    handOver(job: ReplayJob, cut: readonly TopicOffset[]): ProducerRecord {
      if (aliases.get(job.consumer)?.standby == null)
        throw new SpoolError('INVALID_REQUEST', `the other copy of ${job.target} has been dropped`);
      return row(job, { phase: 'handover', cut });
    },
    /** The other copy answers from now on; the one before stays where it is. */
    flip(job: ReplayJob): ProducerRecord {
      const { live, standby, cut } = aliases.get(job.consumer)!;
      return row(job, { live: standby!, standby: live, phase: 'kept', cut });
    },
    /** Both go on. */
    release: (job: ReplayJob): ProducerRecord => row(job, { phase: 'building' }),
    /** The copy that does not answer goes. */
    drop: (job: ReplayJob): ProducerRecord => row(job, { standby: null, phase: 'building' }),
  };
}

export type AliasRecords = Awaited<ReturnType<typeof aliasRecords>>;

/** What becomes of the alias with an order. @param cut where the log ends */
export function aliasAfter(
  records: AliasRecords,
  job: ReplayJob,
  action: Action,
  state: State,
  cut: readonly TopicOffset[],
): readonly ProducerRecord[] {
  if (job.mode !== 'shadow' && job.mode !== 'scratch') return [];
  if (state === 'cancelled' || action === 'drop') return [records.drop(job)];
  if (state === 'promoting' || state === 'rollingBack') return [records.handOver(job, cut)];
  return action === 'rollback' ? [records.release(job)] : [];
}
