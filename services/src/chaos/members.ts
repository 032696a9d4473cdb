import { BundleAnnouncedSchema, BundleLeftSchema, HeartbeatSchema, messageHeaders, type Codec, type Heartbeat } from '@spool/schemas';
import type { Producer, TopicCatalogue } from '@spool/streams';

/** One run of an instance, as it speaks of itself. */
export interface Run {
  readonly instance: string;
  readonly bundle: string;
  readonly version: string;
  readonly incarnation: string;
  readonly startedAt: number;
}

/** What instances say, without the instances. */
export interface Voice {
  announce(run: Run): Promise<void>;
  leave(run: Run): Promise<void>;
  beat(runs: readonly Run[], health: Heartbeat['health']): Promise<void>;
}

export async function openVoice(codec: Codec, topics: TopicCatalogue, producer: Producer): Promise<Voice> {
  const announced = await codec.encoder(topics.announcements.name, BundleAnnouncedSchema);
  const left = await codec.encoder(topics.announcements.name, BundleLeftSchema);
  const beats = await codec.encoder(topics.heartbeats.name, HeartbeatSchema);
  const publish = async ({ bundle, version, instance }: Run, type: string, value: Buffer): Promise<void> => {
    const headers = messageHeaders({ id: `${instance}/${type}`, type, source: instance, time: Date.now() });
    await producer.send({ topic: topics.announcements.name, key: `${bundle}@${version}`, value, headers });
  };
  return {
    announce(run) {
      const { bundle: id, version } = run;
      const descriptor = JSON.stringify({ id, version, description: '', components: [], payloads: [] });
      return publish(
        run,
        BundleAnnouncedSchema.fullName,
        announced.encode({ ...named(run), host: 'chaos', pid: 1, descriptor, at: Date.now() }),
      );
    },
    leave: (run) => publish(run, BundleLeftSchema.fullName, left.encode({ ...named(run), at: Date.now() })),
    async beat(runs, health) {
      const load = { inFlight: 0, eventLoopLagMs: 0, cpu: 0, rssBytes: 0, processors: [] };
      await producer.sendAll(
        runs.map((run) => ({
          topic: topics.heartbeats.name,
          key: run.instance,
          value: beats.encode({ ...run, ...load, health, host: 'chaos', pid: 1, location: null, at: Date.now() }),
        })),
      );
    },
  };
}

const named = ({ startedAt: _, ...run }: Run): Omit<Run, 'startedAt'> => run;
