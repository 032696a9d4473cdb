import fc from 'fast-check';
import { decide, noMemory, type BalanceMemory, type BalancePolicy, type Decision, type Load } from './decide.js';

const policy: BalancePolicy = { min: 1, max: 10 };
const quiet: Load = {
  at: 0,
  instances: 2,
  starting: 0,
  partitions: 12,
  arrivals: 140,
  departures: 140,
  utilisation: 0.7,
  busiest: 0.7,
  lag: 0,
};

/** One decision every five seconds over a stretch of time; instances stay as they are. */
function over(
  ms: number,
  load: Partial<Load>,
  from: { readonly at: number; readonly memory: BalanceMemory } = { at: 0, memory: noMemory },
) {
  let { at, memory } = from;
  const decisions: Decision[] = [];
  for (const end = at + ms; at <= end; at += 5000) {
    const taken = decide({ ...quiet, ...load, at }, policy, memory);
    decisions.push(taken.decision);
    memory = taken.memory;
  }
  return { at, memory, decisions, last: decisions.at(-1)! };
}

describe('how many instances a bundle is to have', () => {
  it('are as many as keep them at the wanted utilisation', () => {
    // 100 a second each; 280 a second at 0.7 are four.
    expect(over(20_000, { arrivals: 280, departures: 200, utilisation: 1, busiest: 1 }).last).toMatchObject({ desired: 4, current: 2 });
  });

  it('are as many as drain what waits in time, when that is more', () => {
    const { last } = over(20_000, { lag: 15_000, departures: 200, utilisation: 1, busiest: 1 });
    // 140 a second come, and 15,000 in 30 s are 500 more.
    expect(last).toMatchObject({ desired: 7, byDrain: expect.closeTo(6.4) as unknown });
    expect(last.predictedDrainMs).toBeCloseTo((15_000 / (700 - 140)) * 1000);
    expect(last.reason).toContain('what waits');
  });

  it('stay while more have not been wanted for ten seconds, or fewer for five minutes', () => {
    const calm = over(600_000, {});
    const burst = over(5000, { lag: 20_000 }, calm);
    expect(burst.last).toMatchObject({ desired: 2, reason: expect.stringContaining('held') as unknown });
    expect(over(5000, { lag: 20_000 }, burst).last.desired).toBeGreaterThan(2);
    const idle = over(290_000, { arrivals: 30, departures: 30, utilisation: 0.15, busiest: 0.15 }, calm);
    expect(idle.last.desired).toBe(2);
    expect(over(15_000, { arrivals: 30, departures: 30, utilisation: 0.15, busiest: 0.15 }, idle).last.desired).toBe(1);
  });

  it('count those that start', () => {
    const load = { arrivals: 280, departures: 200, utilisation: 1, busiest: 1, starting: 2 };
    expect(over(30_000, load).decisions.map(({ desired }) => desired)).toEqual(Array(7).fill(4));
  });

  it('are not changed by what is seen in a replay or a rebalance', () => {
    const calm = over(60_000, {});
    const replay = over(600_000, { departures: 5000, utilisation: 1, lag: 1e6, frozen: 'replay' }, calm);
    expect(new Set(replay.decisions.map(({ desired }) => desired))).toEqual(new Set([2]));
    expect(replay.memory).toEqual(calm.memory);
  });

  it('are not as many as are just leaving in a rebalance, and keep to bounds that were changed', () => {
    const { memory } = over(60_000, { instances: 2 });
    const load: Load = { ...quiet, at: 1_000_000, instances: 3, frozen: 'rebalance' };
    expect(decide(load, policy, memory).decision).toMatchObject({ desired: memory.desired, current: 3 });
    expect(decide(load, { ...policy, min: 1, max: 1 }, memory).decision.desired).toBe(1);
  });

  it('are no more than there are partitions without a poison record', () => {
    const { last } = over(20_000, { lag: 1e6, partitions: 3 });
    expect(last).toMatchObject({ desired: 3, reason: expect.stringContaining('no more partitions') as unknown });
  });

  it('are more when one of them is much busier than the others', () => {
    expect(over(20_000, { utilisation: 0.6, arrivals: 120, departures: 120, busiest: 1 }).last.desired).toBe(3);
  });

  it('come to rest within bounds for any steady load', () => {
    const loads = fc.record({
      arrivals: fc.integer({ min: 0, max: 3000 }),
      partitions: fc.integer({ min: 1, max: 50 }),
      min: fc.integer({ min: 0, max: 5 }),
      more: fc.integer({ min: 0, max: 40 }),
    });
    fc.assert(
      fc.property(loads, ({ arrivals, partitions, min, more }) => {
        const own = { min, max: min + more };
        const most = Math.max(min, Math.min(own.max, partitions));
        let memory = noMemory;
        let [instances, lag] = [Math.max(1, min), 0];
        const seen: number[] = [];
        for (let at = 0; at < 3_600_000; at += 5000) {
          const able = instances * 100;
          const departures = Math.min(able, arrivals + lag / 5);
          lag = Math.max(0, lag + (arrivals - departures) * 5);
          const utilisation = able === 0 ? 0 : departures / able;
          const load = { at, instances, starting: 0, partitions, arrivals, departures, utilisation, busiest: utilisation, lag };
          const taken = decide(load, own, memory);
          memory = taken.memory;
          instances = taken.decision.desired;
          if (instances > most || (at > 0 && instances < min)) return false;
          seen.push(instances);
        }
        // What is enough to keep up is what it ends with, and the last half hour nothing moves.
        const late = new Set(seen.slice(-360));
        return late.size === 1 && (lag < 1 || instances === most);
      }),
      { numRuns: 100 },
    );
  });
});
