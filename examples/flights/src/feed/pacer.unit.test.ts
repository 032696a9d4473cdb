import { pacer } from './pacer.js';

const running = new AbortController().signal;

/** When each of so many calls at one moment gets its turn, by a clock that the test sets. */
async function turns(take: (signal: AbortSignal) => Promise<void>, count: number): Promise<number[]> {
  const began = performance.now();
  return Promise.all(Array.from({ length: count }, () => take(running).then(() => performance.now() - began)));
}

describe('the pacer', () => {
  it('gives turns at the rate, in the order of the calls', async () => {
    const at = await turns(pacer(200), 5);
    // Timers may be late, by whole milliseconds; they are not early by more than their rounding.
    at.forEach((ms, index) => expect(ms).toBeGreaterThan(index * 5 - 1.5));
    expect(at).toEqual(at.toSorted((one, other) => one - other));
  });

  it('does not make up for a stall in a burst', async () => {
    let clock = 0;
    const take = pacer(100, () => clock);
    await take(running);
    clock = 10_000;
    const stopped = new AbortController();
    await take(running);
    const next = take(stopped.signal);
    stopped.abort();
    await expect(next).rejects.toThrow('aborted');
  });

  it('sets no limit at 0', async () => {
    const take = pacer(0, () => {
      throw new Error('no clock is needed');
    });
    await turns(take, 1000);
  });
});
