import { createSampler } from './sampler.js';

describe('the sampler of spans', () => {
  it('takes all within the budget, and counts none as left out', () => {
    let clock = 0;
    const sampler = createSampler(1000, () => clock);
    let taken = 0;
    for (let n = 0; n < 5000; n++) {
      clock = n;
      if (sampler.take()) taken += 1;
    }
    expect([taken, sampler.leftOut]).toEqual([5000, 0]);
  });

  it('takes about the budget beyond it, evenly over each second, and counts the rest', () => {
    let clock = 0;
    let seed = 1;
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    const sampler = createSampler(1000, () => clock, random);
    const halves = [0, 0];
    let taken = 0;
    for (let n = 0; n < 100_000; n++) {
      clock = n / 10;
      if (!sampler.take()) continue;
      taken += 1;
      // The first second has no rate before it.
      if (n >= 10_000) halves[n % 10_000 < 5000 ? 0 : 1]! += 1;
    }
    expect(taken + sampler.leftOut).toBe(100_000);
    expect(taken).toBeGreaterThan(9000);
    expect(taken).toBeLessThan(12_500);
    expect(Math.abs(halves[0]! - halves[1]!)).toBeLessThan(500);
  });
});
