import { mkdir, readdir } from 'node:fs/promises';
import { SpoolError } from '@spool/schemas';
import { offset, partitionKey, platformBundle, type Kafka, type Offset, type Reader, type TopicPartition } from '@spool/streams';
import { consistentCut } from './cut.js';
import { fileOf, writeRecords, type SavedRecord } from './files.js';
import { writeManifest, type Manifest, type SavedTopic } from './manifest.js';
import { chosenTopics, isCompacted, keptConfig } from './topics.js';

export interface BackUpOptions {
  readonly kafka: Kafka;
  /** Made where it is missing; refused where it holds anything. */
  readonly folder: string;
  /** With its dot, or empty. */
  readonly namespace: string;
  /** Names of topics, or beginnings of names with a star. @default all of the namespace that cannot be made anew */
  readonly topics?: readonly string[];
  /** How long to look for a moment without a transaction, in milliseconds. @default 30000 */
  readonly cutWithinMs?: number;
  readonly now: () => number;
  readonly onTopic?: (topic: SavedTopic) => void;
  readonly signal?: AbortSignal;
}

/** A partition that gives nothing for so long is given up. */
const stalledMs = 60_000;

/**
 * Writes the committed records of topics to files, up to one cut over all of them. The platform may go on meanwhile.
 * @throws SpoolError INVALID_REQUEST (the folder holds something), UNKNOWN_TOPIC, UNAVAILABLE (no moment for a cut)
 */
export async function backUp(options: BackUpOptions): Promise<Manifest> {
  const { kafka, folder, namespace, now, signal } = options;
  // 1. What there is.
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0)
    throw new SpoolError('INVALID_REQUEST', `${folder} is not empty: a back-up has a folder of its own`);
  const names = chosenTopics(await kafka.admin.listTopics(), namespace, options.topics ?? []);
  const described = await kafka.admin.describeTopics(names);
  const partitionsOf = (compacted: boolean): TopicPartition[] =>
    described
      .filter(({ config }) => isCompacted(config) === compacted)
      .flatMap(({ name: topic, partitions }) => Array.from({ length: partitions }, (_, partition) => ({ topic, partition })));

  // 2. Where it is cut. What groups have committed is asked before, so that it lies behind what they have handled.
  const groups = await committed(kafka, names);
  const createdAt = new Date(now()).toISOString();
  const cut = await consistentCut({
    kafka,
    journals: partitionsOf(true),
    others: partitionsOf(false),
    withinMs: options.cutWithinMs ?? 30_000,
    ...(signal === undefined ? {} : { signal }),
  });

  // 3. The files, and at last the manifest.
  const topics: SavedTopic[] = [];
  const reader = await kafka.reader();
  try {
    for (const topic of described) {
      const saved: SavedTopic = { name: topic.name, config: keptConfig(topic), partitions: [] };
      for (const { partition, earliest } of await kafka.admin.offsets(topic.name)) {
        const at = { topic: topic.name, partition };
        const end = cut.get(partitionKey(at)) ?? earliest;
        const start = earliest < end ? earliest : end;
        const written = await writeRecords(fileOf(folder, at), recordsOf(reader, at, start, end, signal));
        saved.partitions.push({ start: start.toString(), end: end.toString(), ...written });
      }
      topics.push(saved);
      options.onTopic?.(saved);
    }
  } finally {
    await reader.close();
  }
  const manifest: Manifest = { format: 1, createdAt, namespace, topics, groups };
  await writeManifest(folder, manifest);
  return manifest;
}

/** With or without a namespace. What they read goes to ClickHouse, which is filled again from the first event on. */
const ofPlatform = new RegExp(`^([a-z][a-z0-9-]*\\.)?${platformBundle}\\.`);

async function committed({ admin }: Kafka, topics: readonly string[]): Promise<Manifest['groups']> {
  const groups: Manifest['groups'] = [];
  for (const id of await admin.listGroups()) {
    if (ofPlatform.test(id)) continue;
    const found = await admin.committedOffsets(id, topics);
    const offsets = found.map(({ topic, partition, offset: at }) => ({ topic, partition, offset: at.toString() }));
    if (offsets.length > 0) groups.push({ id, offsets });
  }
  return groups;
}

async function* recordsOf(
  reader: Reader,
  at: TopicPartition,
  start: Offset,
  end: Offset,
  signal: AbortSignal | undefined,
): AsyncGenerator<SavedRecord> {
  if (start >= end) return;
  reader.assign(at, start);
  let next = start;
  let movedAt = performance.now();
  try {
    while (next < end) {
      signal?.throwIfAborted();
      for (const { records, nextOffset } of await reader.fetch()) {
        for (const { offset: place, timestamp, key, value, headers } of records) {
          if (place < end) yield { offset: Number(place), timestamp, key, value, headers };
        }
        if (nextOffset > next) movedAt = performance.now();
        next = offset(nextOffset);
      }
      if (performance.now() - movedAt > stalledMs)
        throw new SpoolError('KAFKA_UNAVAILABLE', `${partitionKey(at)} gave nothing after ${next} for ${stalledMs / 1000} s`);
    }
  } finally {
    reader.unassign(at);
  }
}
