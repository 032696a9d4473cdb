import {
  BundleAnnouncedSchema,
  BundleLeftSchema,
  BundleRowSchema,
  headerNames,
  type BundleAnnounced,
  type BundleLeft,
  type BundleRow,
} from '@spool/schemas';
import {
  checkpointCodec,
  transactionalWork,
  type Instance,
  type ProcessorDefinition,
  type TaskRequest,
  type TaskWork,
} from '@spool/streams';

const rowsTable = 'bundles';
/** Rows of bundles have this prefix; the task's checkpoint lies beside them. */
export const bundlePrefix = 'b/';

/**
 * Projects announcements into `registry.bundles`. Each announcement of a version raises its generation; a row loses an instance by an
 * explicit leave alone, and a leave that is older than the instance's latest announcement changes nothing.
 */
export function registryProcessor(instance: Instance): ProcessorDefinition {
  const { topics } = instance;
  return {
    consumer: 'spool.registry',
    sources: [topics.announcements.name],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => openTask(instance, task),
  };
}

/** A row of the store: as on the topic, and when each instance announced itself. */
interface StoredRow extends BundleRow {
  readonly announcedAt: Readonly<Record<string, number>>;
}

async function openTask(instance: Instance, task: TaskRequest): Promise<TaskWork> {
  const { codec, topics, now } = instance;
  const changelog = { topic: topics.bundles.name, partition: Number(task.id) };
  const rowEncoder = await codec.encoder(changelog.topic, BundleRowSchema);
  const checkpoints = await checkpointCodec(instance, changelog.topic);
  const rowDecoder = codec.decoder(BundleRowSchema);
  const announced = codec.decoder(BundleAnnouncedSchema);
  const left = codec.decoder(BundleLeftSchema);
  const generation = task.assignment?.generation ?? 0;

  return transactionalWork({
    kafka: instance.kafka,
    consumer: 'spool.registry',
    deadLetterTopic: topics.deadLetters('spool.registry').name,
    task: task.id,
    generation,
    now,
    store: instance.openStore('spool.registry', task.id),
    changelog,
    signal: task.signal,
    ...checkpoints,
    restore: [
      {
        partition: changelog,
        fromCovered: false,
        async apply(record, table) {
          const key = record.key?.toString() ?? '';
          if (!key.startsWith(bundlePrefix)) return;
          const rows = table<StoredRow>(rowsTable);
          if (record.value === null) rows.delete(key);
          else {
            const row = await rowDecoder.decode(record.value);
            rows.put(key, { ...row, announcedAt: Object.fromEntries(row.instances.map((id) => [id, row.updatedAt])) });
          }
        },
      },
    ],
    async handle(record, tx) {
      if (record.value === null) return;
      const rows = tx.table<StoredRow>(rowsTable);
      const type = record.headers[headerNames.type]?.toString();
      const before = (key: string): StoredRow | undefined => rows.get(key);
      const next =
        type === BundleLeftSchema.fullName
          ? leave(await left.decode(record.value), before)
          : join(await announced.decode(record.value), before);
      if (next === undefined) return;
      const key = keyOf(next);
      rows.put(key, next);
      const { announcedAt: _, ...row } = next;
      tx.emit({ ...changelog, key, value: rowEncoder.encode(row) });
    },
  });
}

const keyOf = ({ bundle, version }: { bundle: string; version: string }): string => `${bundlePrefix}${bundle}@${version}`;

function join(event: BundleAnnounced, before: (key: string) => StoredRow | undefined): StoredRow {
  const row = before(keyOf(event));
  const { bundle, version, descriptor, instance, at } = event;
  const announcedAt = { ...row?.announcedAt, [instance]: at };
  return {
    bundle,
    version,
    generation: (row?.generation ?? 0) + 1,
    descriptor,
    instances: Object.keys(announcedAt).sort(),
    updatedAt: at,
    announcedAt,
  };
}

function leave(event: BundleLeft, before: (key: string) => StoredRow | undefined): StoredRow | undefined {
  const row = before(keyOf(event));
  const since = row?.announcedAt[event.instance];
  if (row === undefined || since === undefined || since > event.at) return undefined;
  const { [event.instance]: _, ...announcedAt } = row.announcedAt;
  return { ...row, generation: row.generation + 1, instances: Object.keys(announcedAt).sort(), updatedAt: event.at, announcedAt };
}
