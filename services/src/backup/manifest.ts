import { createHash } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SpoolError } from '@spool/schemas';
import { z } from 'zod';

const place = z.string().regex(/^\d{1,19}$/);
const topicName = z.string().regex(/^[A-Za-z0-9._-]{1,249}$/);
const count = z.int().min(0);
const manifest = z.object({
  format: z.literal(1),
  /** When the cut was made. */
  createdAt: z.iso.datetime(),
  /** With its dot, or empty. */
  namespace: z.string(),
  topics: z.array(
    z.object({
      name: topicName,
      config: z.record(z.string(), z.string()),
      /** In order; a file each. Offsets of the log that was read: `start` of the first record there was, `end` after the last. */
      partitions: z.array(z.object({ start: place, end: place, records: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
    }),
  ),
  /** What the consumer groups had committed. */
  groups: z.array(z.object({ id: z.string(), offsets: z.array(z.object({ topic: topicName, partition: count, offset: place })) })),
});

/** What a back-up holds; the file `manifest.json` in its folder, written last. */
export type Manifest = z.infer<typeof manifest>;
export type SavedTopic = Manifest['topics'][number];

export const manifestName = 'manifest.json';
/** Names a back-up by all that is in it, since the manifest has the hash of each file. */
export const backupId = (of: Manifest): string => createHash('sha256').update(JSON.stringify(of)).digest('hex');

export async function writeManifest(folder: string, of: Manifest): Promise<void> {
  const path = join(folder, manifestName);
  const file = await open(`${path}.new`, 'w');
  try {
    await file.writeFile(`${JSON.stringify({ ...of, sha256: backupId(of) }, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const entry = await open(folder, 'r');
  await entry.sync().finally(() => entry.close());
}

/** @throws SpoolError BACKUP_DAMAGED when it is missing, was changed, or is of another format */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestName);
  const damaged = (why: string, cause?: unknown): SpoolError => new SpoolError('BACKUP_DAMAGED', `${path} ${why}`, { cause });
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw damaged('cannot be read: the folder holds no back-up, or one that was not finished', cause);
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw damaged('is not JSON', cause);
  }
  const parsed = manifest.extend({ sha256: z.string() }).safeParse(json);
  if (!parsed.success) throw damaged(`is not as it was written: ${z.prettifyError(parsed.error)}`);
  const { sha256, ...rest } = parsed.data;
  if (backupId(rest) !== sha256) throw damaged('is not as it was written: its SHA-256 differs');
  return rest;
}
