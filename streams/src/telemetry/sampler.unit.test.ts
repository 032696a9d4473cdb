import { createSampler } from './sampler.js';

const randomFrom = (first: number): (() => number) => {
  let seed = first;
  return () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
};

describe('the sampler of spans', () => {
  it('takes all within the budget, each for itself, and counts none as left out', () => {
    let clock = 0;
    const sampler = createSampler(1000, () => clock);
    let sum = 0;
    for (let n = 0; n < 5000; n++) {
      clock = n;
      sum += sampler.weigh();
    }
    expect([sum, sampler.taken, sampler.leftOut]).toEqual([5000, 5000, 0]);
  });

  it('takes about the budget beyond it, evenly over each second, and counts the rest', () => {
    let clock = 0;
    const sampler = createSampler(1000, () => clock, randomFrom(1));
    const halves = [0, 0];
    for (let n = 0; n < 100_000; n++) {
      clock = n / 10;
      // The first second has no rate before it.
      if (sampler.weigh() > 0 && n >= 10_000) halves[n % 10_000 < 5000 ? 0 : 1]! += 1;
    }
    expect(sampler.taken + sampler.leftOut).toBe(100_000);
    expect(sampler.taken).toBeGreaterThan(9000);
    expect(sampler.taken).toBeLessThan(12_500);
    expect(Math.abs(halves[0]! - halves[1]!)).toBeLessThan(500);
  });

  it('weighs what it takes so that the sum is the number there were, of each kind, through bursts and lulls', () => {
    let clock = 0;
    const sampler = createSampler(1000, () => clock, randomFrom(7));
    const made = { frequent: 0, rare: 0, bursty: 0 };
    const weighed = { frequent: 0, rare: 0, bursty: 0 };
    for (let n = 0; n < 600_000; n++) {
      // Every third second is ten times as busy: 30,000 a second instead of 3,000.
      const busy = Math.floor(clock / 1000) % 3 === 2;
      clock += busy ? 1 / 30 : 1 / 3;
      const kind = n % 50 === 0 ? 'rare' : busy ? 'bursty' : 'frequent';
      made[kind] += 1;
      weighed[kind] += sampler.weigh();
    }
    for (const kind of ['frequent', 'rare', 'bursty'] as const) {
      expect(Math.abs(weighed[kind] / made[kind] - 1)).toBeLessThan(0.1);
    }
    expect(sampler.taken).toBeLessThan(200_000);
  });

  it('takes a trace whole, and no trace that one with a larger share leaves out', () => {
    let clock = 0;
    const random = randomFrom(3);
    const trace = (): string =>
      Math.floor(random() * 2 ** 32)
        .toString(16)
        .padStart(32, '0');
    const small = createSampler(100, () => clock, random);
    const large = createSampler(500, () => clock, random);
    const tell = { split: 0, alone: 0, both: 0 };
    for (let n = 0; n < 50_000; n++) {
      clock = n;
      const id = trace();
      const first = small.weigh(id) > 0;
      const second = small.weigh(id) > 0;
      const other = large.weigh(id) > 0;
      if (n < 10_000) continue;
      if (first !== second) tell.split += 1;
      if (first && !other) tell.alone += 1;
      if (first && other) tell.both += 1;
    }
    expect(tell).toMatchObject({ alone: 0 });
    expect(tell.split).toBeLessThan(50); // where the share changes between the two
    expect(tell.both).toBeGreaterThan(1000);
  });
});
