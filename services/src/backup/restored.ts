import { SpoolError } from '@spool/schemas';
import { readToEnd, type Kafka, type TopicCatalogue } from '@spool/streams';

/** What the topic `restored` says: of which back-up these topics are, and whether all of it is there. */
export interface Restored {
  readonly backup: string;
  readonly state: 'running' | 'done';
}

const key = 'restored';

export async function lastRestored(kafka: Kafka, { restored }: TopicCatalogue): Promise<Restored | undefined> {
  if (!(await kafka.admin.listTopics()).includes(restored.name)) return undefined;
  let last: Restored | undefined;
  await readToEnd({
    kafka,
    partition: { topic: restored.name, partition: 0 },
    from: 'earliest',
    apply: (records) => {
      for (const { value } of records) if (value !== null) last = JSON.parse(value.toString()) as Restored;
      return Promise.resolve();
    },
  });
  return last;
}

export async function tellRestored(kafka: Kafka, { restored }: TopicCatalogue, of: Restored): Promise<void> {
  await kafka.admin.ensureTopics([restored]);
  await using producer = await kafka.producer();
  await producer.send({ topic: restored.name, key, value: Buffer.from(JSON.stringify(of)) });
}

/** For whoever is about to work on the topics. @throws SpoolError RESTORE_UNFINISHED when a restore stopped on its way */
export async function refuseHalfRestored(kafka: Kafka, topics: TopicCatalogue): Promise<void> {
  const last = await lastRestored(kafka, topics);
  if (last?.state === 'running') throw new SpoolError('RESTORE_UNFINISHED', `the back-up ${last.backup} is not restored to its end`);
}
