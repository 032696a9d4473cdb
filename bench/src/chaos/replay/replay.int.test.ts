import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosReplay, type ReplayChaosOptions } from './replay.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const chaos = (options: Pick<ReplayChaosOptions, 'seed' | 'promotes' | 'passes' | 'tampering'>) =>
  chaosReplay({ brokers: testKafka(), dataDir, events: 800, deadlineMs: 110_000, progress: () => undefined, ...options });

describe('replays while workers and the service are killed and stopped at each step', () => {
  it('end right, hand-overs do each effect once, and every row is there', async () => {
    expect(await chaos({ seed: 1, promotes: 4, passes: 1 })).toEqual([]);
  }, 150_000);

  it('would be found out if a replay passed over events, or a copy that does not answer acted all the same', async () => {
    expect(await chaos({ seed: 2, promotes: 1, passes: 0, tampering: 'forgetful' })).toContainEqual(expect.stringMatching(/and has to be/));
    await rm(dataDir, { recursive: true, force: true });
    expect(await chaos({ seed: 3, promotes: 1, passes: 0, tampering: 'loud' })).toContainEqual(expect.stringMatching(/^effect: /));
  }, 200_000);
});
