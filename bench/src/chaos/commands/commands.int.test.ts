import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosCommands, type CommandsChaosOptions } from './commands.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const chaos = (options: Pick<CommandsChaosOptions, 'seed' | 'kills' | 'commands' | 'tampering' | 'transactions'>) =>
  chaosCommands({
    brokers: testKafka(),
    dataDir,
    clients: 32,
    aggregates: 100,
    deadlineMs: 80_000,
    progress: () => undefined,
    ...options,
  });

describe('commands with exact versions to two instances that are killed, stopped and restarted', () => {
  it.each(['instance', 'partition'] as const)(
    'are told as the log has them, with one writer for each %s',
    async (transactions) => {
      expect(await chaos({ seed: 5, kills: 2, commands: 1500, transactions })).toEqual([]);
    },
    120_000,
  );

  it('would be found out if replies went out before the commit', async () => {
    const found = await chaos({ seed: 7, kills: 2, commands: 1500, transactions: 'instance', tampering: 'early' });
    expect(found).toContainEqual(expect.stringMatching(/not in the log: lost|before its event was decided|it never was/));
  }, 120_000);

  it('would be found out if the outcomes of commands were forgotten', async () => {
    const found = await chaos({ seed: 9, kills: 0, commands: 1000, transactions: 'instance', tampering: 'forgetful' });
    expect(found).toContainEqual(expect.stringMatching(/told applied at version \d+, then conflict for the same id/));
  }, 120_000);
});
