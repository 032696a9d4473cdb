import { mkdirSync, rmSync } from 'node:fs';
import { SpoolError } from '@spool/schemas';
import { open, type Database, type RootDatabase } from 'lmdb';
import { offset, type Offset } from '../kafka/port.js';
import { emptyCheckpoint, type RangeOptions, type Store, type StoreCheckpoint, type StoredReplay } from './store.js';

/**
 * A store in an LMDB environment of its own. Commits reach the page cache at once and the disk soon after: a killed process loses
 * nothing, a power cut may lose the last moments, which the log gives back.
 */
export interface LmdbStoreOptions {
  /** The folder of the environment; made when missing. */
  readonly path: string;
  /** A store that was written by another version of the code is rebuilt from the log. @default '1' */
  readonly codeVersion?: string;
  /** Told when an unreadable or outdated store was thrown away. */
  readonly onRebuild?: (reason: string) => void;
}

interface StoredCheckpoint {
  readonly codeVersion: string;
  readonly positions: Readonly<Record<string, string>>;
  readonly epoch: string;
  readonly replay?: {
    id: string;
    state: StoredReplay['state'];
    starts: Record<string, string>;
    targets: Record<string, string>;
    startedAt: number;
    records: number;
  };
}

export function openLmdbStore(options: LmdbStoreOptions): Store {
  const codeVersion = options.codeVersion ?? '1';
  try {
    return openAt(options.path, codeVersion);
  } catch (error) {
    if (error instanceof SpoolError && error.code === 'DISK_FULL') throw error;
    options.onRebuild?.(error instanceof Error ? error.message : String(error));
    rmSync(options.path, { recursive: true, force: true });
    return openAt(options.path, codeVersion);
  }
}

function openAt(path: string, codeVersion: string): Store {
  mkdirSync(path, { recursive: true });
  const root: RootDatabase = guarded(path, () => open({ path, maxDbs: 64, noMemInit: true }));
  const tables = new Map<string, Database<unknown, string>>();
  const table = (name: string): Database<unknown, string> => {
    let database = tables.get(name);
    if (database === undefined) tables.set(name, (database = root.openDB<unknown, string>({ name: `t/${name}` })));
    return database;
  };
  const meta = root.openDB<StoredCheckpoint, string>({ name: 'meta' });
  const stored = meta.get('checkpoint');
  if (stored !== undefined && stored.codeVersion !== codeVersion) {
    void root.close();
    throw new Error(`the store was written by version ${stored.codeVersion} of the code, this is version ${codeVersion}`);
  }
  let checkpoint = stored === undefined ? emptyCheckpoint : fromStored(stored);
  const write = (next: StoreCheckpoint, rows: () => void): void => {
    guarded(path, () =>
      root.transactionSync(() => {
        rows();
        meta.putSync('checkpoint', toStored(next, codeVersion));
      }),
    );
    checkpoint = next;
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= root.flushed.then(() => root.close()));
  return {
    get checkpoint() {
      return checkpoint;
    },
    get: (name, key) => table(name).get(key),
    range: (name, range) => rows(table(name), range),
    count: (name) => (table(name).getStats() as { entryCount: number }).entryCount,
    commit: (changes, next) =>
      write(next, () => {
        for (const [name, changed] of changes) {
          const database = table(name);
          for (const [key, value] of changed) {
            if (value === undefined) database.removeSync(key);
            else database.putSync(key, value);
          }
        }
      }),
    clear: (next) => write(next, () => namesOf(root).forEach((name) => table(name).clearSync())),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The named databases are keys of the root database. */
function namesOf(root: RootDatabase): string[] {
  return [...root.getKeys()]
    .map(String)
    .filter((name) => name.startsWith('t/'))
    .map((name) => name.slice(2));
}

function* rows(
  database: Database<unknown, string>,
  { from, to, reverse = false, limit }: RangeOptions = {},
): Iterable<readonly [string, unknown]> {
  // LMDB takes the start of a reverse range from its upper end, inclusive: leave that end out by hand.
  const start = reverse ? to : from;
  const end = reverse ? undefined : to;
  let left = limit ?? Number.POSITIVE_INFINITY;
  for (const { key, value } of database.getRange({
    reverse,
    ...(start === undefined ? {} : { start }),
    ...(end === undefined ? {} : { end }),
  })) {
    if (reverse && key === to) continue;
    if (left-- <= 0) return;
    if (reverse && from !== undefined && Buffer.compare(Buffer.from(key), Buffer.from(from)) < 0) return;
    yield [key, value];
  }
}

function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (/ENOSPC|No space left|MDB_MAP_FULL/i.test(message)) {
      throw new SpoolError('DISK_FULL', `cannot write the store in ${path}: ${message}`, { cause: error });
    }
    throw new SpoolError('STORE_CORRUPT', `the store in ${path} cannot be used: ${message}`, { cause: error });
  }
}

const toStored = (checkpoint: StoreCheckpoint, codeVersion: string): StoredCheckpoint => ({
  codeVersion,
  positions: texts(checkpoint.positions),
  epoch: checkpoint.epoch.toString(),
  ...(checkpoint.replay === undefined
    ? {}
    : { replay: { ...checkpoint.replay, starts: texts(checkpoint.replay.starts), targets: texts(checkpoint.replay.targets) } }),
});
const fromStored = (stored: StoredCheckpoint): StoreCheckpoint => ({
  positions: offsets(stored.positions),
  epoch: BigInt(stored.epoch),
  replay:
    stored.replay === undefined
      ? undefined
      : { ...stored.replay, starts: offsets(stored.replay.starts), targets: offsets(stored.replay.targets) },
});
const texts = (positions: ReadonlyMap<string, Offset>): Record<string, string> =>
  Object.fromEntries([...positions].map(([key, at]) => [key, at.toString()]));
const offsets = (positions: Readonly<Record<string, string>>): Map<string, Offset> =>
  new Map(Object.entries(positions).map(([key, at]) => [key, offset(at)]));
