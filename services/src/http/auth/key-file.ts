import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import { roles, type Role } from '../roles.js';

/**
 * A key is `spool_<id>_<secret>`; the secret is 256 random bits. The file holds SHA-256 of the whole key. A slow, salted hash such as
 * scrypt protects secrets that people choose and that can be guessed; 256 random bits cannot be guessed, so it would only cost every
 * request a tenth of a second (or call for a cache of the keys in clear). A pepper would have to lie beside this file. The id is no secret; it finds the row.
 */
const keyEntrySchema = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{12}$/),
  name: z.string().min(1).max(200),
  roles: z.array(z.enum(roles)).min(1),
  hash: z.string().regex(/^sha256:[\w-]{43}$/),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
});
const keyFileSchema = z.strictObject({ version: z.literal(1), keys: z.array(keyEntrySchema) });
export type KeyEntry = z.infer<typeof keyEntrySchema>;

export const keyPattern = /^spool_([a-z0-9]{12})_[\w-]{43}$/;

export const hashKey = (key: string): string => `sha256:${createHash('sha256').update(key).digest('base64url')}`;

/** @throws SpoolError INVALID_CONFIG that says what is wrong with the file */
export function parseKeyFile(text: string): readonly KeyEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new SpoolError('INVALID_CONFIG', 'it is not valid JSON', { cause });
  }
  const result = keyFileSchema.safeParse(json);
  if (!result.success) throw new SpoolError('INVALID_CONFIG', `it is no key file: ${z.prettifyError(result.error)}`);
  const ids = new Set(result.data.keys.map(({ id }) => id));
  if (ids.size !== result.data.keys.length) throw new SpoolError('INVALID_CONFIG', 'an id occurs twice');
  return result.data.keys;
}

export interface NewKey {
  /** For people: audit and logs. */
  readonly name: string;
  readonly roles: readonly [Role, ...Role[]];
  /** @default never */
  readonly expiresAt?: Date;
}

export interface KeyMaking {
  readonly clock?: () => number;
  readonly random?: (bytes: number) => Buffer;
}

/**
 * Adds a key to the file, which is made (readable by its owner alone) if it is not there. The key is given once; the file holds its hash.
 * @throws SpoolError INVALID_CONFIG if the file cannot be read, or another process is changing it
 */
export async function addApiKey(
  file: string,
  wanted: NewKey,
  { clock = Date.now, random = randomBytes }: KeyMaking = {},
): Promise<{ readonly id: string; readonly key: string }> {
  const id = [...random(12)].map((byte) => 'abcdefghijklmnopqrstuvwxyz012345'[byte % 32]!).join('');
  const key = `spool_${id}_${random(32).toString('base64url')}`;
  const entry: KeyEntry = {
    id,
    name: wanted.name,
    roles: [...wanted.roles],
    hash: hashKey(key),
    createdAt: new Date(clock()).toISOString(),
    ...(wanted.expiresAt === undefined ? {} : { expiresAt: wanted.expiresAt.toISOString() }),
  };
  await changeKeyFile(file, (keys) => [...keys, entry]);
  return { id, key };
}

/** Takes a key out; running services notice within seconds. @returns whether it was there */
export async function revokeApiKey(file: string, id: string): Promise<boolean> {
  let found = false;
  await changeKeyFile(file, (keys) => {
    found = keys.some((each) => each.id === id);
    return keys.filter((each) => each.id !== id);
  });
  return found;
}

/** The entries of the file; none if there is no file. */
export async function listApiKeys(file: string): Promise<readonly KeyEntry[]> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? [] : parseKeyFile(text);
}

/** The new content is written beside the file and moved over it: readers see the old or the new, and the copy's name is the lock. */
async function changeKeyFile(file: string, change: (keys: readonly KeyEntry[]) => readonly KeyEntry[]): Promise<void> {
  const next = `${file}.next`;
  const handle = await open(next, 'wx', 0o600).catch((cause: unknown) => {
    const why =
      (cause as NodeJS.ErrnoException).code === 'EEXIST' ? `another process is changing it; if none is, delete ${next}` : String(cause);
    throw new SpoolError('INVALID_CONFIG', `${file} cannot be changed: ${why}`, { cause });
  });
  try {
    const keys = change(await listApiKeys(file));
    await handle.writeFile(`${JSON.stringify(keyFileSchema.parse({ version: 1, keys }), null, 2)}\n`);
    await handle.sync();
    await rename(next, file);
  } catch (error) {
    await unlink(next);
    throw error;
  } finally {
    await handle.close();
  }
}
