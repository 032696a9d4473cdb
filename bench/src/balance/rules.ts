import { decide, noMemory, type BalancePolicy } from '@spool/services/autoscaler';
import type { Rule } from './simulate.js';

const clamp = (value: number, { min, max }: BalancePolicy, partitions: number): number =>
  Math.max(min, Math.min(max, partitions, Math.ceil(value)));

/** The platform's own code. */
export const ours: Rule = {
  name: 'Spool',
  everySeconds: 5,
  create(policy) {
    let memory = noMemory;
    return ({ second, rebalancing, ...seen }) => {
      const taken = decide({ ...seen, at: second * 1000, frozen: rebalancing ? 'rebalance' : undefined }, policy, memory);
      memory = taken.memory;
      return taken.decision.desired;
    };
  },
};

/**
 * KEDA's Kafka scaler under a HorizontalPodAutoscaler with its defaults: the lag through a threshold, asked each 15 s; a tenth of tolerance; four more or twice as many in 15 s;
 * down to the most of the last five minutes. The threshold is a setting, here in seconds of one instance's work.
 */
export const keda = (seconds: number): Rule => ({
  name: `KEDA, lag of ${seconds} s`,
  everySeconds: 15,
  create(policy) {
    const threshold = policy.capacity * seconds;
    let last: { second: number; wanted: number }[] = [];
    return ({ second, lag, instances, starting, partitions }) => {
      const current = instances + starting;
      const near = current > 0 && Math.abs(lag / threshold / current - 1) <= 0.1;
      const wanted = clamp(near ? current : Math.min(lag / threshold, Math.max(current + 4, current * 2)), policy, partitions);
      last = [...last.filter((each) => each.second > second - 300), { second, wanted }];
      return wanted >= current ? wanted : Math.min(current, Math.max(...last.map((each) => each.wanted)));
    };
  },
});

/** Evento's signals: one more when an instance suffers (so many arrivals while more than its maximum is in flight), one less when one is bored; each is counted anew once it was said. */
export const evento: Rule = {
  name: 'Evento, signals',
  everySeconds: 1,
  create(policy) {
    let [crowded, idle, idleSeconds] = [0, 0, 0];
    return ({ instances, starting, partitions, arrivals, departures, lag, utilisation }) => {
      const current = instances + starting;
      crowded = lag > instances * policy.capacity ? crowded + arrivals : 0;
      idle = utilisation < 0.3 ? idle + departures : 0;
      idleSeconds = departures < 1 ? idleSeconds + 1 : 0;
      if (starting === 0 && crowded > 5 * policy.capacity) {
        crowded = 0;
        return clamp(current + 1, policy, partitions);
      }
      if (starting === 0 && (idle > 30 * policy.capacity || idleSeconds > 60)) {
        idle = idleSeconds = 0;
        return clamp(current - 1, policy, partitions);
      }
      return current;
    };
  },
};

/** As many as there may be, all day: what no rule is to cost; what is late even then no rule can mend. */
export const fixed: Rule = {
  name: 'always the maximum',
  everySeconds: 3600,
  create:
    ({ max }) =>
    () =>
      max,
};
