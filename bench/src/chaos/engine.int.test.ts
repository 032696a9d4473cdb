import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosEngine, type ChaosOptions } from './engine.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const chaos = (
  options: Pick<ChaosOptions, 'seed' | 'kills' | 'records' | 'standbys' | 'tampering'> & Partial<Pick<ChaosOptions, 'transactions'>>,
) =>
  chaosEngine({
    brokers: testKafka(),
    dataDir,
    keys: 200,
    deadlineMs: 80_000,
    progress: () => undefined,
    transactions: 'instance',
    ...options,
  });

describe('a keyed count of two instances that are killed and stopped', () => {
  it('counts every record once, and output, changelog and stores agree', async () => {
    expect(await chaos({ seed: 7, kills: 4, records: 8000, standbys: 0 })).toEqual([]);
  }, 100_000);

  it('does so with warm copies and a writer for each task too', async () => {
    expect(await chaos({ seed: 8, kills: 2, records: 4000, standbys: 1, transactions: 'partition' })).toEqual([]);
  }, 100_000);

  it('would be found out if it wrote a result twice', async () => {
    const found = await chaos({ seed: 9, kills: 0, records: 2000, standbys: 0, tampering: 'double' });
    expect(found).toContainEqual(expect.stringMatching(/^output: 1 results of k\d+ are doubled$/));
  }, 100_000);
});
