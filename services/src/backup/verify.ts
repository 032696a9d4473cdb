import { toSpoolError } from '@spool/schemas';
import type { TopicPartition } from '@spool/streams';
import { fileOf, readRecords, sha256Of } from './files.js';
import { readManifest, type Manifest, type SavedTopic } from './manifest.js';

/** Every partition of a back-up, with what the manifest says of it. */
export const savedPartitions = ({ topics }: Pick<Manifest, 'topics'>): (TopicPartition & SavedTopic['partitions'][number])[] =>
  topics.flatMap(({ name, partitions }) => partitions.map((saved, partition) => ({ topic: name, partition, ...saved })));

/**
 * Recomputes the hash of each file, and counts its records again.
 * @returns what differs, with the file's name; empty when all is as it was written
 * @throws SpoolError BACKUP_DAMAGED when there is no manifest that could be compared with
 */
export async function verifyBackUp(folder: string, signal?: AbortSignal): Promise<{ manifest: Manifest; problems: readonly string[] }> {
  const manifest = await readManifest(folder);
  const problems: string[] = [];
  for (const saved of savedPartitions(manifest)) {
    signal?.throwIfAborted();
    const path = fileOf(folder, saved);
    const problem = await problemOf(path, saved).catch((thrown: unknown) => toSpoolError(thrown).message);
    if (problem !== undefined) problems.push(`${path}: ${problem}`);
  }
  return { manifest, problems };
}

async function problemOf(path: string, { start, end, records, sha256 }: SavedTopic['partitions'][number]): Promise<string | undefined> {
  let found: string;
  try {
    found = await sha256Of(path);
  } catch (cause) {
    return (cause as Error).message;
  }
  if (found !== sha256) return `its SHA-256 is ${found}, and was ${sha256}`;
  let count = 0;
  let next = Number(start);
  for await (const { offset } of readRecords(path)) {
    if (offset < next || offset >= Number(end)) return `offset ${offset} is out of order`;
    next = offset + 1;
    count++;
  }
  return count === records ? undefined : `it has ${count} records, and had ${records}`;
}
