import { SpoolError, type SchemaRegistry } from '@spool/schemas';
import {
  logEnds,
  offset,
  partitionKey,
  topicCatalogue,
  type Kafka,
  type Producer,
  type ProducerRecord,
  type TopicSpec,
} from '@spool/streams';
import { fileOf, readRecords } from './files.js';
import { backupId, type Manifest, type SavedTopic } from './manifest.js';
import { openRelocating, type Relocating } from './relocating.js';
import { lastRestored, tellRestored } from './restored.js';
import { isCompacted } from './topics.js';
import { savedPartitions, verifyBackUp } from './verify.js';

export interface RestoreOptions {
  readonly kafka: Kafka;
  readonly folder: string;
  /** Asked for schemas that the back-up itself does not hold. @default nobody */
  readonly schemas?: SchemaRegistry;
  readonly onTopic?: (topic: SavedTopic) => void;
  readonly signal?: AbortSignal;
}

const batchRecords = 500;
const batchBytes = 4 * 1024 * 1024;

/**
 * Writes a back-up to a cluster where its topics hold nothing: partitions, order, keys, headers and times as they were. Offsets are others, and what
 * names an offset follows. When it was stopped the same call goes on where it was; nothing may use the topics before it is done.
 * @throws SpoolError BACKUP_DAMAGED, TOPIC_NOT_EMPTY, PARTITIONS_CHANGED, SCHEMA_UNKNOWN; nothing has been written then
 */
export async function restore(options: RestoreOptions): Promise<Manifest> {
  const { kafka, folder, signal } = options;
  // 1. The back-up is whole, and can be read.
  const { manifest, problems } = await verifyBackUp(folder, signal);
  if (problems.length > 0) throw new SpoolError('BACKUP_DAMAGED', problems.join('; '));
  const relocating = await openRelocating(folder, manifest, options.schemas);

  // 2. The topics are empty, or have what an earlier call of this restore wrote.
  const topics = topicCatalogue({ namespace: manifest.namespace });
  const backup = backupId(manifest);
  const last = await lastRestored(kafka, topics);
  const specs = manifest.topics.map(specOf);
  if (last?.state !== 'running') {
    await refuseRecords(kafka, manifest);
    await kafka.admin.ensureTopics(specs);
    await tellRestored(kafka, topics, { backup, state: 'running' });
  } else if (last.backup !== backup) {
    throw new SpoolError('TOPIC_NOT_EMPTY', `another back-up, ${last.backup}, is restored here, and not to its end`);
  }

  // 3. The records, then where the groups were.
  await using producer = await kafka.producer();
  for (const topic of manifest.topics) {
    await restoreTopic(options, producer, topic, relocating);
    options.onTopic?.(topic);
  }
  for (const { id, offsets } of manifest.groups) {
    const places = offsets.flatMap(({ topic, partition, offset: at }) => {
      const to = relocating.relocate({ topic, partition, offset: offset(at) });
      return to === undefined ? [] : [{ topic, partition, offset: to }];
    });
    await kafka.admin.commitOffsets(id, places);
  }
  await tellRestored(kafka, topics, { backup, state: 'done' });
  return manifest;
}

function specOf({ name, partitions, config }: SavedTopic): TopicSpec {
  const { 'cleanup.policy': _, ...rest } = config;
  const retentionMs = Number(config['retention.ms'] ?? -1);
  return { name, partitions: partitions.length, cleanup: isCompacted(config) ? 'compact' : 'delete', retentionMs, config: rest };
}

async function refuseRecords(kafka: Kafka, manifest: Manifest): Promise<void> {
  const there = new Set(await kafka.admin.listTopics());
  const ends = await logEnds(
    kafka,
    manifest.topics.map(({ name }) => name).filter((name) => there.has(name)),
  );
  const full = [...ends].filter(([, end]) => end > 0n).map(([key, end]) => `${key} (${end})`);
  if (full.length > 0) throw new SpoolError('TOPIC_NOT_EMPTY', `${full.join(', ')}: a back-up is restored onto empty topics`);
}

async function restoreTopic(options: RestoreOptions, producer: Producer, topic: SavedTopic, { rewrite }: Relocating): Promise<void> {
  const { kafka, folder, signal } = options;
  const { name } = topic;
  const before = await logEnds(kafka, [name]);
  for (const partition of topic.partitions.keys()) {
    const at = { topic: name, partition };
    // What is there is the beginning of the file: each record of it has its place as its offset.
    let skip = Number(before.get(partitionKey(at)) ?? 0);
    let batch: ProducerRecord[] = [];
    let bytes = 0;
    const send = async (): Promise<void> => {
      await producer.sendAll(batch);
      [batch, bytes] = [[], 0];
    };
    for await (const record of readRecords(fileOf(folder, at))) {
      if (skip-- > 0) continue;
      signal?.throwIfAborted();
      const { key, value, headers, timestamp } = await rewrite(topic, partition, record);
      batch.push({ ...at, key, value, headers, timestamp });
      bytes += (key?.length ?? 0) + (value?.length ?? 0);
      if (batch.length >= batchRecords || bytes >= batchBytes) await send();
    }
    await send();
  }
  const after = await logEnds(kafka, [name]);
  for (const { partition, records } of savedPartitions({ topics: [topic] })) {
    const end = after.get(partitionKey({ topic: name, partition }));
    if (end !== BigInt(records)) {
      throw new SpoolError('TOPIC_NOT_EMPTY', `${name}-${partition} ends at ${end} after ${records} records: somebody else writes there`);
    }
  }
}
