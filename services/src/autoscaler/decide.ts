/** What is known of a bundle at one moment, over all of its instances. Rates are those since the moment before. */
export interface Load {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** That take work. */
  readonly instances: number;
  /** That were asked for and do not take work yet. */
  readonly starting: number;
  /** That work can be spread over: those held up by a record that cannot be handled are left out, here and in the lag. */
  readonly partitions: number;
  /** Messages a second. */
  readonly arrivals: number;
  readonly departures: number;
  /** The part of its time in which an instance is at work, 0 to 1; of all, and of the busiest. */
  readonly utilisation: number;
  readonly busiest: number;
  /** Records that wait. */
  readonly lag: number;
  /** While set, figures tell of it and not of the load: nothing is changed and nothing learned. */
  readonly frozen?: 'replay' | 'rebalance' | undefined;
}

/** What the owner of a bundle wants. */
export interface BalancePolicy {
  readonly min: number;
  readonly max: number;
  /** The part of an instance's time that is to be used, above 0 and at most 1. @default 0.7; above 0.9 small bursts become lag */
  readonly targetUtilisation?: number;
  /** What waits is to be handled within this time. Milliseconds. @default 30000; shorter costs more instances for each burst */
  readonly drainMs?: number;
  /** So long more must be wanted before there are more. Milliseconds. @default 10000; 0 follows each burst */
  readonly upHoldMs?: number;
  /** So long fewer must be enough before there are fewer. Milliseconds. @default 300000; short ones make instances come and go */
  readonly downHoldMs?: number;
  /** Differences up to this part of what there is change nothing. @default 0.1 */
  readonly tolerance?: number;
}

/** What one decision leaves to the next. */
export interface BalanceMemory {
  /** What was wanted and when, oldest first, as far back as the longer hold-down. */
  readonly wanted: readonly { readonly at: number; readonly instances: number }[];
  /** Messages a second that an instance can handle; undefined until one was seen at work. */
  readonly capacity: number | undefined;
  /** Since when it looks; undefined: not yet. */
  readonly since: number | undefined;
  /** What was decided last; undefined: nothing yet. */
  readonly desired: number | undefined;
}
export const noMemory: BalanceMemory = { wanted: [], capacity: undefined, since: undefined, desired: undefined };

export interface Decision {
  readonly desired: number;
  /** Those that there are, the starting ones among them. */
  readonly current: number;
  /** By each term alone, before bounds and hold-downs. */
  readonly byUtilisation: number;
  readonly byDrain: number;
  /** In a sentence. */
  readonly reason: string;
  /** How long what waits takes with `desired` instances, once they all work; undefined: it cannot be known, or never ends. Milliseconds. */
  readonly predictedDrainMs: number | undefined;
}

/** A new figure's weight in what an instance can handle: the last few decide, and one alone does not. */
const weight = 0.2;
/** Below it an instance tells little of what it can do. */
const leastUtilisation = 0.05;
/** More instances spread what comes unevenly, up to a point: one hot partition stays with one of them. */
const mostSkew = 1.5;

/**
 * How many instances a bundle is to have: as many as keep them at the wanted utilisation, or drain what waits in time, whichever is more, within
 * `min`, `max` and the number of partitions. Pure: the same load, policy and memory are the same decision.
 */
export function decide(
  load: Load,
  policy: BalancePolicy,
  memory: BalanceMemory,
): { readonly decision: Decision; readonly memory: BalanceMemory } {
  const { targetUtilisation = 0.7, drainMs = 30_000, upHoldMs = 10_000, downHoldMs = 300_000, tolerance = 0.1 } = policy;
  const current = load.instances + load.starting;
  const most = Math.max(policy.min, Math.min(policy.max, load.partitions));
  const clamp = (instances: number): number => Math.min(most, Math.max(policy.min, instances));
  const since = memory.since ?? load.at;

  // 1. Nothing to learn.
  if (load.frozen !== undefined) {
    const reason = `nothing changes during a ${load.frozen}`;
    // Not as many as there are: those that come or go are what the figures tell of. Bounds hold, but not that of partitions which are on their way.
    const desired = Math.min(policy.max, Math.max(policy.min, memory.desired ?? current));
    const decision = { desired, current, byUtilisation: current, byDrain: current, reason, predictedDrainMs: undefined };
    return { decision, memory: { ...memory, since, desired } };
  }

  // 2. What one instance can do, and so how many are needed.
  const capacity = learned(load, memory.capacity);
  const skew = load.utilisation > leastUtilisation ? Math.min(mostSkew, Math.max(1, load.busiest / load.utilisation)) : 1;
  const byUtilisation = capacity === undefined ? current : (load.arrivals * skew) / (capacity * targetUtilisation);
  const byDrain = capacity === undefined ? current : (load.arrivals + load.lag / (drainMs / 1000)) / capacity;
  const needed = Math.max(byUtilisation, byDrain);
  const near = current > 0 && Math.abs(needed / current - 1) <= tolerance;
  const now = clamp(near ? current : Math.ceil(needed));

  // 3. It must have been so for a while.
  const wanted = [...memory.wanted.filter(({ at }) => at >= load.at - Math.max(upHoldMs, downHoldMs)), { at: load.at, instances: now }];
  const within = (ms: number): readonly number[] => wanted.filter(({ at }) => at >= load.at - ms).map(({ instances }) => instances);
  const looked = load.at - since;
  const up = looked >= upHoldMs ? Math.min(...within(upHoldMs)) : current;
  const down = looked >= downHoldMs ? Math.max(...within(downHoldMs)) : current;
  // What the owner or the partitions allow holds at once.
  const desired = clamp(up > current ? up : down < current ? down : current);

  const spare = capacity === undefined ? 0 : desired * capacity - load.arrivals;
  const predictedDrainMs = load.lag === 0 ? 0 : spare > 0 ? (load.lag / spare) * 1000 : undefined;
  const terms = { now, byUtilisation, byDrain, skew, most, policy };
  return {
    decision: { desired, current, byUtilisation, byDrain, reason: reasonOf(desired, current, terms), predictedDrainMs },
    memory: { wanted, capacity, since, desired },
  };
}

function learned({ instances, departures, utilisation }: Load, before: number | undefined): number | undefined {
  if (instances === 0 || departures <= 0 || utilisation < leastUtilisation) return before;
  const seen = departures / (instances * utilisation);
  return before === undefined ? seen : before + weight * (seen - before);
}

interface Terms {
  readonly now: number;
  readonly byUtilisation: number;
  readonly byDrain: number;
  readonly skew: number;
  readonly most: number;
  readonly policy: BalancePolicy;
}

function reasonOf(desired: number, current: number, { now, byUtilisation, byDrain, skew, most, policy }: Terms): string {
  const uneven = skew > 1.1 ? ', the busiest of them much busier than the others' : '';
  const why =
    byDrain > byUtilisation
      ? `what waits and what comes need ${byDrain.toFixed(1)} instances`
      : `what comes keeps ${byUtilisation.toFixed(1)} instances at the wanted utilisation${uneven}`;
  if (Math.ceil(Math.max(byDrain, byUtilisation)) > most && desired === most) {
    return `${why}; there can be ${most}: ${most < policy.max ? 'there are no more partitions' : 'its maximum'}`;
  }
  if (desired === current && now !== current)
    return `${why}; held, since ${now > current ? 'more' : 'fewer'} were not wanted for long enough`;
  return desired === policy.min && now === policy.min ? `${why}; its minimum is ${policy.min}` : why;
}
