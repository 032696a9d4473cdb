import { BundleAnnouncedSchema, BundleLeftSchema, BundleRowSchema, headerNames, toSpoolError, type BundleRow } from '@spool/schemas';
import { rowsWork, type ConsumedRecord, type Instance, type ProcessorDefinition, type TaskRequest, type TaskWork } from '@spool/streams';
import { joined, left, rowKey } from './membership.js';

const rowsTable = 'bundles';
/** Rows of bundles have this prefix; the task's checkpoint lies beside them. */
const bundlePrefix = 'b/';

/**
 * Projects announcements into `registry.bundles`, transitions alone: what is announced again changes nothing. A row loses an instance by an explicit
 * leave alone, and a leave of an earlier run of the instance wipes nothing.
 */
export function registryProcessor(instance: Instance): ProcessorDefinition {
  const { topics } = instance;
  const consumer = `${topics.namespace}spool.registry`;
  return {
    consumer,
    sources: [topics.announcements.name],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => openTask(instance, consumer, task),
  };
}

async function openTask(instance: Instance, consumer: string, task: TaskRequest): Promise<TaskWork> {
  const { codec, topics, log } = instance;
  const changelog = { topic: topics.bundles.name, partition: Number(task.id) };
  const rowEncoder = await codec.encoder(changelog.topic, BundleRowSchema);
  const rowDecoder = codec.decoder(BundleRowSchema);
  const announcements = codec.decoder(BundleAnnouncedSchema);
  const leaves = codec.decoder(BundleLeftSchema);
  type Before = (of: { readonly bundle: string; readonly version: string }) => BundleRow | undefined;
  const next = async (record: ConsumedRecord, value: Buffer, before: Before): Promise<BundleRow | undefined> => {
    if (record.headers[headerNames.type]?.toString() === BundleLeftSchema.fullName) {
      const event = await leaves.decode(value);
      return left(before(event), event);
    }
    const event = await announcements.decode(value);
    return joined(before(event), event);
  };

  return rowsWork({
    instance,
    task,
    consumer,
    topic: changelog.topic,
    prefix: bundlePrefix,
    table: rowsTable,
    idOf: (key) => key,
    decode: (value) => rowDecoder.decode(value),
    async handle(record, context) {
      if (record.value === null) return;
      const rows = context.table<BundleRow>(rowsTable);
      let row: BundleRow | undefined;
      try {
        row = await next(record, record.value, (of) => rows.get(bundlePrefix + rowKey(of)));
      } catch (thrown) {
        // Parked, it would hold up every later announcement of its bundle.
        if (toSpoolError(thrown).entry.retryable === 'backoff') throw thrown;
        log('warn', 'an announcement cannot be read', { offset: String(record.offset), error: String(thrown) });
        return;
      }
      if (row === undefined) return;
      const key = bundlePrefix + rowKey(row);
      rows.put(key, row);
      context.emit({ ...changelog, key, value: rowEncoder.encode(row) });
    },
  });
}
