import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * How the process that had a store open before has ended. A damaged page may end the process that reads it: after two ends in a row that were not
 * clean, soon after the opening, the store is read through in another process before it is used. A kill -9 now and then costs nothing.
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

/** Why the store in this folder cannot be used; undefined when it can. */
export function whyDamaged(path: string): string | undefined {
  const before = read(path);
  if (before === damagedMark) return 'a page of it is damaged';
  if (before < suspectAfter || !existsSync(join(path, 'data.mdb'))) return undefined;
  const { status, signal } = spawnSync(process.execPath, [verifier, path], { timeout: verifyTimeoutMs, stdio: 'ignore' });
  return status === 0 ? undefined : `${before} processes ended with it, and so did one that read it through (${signal ?? status})`;
}

export function markOpened(path: string): Opening {
  mkdirSync(path, { recursive: true });
  const before = read(path);
  const write = (content: number | string): void => writeFileSync(join(path, file), String(content));
  write(before === damagedMark ? 1 : before + 1);
  const settled = setTimeout(() => write(0), settledMs).unref();
  return {
    damaged() {
      clearTimeout(settled);
      write(damagedMark);
    },
    closed() {
      clearTimeout(settled);
      if (read(path) !== damagedMark) rmSync(join(path, file), { force: true });
    },
  };
}

function read(path: string): number | typeof damagedMark {
  if (!existsSync(join(path, file))) return 0;
  const content = readFileSync(join(path, file), 'utf8');
  return content === damagedMark ? damagedMark : Number(content);
}
