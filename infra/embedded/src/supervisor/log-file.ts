import { copyFileSync, existsSync, mkdirSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';

const maxBytes = 16 * 1024 * 1024;

/** Opens a log for appending and makes its folder. The caller closes the descriptor once the child has it. */
export function openLogFile(path: string): number {
  mkdirSync(dirname(path), { recursive: true });
  cutLogFile(path);
  return openSync(path, 'a');
}

/**
 * Moves what is in a log beyond `limit` bytes to `<path>.1` and empties it in place: the child that appends to it keeps its descriptor.
 * Lines written between the copy and the cut are lost.
 */
export function cutLogFile(path: string, limit = maxBytes): void {
  if (!existsSync(path) || statSync(path).size <= limit) return;
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
}

/** The last line that is not empty, for an error message; undefined when there is none. */
export function lastLogLine(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  const last = lines.at(-1)?.trim();
  return last === undefined || last === '' ? undefined : last.slice(0, 300);
}
