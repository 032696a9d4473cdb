import type { StoredFilter } from './stored-filter.js';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SpoolError } from '@spool/schemas';
import { open, type Database, type RootDatabase } from 'lmdb';
import { offset, type Offset } from '../kafka/port.js';
import { bootId, markOpened, whyDamaged, type Opening } from './openings.js';
import { emptyCheckpoint, type RangeOptions, type Store, type StoreCheckpoint, type StoredReplay } from './store.js';

/**
 * A store in an LMDB environment of its own. Commits reach the page cache at once and no commit waits for the disk: a killed process loses
 * nothing, and a store that was open when the machine went down is rebuilt from the log.
 */
export interface LmdbStoreOptions {
  /** The folder of the environment; made when missing. */
  readonly path: string;
  /** A store that was written by another version of the code is rebuilt from the log. @default '1' */
  readonly codeVersion?: string;
  /** Tells this run of the machine from the others; empty where that is not known: each commit then waits for the disk. @default what the kernel says */
  readonly boot?: string;
  /** Told when an unreadable or outdated store was thrown away. */
  readonly onRebuild?: (reason: string) => void;
}

interface StoredCheckpoint {
  readonly positions: Readonly<Record<string, string>>;
  readonly epoch: string;
  readonly replay?: {
    id: string;
    state: StoredReplay['state'];
    starts: Record<string, string>;
    targets: Record<string, string>;
    startedAt: number;
    records: number;
    filter?: StoredFilter;
    skipped?: number;
  };
}

export function openLmdbStore({ path, codeVersion = '1', boot = bootId(), onRebuild }: LmdbStoreOptions): Store {
  const unusable = whyUnusable(path, codeVersion) ?? whyDamaged(path, boot);
  if (unusable !== undefined) {
    onRebuild?.(unusable);
    rmSync(path, { recursive: true, force: true });
  }
  return openAt(path, codeVersion, boot);
}

const versionFile = 'code-version';
/** At the start of each of LMDB's two meta pages, behind the page's own header. */
const lmdbMagic = 0xbeefc0de;
const magicOffset = 24;
/** In a meta page: behind the map's address and size, and the two roots. */
const lastPageOffset = 144;
const pageSize = 4096;

/** Found out before LMDB maps the file: on one that is not its own it ends the process. */
function whyUnusable(path: string, codeVersion: string): string | undefined {
  const file = join(path, 'data.mdb');
  if (!existsSync(file)) return undefined;
  const version = existsSync(join(path, versionFile)) ? readFileSync(join(path, versionFile), 'utf8') : 'unknown';
  if (version !== codeVersion) return `the store was written by version ${version} of the code, this is version ${codeVersion}`;
  const header = Buffer.alloc(magicOffset + 4);
  const handle = openSync(file, 'r');
  try {
    const read = readSync(handle, header, 0, header.length, 0);
    if (read !== header.length || header.readUInt32LE(magicOffset) !== lmdbMagic) return `${file} is not an LMDB file`;
    // Reading beyond the end of a file that was cut would end the process.
    const lastPage = Math.max(lastPageOf(handle, 0), lastPageOf(handle, pageSize));
    return fstatSync(handle).size < (lastPage + 1) * pageSize ? `${file} was cut` : undefined;
  } finally {
    closeSync(handle);
  }
}

/** The pages that a meta page counts; the one with the later transaction is in force, and pages are never given back. */
function lastPageOf(handle: number, at: number): number {
  const page = Buffer.alloc(8);
  return readSync(handle, page, 0, 8, at + lastPageOffset) === 8 ? Number(page.readBigUInt64LE()) : 0;
}

function openAt(path: string, codeVersion: string, boot: string): Store {
  const opening = markOpened(path, boot);
  writeFileSync(join(path, versionFile), codeVersion);
  const root: RootDatabase = guarded(path, opening, () => open({ path, maxDbs: 64, noMemInit: true, pageSize, noSync: boot !== '' }));
  const tables = new Map<string, Database<unknown, string>>();
  const table = (name: string): Database<unknown, string> => {
    let database = tables.get(name);
    if (database === undefined) tables.set(name, (database = root.openDB<unknown, string>({ name: `t/${name}` })));
    return database;
  };
  const meta = root.openDB<StoredCheckpoint, string>({ name: 'meta' });
  const stored = meta.get('checkpoint');
  let checkpoint = stored === undefined ? emptyCheckpoint : fromStored(stored);
  const write = (next: StoreCheckpoint, rows: () => void): void => {
    guarded(path, opening, () =>
      root.transactionSync(() => {
        rows();
        meta.putSync('checkpoint', toStored(next));
      }),
    );
    checkpoint = next;
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      const onDisk = await synced(root);
      await root.close();
      if (onDisk) opening.closed();
    })());
  return {
    get checkpoint() {
      return checkpoint;
    },
    get: (name, key) => guarded(path, opening, () => table(name).get(key)),
    *range(name, range) {
      const found = guarded(path, opening, () => rows(table(name), range)[Symbol.iterator]());
      for (let row = guarded(path, opening, () => found.next()); row.done !== true; row = guarded(path, opening, () => found.next()))
        yield row.value;
    },
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

/** Brings everything to the disk. A store of which that cannot be said counts as one that was not closed. */
const synced = (root: RootDatabase): Promise<boolean> =>
  new Promise((resolve) => (root as Syncing).sync((error) => resolve(error === undefined)));
/** Missing in the types of lmdb. */
type Syncing = RootDatabase & { sync(done: (error?: Error) => void): void };

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

function guarded<T>(path: string, opening: Opening, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // LMDB calls a write that fell short an I/O error.
    if (/ENOSPC|Input\/output error|No space left|EFBIG|File too large|EDQUOT|quota exceeded|MDB_MAP_FULL/i.test(message)) {
      throw new SpoolError('DISK_FULL', `cannot write the store in ${path}: ${message}`, { cause: error });
    }
    opening.damaged();
    throw new SpoolError('STORE_CORRUPT', `the store in ${path} cannot be used: ${message}`, { cause: error });
  }
}

const toStored = (checkpoint: StoreCheckpoint): StoredCheckpoint => ({
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
