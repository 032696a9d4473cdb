import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosBank, type BankChaosOptions } from './bank.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const chaos = (options: Pick<BankChaosOptions, 'seed' | 'kills' | 'transfers' | 'tampering'>) =>
  chaosBank({ brokers: testKafka(), dataDir, deadlineMs: 110_000, progress: () => undefined, ...options });

describe('a bank of two instances that are killed and stopped', () => {
  it('makes and loses no money, ends every transfer, and gives back what closed accounts do not take', async () => {
    expect(await chaos({ seed: 3, kills: 2, transfers: 80 })).toEqual([]);
  }, 150_000);

  it('would be found out if a saga sent a command again under a fresh id', async () => {
    const found = await chaos({ seed: 4, kills: 0, transfers: 60, tampering: 'anew' });
    expect(found).toContainEqual(expect.stringMatching(/went another way/));
  }, 150_000);
});
