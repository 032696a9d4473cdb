import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Remembers how far the feed is, so that it starts again there. Losing it costs time and nothing else. */
export interface Progress {
  /** The number of flights that are through; 0 when it is not known. */
  load(): number;
  save(complete: number): void;
}

/** Keeps it in a file, replaced as a whole. A file that cannot be read or written is as good as none. */
export function progressFile(path: string): Progress {
  return {
    load() {
      try {
        const complete = Number(readFileSync(path, 'utf8'));
        return Number.isSafeInteger(complete) && complete > 0 ? complete : 0;
      } catch {
        return 0;
      }
    },
    save(complete) {
      try {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(`${path}.new`, String(complete));
        renameSync(`${path}.new`, path);
      } catch {
        // The next start sends more again, and each is answered as a duplicate.
      }
    },
  };
}
