import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Table } from '../report.js';
import { growth } from './growth.js';
import { snapshots } from './snapshots.js';

export interface EventStoreOptions {
  readonly brokers: readonly string[];
  /** Events in the index, in rising order. */
  readonly sizes: readonly number[];
  /** Events of one aggregate. */
  readonly lengths: readonly number[];
  readonly reads: number;
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

/** What reading costs as the log grows, and loading as an aggregate grows. */
export async function benchEventStore({ sizes, lengths, rounds, ...options }: EventStoreOptions): Promise<readonly Table[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const id = `e${Date.now().toString(36)}`;
  try {
    const shared = { ...options, dataDir, id };
    return [
      await growth({ ...shared, dataDir: join(dataDir, 'growth'), sizes }),
      ...(await snapshots({ ...shared, sizes: lengths, rounds })),
    ];
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}
