import { timingSafeEqual } from 'node:crypto';
import { SpoolError } from '@spool/schemas';
import type { Principal } from '../roles.js';
import { hashKey, keyPattern, parseKeyFile, type KeyEntry } from './key-file.js';
import { openWatchedFile } from './watched-file.js';

export interface ApiKeysOptions {
  /** The JSON file that `addApiKey` writes. A change takes effect within five seconds. */
  readonly file: string;
}

export interface ApiKeys {
  /** @throws SpoolError UNAUTHENTICATED */
  find(key: string): Promise<Principal>;
}

export interface AuthSurroundings {
  readonly clock: () => number;
  readonly onReloadFailure: (failure: SpoolError) => void;
}

export const looksLikeApiKey = (credentials: string): boolean => credentials.startsWith('spool_');

/** @throws SpoolError INVALID_CONFIG if the file cannot be read */
export async function openApiKeys(options: ApiKeysOptions, { clock, onReloadFailure }: AuthSurroundings): Promise<ApiKeys> {
  const entries = await openWatchedFile({
    path: options.file,
    parse: (text) => new Map(parseKeyFile(text).map((entry) => [entry.id, known(entry)])),
    clock,
    checkEveryMs: 5_000,
    onReloadFailure,
  });
  return {
    find: async (key) => {
      const id = keyPattern.exec(key)?.[1];
      const entry = id === undefined ? undefined : (await entries()).get(id);
      // One message for an unknown id and a wrong secret: ids are not to be found out.
      if (entry === undefined || !timingSafeEqual(Buffer.from(hashKey(key)), entry.hash)) {
        throw new SpoolError('UNAUTHENTICATED', 'The API key is not known');
      }
      const { principal } = entry;
      if (principal.expiresAt !== undefined && principal.expiresAt <= clock()) {
        throw new SpoolError('UNAUTHENTICATED', `The API key expired at ${new Date(principal.expiresAt).toISOString()}`);
      }
      return principal;
    },
  };
}

function known(entry: KeyEntry): { readonly hash: Buffer; readonly principal: Principal } {
  const expiresAt = entry.expiresAt === undefined ? {} : { expiresAt: Date.parse(entry.expiresAt) };
  return { hash: Buffer.from(entry.hash), principal: { id: entry.id, name: entry.name, roles: entry.roles, via: 'api-key', ...expiresAt } };
}
