import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * How the process that had a store open before has ended. A damaged page may end the process that reads it: after two ends in a row that were not
 * clean, soon after the opening, the store is read through in another process before it is used. A kill -9 now and then costs nothing. When the
 * machine itself went down, what the store had not brought to the disk is lost, and nobody knows which pages that were: it is not used again.
 */
export interface Opening {
  /** What a reader found to be damaged: the store is not used again. */
  damaged(): void;
  closed(): void;
}

const file = 'opened';
const damagedMark = 'damaged';
/** Who has lived so long with the store does not end of it. */
const settledMs = 60_000;
const suspectAfter = 2;
const verifyTimeoutMs = 120_000;
const verifier = fileURLToPath(new URL('verify/main.js', import.meta.url));

const bootFile = '/proc/sys/kernel/random/boot_id';
/** Tells this run of the machine from the others; empty where the machine does not say. */
export const bootId = (): string => (existsSync(bootFile) ? readFileSync(bootFile, 'utf8').trim() : '');

/** Why the store in this folder cannot be used; undefined when it can. */
export function whyDamaged(path: string, boot: string): string | undefined {
  const before = read(path);
  if (before.damaged) return 'a page of it is damaged';
  if (before.boot !== '' && before.boot !== boot) return 'the machine went down while it was open';
  if (before.opened < suspectAfter || !existsSync(join(path, 'data.mdb'))) return undefined;
  const { status, signal } = spawnSync(process.execPath, [verifier, path], { timeout: verifyTimeoutMs, stdio: 'ignore' });
  return status === 0 ? undefined : `${before.opened} processes ended with it, and so did one that read it through (${signal ?? status})`;
}

export function markOpened(path: string, boot: string): Opening {
  mkdirSync(path, { recursive: true });
  const before = read(path);
  const write = (content: string): void => writeFileSync(join(path, file), content);
  const count = (opened: number): void => write(`${opened} ${boot}`);
  count(before.opened + 1);
  // The mark is on the disk before anything of the store can be.
  for (const each of [join(path, file), path]) toDisk(each);
  const settled = setTimeout(() => count(0), settledMs).unref();
  return {
    damaged() {
      clearTimeout(settled);
      write(damagedMark);
    },
    closed() {
      clearTimeout(settled);
      if (!read(path).damaged) rmSync(join(path, file), { force: true });
    },
  };
}

function toDisk(path: string): void {
  const handle = openSync(path, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

interface Mark {
  readonly damaged: boolean;
  /** Times in a row that it was opened and not closed. */
  readonly opened: number;
  /** Empty where all that was committed is on the disk. */
  readonly boot: string;
}
function read(path: string): Mark {
  const content = existsSync(join(path, file)) ? readFileSync(join(path, file), 'utf8') : '0';
  const [opened, boot = ''] = content.split(' ');
  return content === damagedMark ? { damaged: true, opened: 0, boot: '' } : { damaged: false, opened: Number(opened), boot };
}
