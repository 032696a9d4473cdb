import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { BundleAnnouncedSchema, BundleLeftSchema, messageHeaders } from '@spool/schemas';
import type { Instance } from '@spool/streams';
import type { BundleDescriptor } from '../bundle/descriptor.js';

export interface Announcements {
  /** Says what this instance holds, and says it again now and then: whatever became of the registry, it is found again. */
  join(descriptor: BundleDescriptor): Promise<void>;
  /** The last word; it may be called again, and never rejects. */
  leave(): Promise<void>;
}

/** Announcing the same again writes no row. */
const againMs = 30_000;

/** Tells the registry of this instance. What leaving takes is made ready at the start, so that it needs no schema registry. */
export async function openAnnouncements(instance: Instance): Promise<Announcements> {
  const { codec, topics, producer, bundle, version, id, incarnation, now, log } = instance;
  const topic = topics.announcements.name;
  const announced = await codec.encoder(topic, BundleAnnouncedSchema);
  const left = await codec.encoder(topic, BundleLeftSchema);
  const of = { bundle, version, instance: id, incarnation };
  const publish = async (type: string, value: Buffer): Promise<void> => {
    const headers = messageHeaders({ id: randomUUID(), type, source: id, time: now() });
    await producer.send({ topic, key: `${bundle}@${version}`, value, headers });
  };
  const warn =
    (message: string) =>
    (error: unknown): void =>
      log('warn', message, { error: String(error) });
  let again: NodeJS.Timeout | undefined;
  let leaving: Promise<void> | undefined;
  return {
    async join(descriptor) {
      const text = JSON.stringify(descriptor);
      const announce = (): Promise<void> =>
        publish(
          BundleAnnouncedSchema.fullName,
          announced.encode({ ...of, host: hostname(), pid: process.pid, descriptor: text, at: now() }),
        );
      await announce();
      again = setInterval(() => void announce().catch(warn('the registry was not told again')), againMs);
    },
    leave() {
      clearInterval(again);
      return (leaving ??= publish(BundleLeftSchema.fullName, left.encode({ ...of, at: now() })).catch(
        warn('could not take leave of the registry'),
      ));
    },
  };
}
