import { SpoolError } from '@spool/schemas';
import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A data folder that this process alone uses until it lets go of it. */
export interface DataFolder {
  /** The platform that used it last was killed: its children may need a moment to end. */
  readonly leftBehind: boolean;
  release(): void;
}

/** Marks a folder as Spool's, so that `--reset` never deletes anything else. */
const markerName = 'spool.json';
const lockName = 'platform.lock';

/** What is deleted first: everything, or what is built anew from the log. */
export type Deleted = 'nothing' | 'derived' | 'everything';
/** Stores of services and bundles, and ClickHouse; the log is in `kafka`. */
const derived: readonly string[] = ['services', 'bundles', 'clickhouse'];

/**
 * Takes a data folder, which is made if it is not there.
 * @throws SpoolError INVALID_CONFIG when another running platform has it, or when it holds files that are not Spool's.
 */
export function takeDataFolder(path: string, deleted: Deleted = 'nothing'): DataFolder {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const marker = join(path, markerName);
  const strange = readdirSync(path).filter((name) => !name.startsWith(lockName));
  if (!existsSync(marker) && strange.length > 0) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `SPOOL_DATA_DIR ${path} holds files that are not Spool's (${strange.slice(0, 3).join(', ')}); use a folder of its own.`,
    );
  }
  const lock = lockFile(join(path, lockName), path);
  const names = deleted === 'nothing' ? [] : deleted === 'derived' ? derived : readdirSync(path).filter((name) => name !== lockName);
  for (const name of names) rmSync(join(path, name), { recursive: true, force: true });
  if (!existsSync(marker)) writeFileSync(marker, `${JSON.stringify({ format: 1 })}\n`);
  return lock;
}

/** Who holds the lock. The start time tells a process from a later one that was given the same id. */
interface Holder {
  readonly pid: number;
  readonly startTime: string | undefined;
}

function lockFile(lock: string, folder: string): DataFolder {
  const mine: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) };
  const leftBehind = existsSync(lock);
  if (leftBehind) removeStale(lock, folder);
  // Written beside and linked: the lock appears with its content, and for one process only.
  const draft = `${lock}.${randomUUID()}`;
  writeFileSync(draft, JSON.stringify(mine));
  try {
    linkSync(draft, lock);
  } catch {
    throw inUse(folder, readHolder(lock)?.pid);
  } finally {
    rmSync(draft, { force: true });
  }
  return {
    leftBehind,
    release: () => {
      if (same(readHolder(lock), mine)) rmSync(lock, { force: true });
    },
  };
}

function removeStale(lock: string, folder: string): void {
  const holder = readHolder(lock);
  if (holder !== undefined && isAlive(holder)) throw inUse(folder, holder.pid);
  // Renamed first: of two processes that see the same stale lock one alone takes it away, and cannot take a new one by mistake.
  const aside = `${lock}.${randomUUID()}`;
  try {
    renameSync(lock, aside);
  } catch {
    return;
  }
  if (same(readHolder(aside), holder)) rmSync(aside, { force: true });
  else renameSync(aside, lock);
}

const same = (one: Holder | undefined, other: Holder | undefined): boolean =>
  one?.pid === other?.pid && one?.startTime === other?.startTime;

function readHolder(lock: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

function isAlive({ pid, startTime }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = procStat(pid);
  if (now === undefined || startTime === undefined) return true;
  // A zombie has ended; only its parent has not asked for its exit code.
  return now.startTime === startTime && !['Z', 'X'].includes(now.state);
}

const startTimeOf = (pid: number): string | undefined => procStat(pid)?.startTime;

/** State and start time (clock ticks since boot), fields 3 and 22 of /proc/<pid>/stat; undefined where there is no /proc. */
function procStat(pid: number): { state: string; startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, startTime: fields[19]! };
  } catch {
    return undefined;
  }
}

const inUse = (folder: string, pid: number | undefined): SpoolError =>
  new SpoolError(
    'INVALID_CONFIG',
    `Another platform (process ${String(pid)}) uses the data folder ${folder}; stop it or set SPOOL_DATA_DIR to another folder.`,
  );
