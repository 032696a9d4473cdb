import { setTimeout as sleep } from 'node:timers/promises';
import { openLoop } from './steps.js';

describe('an open loop', () => {
  it('counts the time of a call from its intended start, also when the loop was held up', async () => {
    let held = false;
    const { p99 } = await openLoop(
      () => {
        // The process stands still for a while: those that were due meanwhile have waited, though their call is quick.
        if (!held) for (const end = performance.now() + 300; performance.now() < end; held = true);
        return Promise.resolve();
      },
      100,
      0.5,
    );
    expect(p99).toBeGreaterThan(150);
  });

  it('goes on where answers do not come, and counts what failed and what was never answered', async () => {
    let calls = 0;
    const taken = await openLoop(
      async () => {
        calls += 1;
        if (calls % 2 === 0) throw new Error('refused');
        await sleep(60_000, undefined, { ref: false });
      },
      100,
      0.2,
    );
    expect(calls).toBe(20);
    expect(taken.failed).toBe(20);
    expect(taken.perSecond).toBe(0);
  });
});
