import { readFile, stat } from 'node:fs/promises';
import { SpoolError, toSpoolError } from '@spool/schemas';

export interface WatchedFileOptions<T> {
  readonly path: string;
  /** May throw a SpoolError. */
  readonly parse: (text: string) => T;
  readonly clock: () => number;
  /** How old the look at the file's time may be, in milliseconds. */
  readonly checkEveryMs: number;
  readonly onReloadFailure: (failure: SpoolError) => void;
}

/**
 * A small file whose content is used for each request and may change while the process runs. It is looked at when used and only so
 * often; a change that cannot be read is reported and the content before it stays, so that a half-written file locks nobody out.
 * @throws SpoolError INVALID_CONFIG if the first read fails
 */
export async function openWatchedFile<T>(options: WatchedFileOptions<T>): Promise<() => Promise<T>> {
  const { path, clock } = options;
  const load = async (): Promise<{ readonly seen: string; readonly content: T }> => {
    const seen = await fingerprint(path);
    return { seen, content: options.parse(await readFile(path, 'utf8')) };
  };
  let current = await load().catch((error: unknown) => {
    throw new SpoolError('INVALID_CONFIG', `${path} cannot be used: ${toSpoolError(error).message}`, { cause: error });
  });
  let checkedAt = clock();
  const refresh = async (): Promise<void> => {
    try {
      if ((await fingerprint(path)) !== current.seen) current = await load();
    } catch (error) {
      options.onReloadFailure(
        new SpoolError('INVALID_CONFIG', `${path} has changed and cannot be used: ${toSpoolError(error).message}`, { cause: error }),
      );
    }
  };
  let refreshing: Promise<void> | undefined;
  return async () => {
    if (refreshing === undefined && clock() - checkedAt >= options.checkEveryMs) {
      checkedAt = clock();
      refreshing = refresh().finally(() => (refreshing = undefined));
    }
    if (refreshing !== undefined) await refreshing;
    return current.content;
  };
}

async function fingerprint(path: string): Promise<string> {
  const { mtimeMs, size, ino } = await stat(path);
  return `${mtimeMs}-${size}-${ino}`;
}
