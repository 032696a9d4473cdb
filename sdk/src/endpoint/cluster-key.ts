import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SpoolError } from '@spool/schemas';

/** Shorter ones can be found by trying. */
const minBytes = 32;

/**
 * The key by which instances prove to each other who they are. Where all of them are on this machine one may do without setting it: then it is made, and
 * kept beside the stores, for this user alone to read.
 * @throws SpoolError INVALID_CONFIG
 */
export async function clusterKey(set: string | undefined, loopback: boolean, dataDir: string): Promise<Uint8Array> {
  if (set !== undefined) {
    const key = Buffer.from(set);
    if (key.length >= minBytes) return key;
    throw new SpoolError('INVALID_CONFIG', `the cluster key has ${key.length} bytes, and ${minBytes} are the least`);
  }
  if (!loopback) {
    throw new SpoolError(
      'INVALID_CONFIG',
      'an endpoint for other machines needs a cluster key, the same in all of them: SPOOL_CLUSTER_KEY',
    );
  }
  await mkdir(dataDir, { recursive: true });
  const file = join(dataDir, 'cluster-key');
  const mine = `${file}.${randomUUID()}`;
  await writeFile(mine, randomBytes(minBytes).toString('base64url'), { mode: 0o600 });
  try {
    // The first of several that start at once has it, and none reads half of one.
    await link(mine, file).catch((thrown: unknown) => {
      if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    });
  } finally {
    await rm(mine, { force: true });
  }
  return readFile(file);
}
