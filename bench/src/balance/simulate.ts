import type { BalancePolicy, Load } from '@spool/services/autoscaler';
import type { DayOfLoad } from './load.js';

export interface SimulatedBundle extends BalancePolicy {
  /** Records a second that one instance handles. */
  readonly capacity: number;
  /** Who waits longer is too late. Seconds. */
  readonly objectiveSeconds: number;
  /** From asked for to at work. */
  readonly startSeconds: number;
  /** No partition is worked on while they are shared out anew. */
  readonly rebalanceSeconds: number;
}

/** What a rule is shown. */
export interface Seen extends Omit<Load, 'at' | 'frozen'> {
  readonly second: number;
  readonly rebalancing: boolean;
}

/** Says how many instances a bundle is to have. Made anew for each bundle, since most remember something. */
export interface Rule {
  readonly name: string;
  /** How often it is asked, in seconds. */
  readonly everySeconds: number;
  create(policy: BalancePolicy & { readonly capacity: number }): (seen: Seen) => number;
}

export interface Simulated {
  readonly records: number;
  /** That waited longer than the objective. */
  readonly late: number;
  readonly instanceSeconds: number;
  /** Times at which the number of instances was changed. */
  readonly changes: number;
  /** Changes that undo one of the ten minutes before. */
  readonly reversals: number;
}

/** Seen since the rule was asked last. */
const nothing = (instances: number) => ({ arrivals: 0, departures: 0, seconds: 0, worked: new Float64Array(instances) });
const undoneWithinSeconds = 600;

/** One bundle under one rule: partitions belong to instances in turns, an instance shares its time among its own by what waits in them. */
export function simulate(bundle: SimulatedBundle, load: DayOfLoad, rule: Rule): Simulated {
  const { capacity, objectiveSeconds, startSeconds, rebalanceSeconds, min } = bundle;
  const partitions = load.shares.length;
  const lag = new Float64Array(partitions);
  const ask = rule.create(bundle);
  let instances = Math.max(1, min);
  let starting: { at: number; many: number }[] = [];
  let stoppedUntil = 0;
  let since = nothing(instances);
  const total = { records: 0, late: 0, instanceSeconds: 0, changes: 0, reversals: 0 };
  let last = { second: -Infinity, up: false };
  const shareOut = (second: number, many: number): void => {
    if (many === instances) return;
    instances = many;
    stoppedUntil = second + rebalanceSeconds;
    since = nothing(instances);
  };
  for (let second = 0; second < load.seconds; second++) {
    // 1. Those that are ready.
    const ready = starting.filter(({ at }) => at <= second).reduce((sum, { many }) => sum + many, 0);
    if (ready > 0) {
      starting = starting.filter(({ at }) => at > second);
      shareOut(second, instances + ready);
    }
    // 2. What comes, and what is handled.
    const rate = load.rate(second);
    const able = second < stoppedUntil ? 0 : capacity;
    for (let own = 0; own < instances; own++) {
      let waiting = 0;
      let came = 0;
      for (let partition = own; partition < partitions; partition += instances) {
        const arrived = rate * load.shares[partition]!;
        came += arrived;
        waiting += lag[partition]! += arrived;
      }
      total.records += came;
      if (waiting > capacity * objectiveSeconds) total.late += came;
      const handled = Math.min(able, waiting);
      const left = waiting === 0 ? 0 : 1 - handled / waiting;
      for (let partition = own; partition < partitions; partition += instances) lag[partition]! *= left;
      since.arrivals += came;
      since.departures += handled;
      since.worked[own]! += handled / capacity;
    }
    since.seconds += 1;
    const all = instances + starting.reduce((sum, { many }) => sum + many, 0);
    total.instanceSeconds += all;
    // 3. What the rule says.
    if (second % rule.everySeconds !== 0) continue;
    const { arrivals, departures, seconds, worked } = since;
    const desired = ask({
      second,
      rebalancing: second < stoppedUntil,
      instances,
      starting: all - instances,
      partitions,
      arrivals: arrivals / Math.max(1, seconds),
      departures: departures / Math.max(1, seconds),
      utilisation: worked.reduce((sum, each) => sum + each, 0) / instances / Math.max(1, seconds),
      busiest: Math.max(...worked) / Math.max(1, seconds),
      lag: lag.reduce((sum, each) => sum + each, 0),
    });
    since = nothing(instances);
    if (desired === all) continue;
    const up = desired > all;
    total.changes += 1;
    if (last.up !== up && second - last.second <= undoneWithinSeconds) total.reversals += 1;
    last = { second, up };
    if (up) starting.push({ at: second + startSeconds, many: desired - all });
    else {
      // Those that do not work yet go first.
      let fewer = all - desired;
      while (fewer > 0 && starting.length > 0) {
        const { at, many } = starting.pop()!;
        const kept = Math.max(0, many - fewer);
        fewer -= many - kept;
        if (kept > 0) starting.push({ at, many: kept });
      }
      shareOut(second, Math.max(1, instances - fewer));
    }
  }
  return total;
}
