import { pacer } from './pacer.js';

const running = new AbortController().signal;

/** A clock that the test sets, and how long each call slept. */
function fakeClock() {
  const slept: number[] = [];
  const clock = {
    at: 1_000,
    slept,
    now: () => clock.at,
    sleep: (ms: number): Promise<void> => {
      slept.push(ms);
      return Promise.resolve();
    },
  };
  return clock;
}

describe('the pacer', () => {
  it('gives turns at the rate, in the order of the calls', async () => {
    const clock = fakeClock();
    const turn = pacer(200, clock);
    for (let call = 0; call < 4; call += 1) await turn(running);
    expect(clock.slept).toEqual([5, 10, 15]);
  });

  it('does not make up for a stall in a burst', async () => {
    const clock = fakeClock();
    const turn = pacer(200, clock);
    await turn(running);
    clock.at += 60_000;
    for (let call = 0; call < 3; call += 1) await turn(running);
    expect(clock.slept).toEqual([5, 10]);
  });

  it('sets no limit at 0', async () => {
    const clock = fakeClock();
    const turn = pacer(0, clock);
    for (let call = 0; call < 1_000; call += 1) await turn(running);
    expect(clock.slept).toEqual([]);
  });

  it('ends a wait when it is told to', async () => {
    const stop = new AbortController();
    const turn = pacer(0.001);
    await turn(stop.signal);
    const waiting = turn(stop.signal);
    stop.abort();
    await expect(waiting).rejects.toThrow('aborted');
  });
});
