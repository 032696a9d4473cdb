import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import type { Answer, CommandCall } from './callers.js';
import { chaosRolling, differences, lostReplies } from './rolling.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-rolling-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const call = (...kinds: Exclude<Answer['kind'], 'wrong'>[]): CommandCall => ({
  commandId: 'c',
  attempts: kinds.map((kind, gateway) => ({ gateway, answer: { kind } })),
});

describe('two gateways under callers over HTTP', () => {
  it('lose no reply when they are restarted, and do nothing twice when they are killed', async () => {
    const found = await chaosRolling({
      ...{ brokers: testKafka(), dataDir, callers: 40, restarts: 1, kills: 1 },
      ...{ deadlineMs: 170_000, progress: () => undefined },
    });
    expect(found).toEqual([]);
  }, 180_000);

  it('would be found out if a reply were lost, or a command were lost or done twice', () => {
    const once = [{ commandId: 'c' }];
    expect(lostReplies([call('unreachable', 'applied'), call('refused', 'applied')])).toEqual([]);
    expect(lostReplies([call('cut', 'duplicate')])).toEqual(['c: lost a reply: 0 cut, 1 duplicate']);
    expect(lostReplies([call('indeterminate', 'applied')])).toEqual(['c: lost a reply: 0 indeterminate, 1 applied']);
    expect(differences([call('cut', 'duplicate')], once)).toEqual([]);
    expect(differences([call('applied')], [])).toEqual(['c: is in the log 0 times: 0 applied']);
    expect(differences([call('applied')], [...once, ...once])).toEqual(['c: is in the log 2 times: 0 applied']);
    expect(differences([call('cut', 'refused')], once)).toEqual(['c: never got an answer: 0 cut, 1 refused']);
  });
});
