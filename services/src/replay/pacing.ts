/** A consumer as its heartbeats have it. */
export interface Behind {
  readonly consumer: string;
  /** Age of the oldest record that waits. */
  readonly seconds: number;
  /** The limit of its rate, in records per second; null for none. */
  readonly rate: number | null;
}

/** A replay that runs. */
export interface Running {
  readonly id: string;
  readonly consumer: string;
  /** What others may be behind at the most, in seconds. */
  readonly maxLagSeconds: number;
  /** The limit that somebody asked for, in records per second; null for none. */
  readonly asked: number | null;
  /** How fast it goes, in records per second. */
  readonly speed: number;
}

/** Records per second to which a replay is held. */
export interface Pace {
  readonly id: string;
  readonly consumer: string;
  readonly rate: number | null;
}

export interface Pacing {
  /** @returns what is to be ordered now */
  decide(running: readonly Running[], consumers: readonly Behind[]): readonly Pace[];
  /** The consumer for whose sake a replay goes slower. */
  slowedFor(id: string): string | undefined;
}

/** So slow a replay still ends. */
const leastRate = 100;
/** Halved at once and let go step by step, as TCP does it: others recover soon, and the replay does not swing. */
const [slower, faster] = [0.5, 1.5];
/** An order that no heartbeat has shown by then is given again, in milliseconds. */
const unseenMs = 10_000;

interface Known {
  /** Those that were behind before: not for the sake of this replay. */
  readonly behindBefore: Set<string>;
  /** What it did before it was slowed down. */
  free: number;
  ordered?: { readonly rate: number | null; readonly at: number };
  slowedFor?: string | undefined;
}

/**
 * Slows replays down while other consumers fall behind, and lets them go when these have caught up. Where a replay stands is in the heartbeats of its
 * consumer, so that another service goes on where this one ended.
 */
export function createPacing(now: () => number): Pacing {
  const known = new Map<string, Known>();

  const paceOf = (replay: Running, own: Behind, others: readonly Behind[]): Pace | undefined => {
    const { id, consumer, asked, maxLagSeconds: most } = replay;
    let state = known.get(id);
    if (state === undefined) {
      const before = others.filter(({ seconds }) => seconds > most).map((each) => each.consumer);
      known.set(id, (state = { behindBefore: new Set(before), free: replay.speed }));
    }
    for (const { consumer: other, seconds } of others) if (seconds <= most) state.behindBefore.delete(other);
    const { ordered } = state;
    if (ordered !== undefined && ordered.rate !== own.rate && now() - ordered.at < unseenMs) return undefined;
    const held = own.rate !== null && (asked === null || own.rate < asked);
    if (!held) state.free = Math.max(state.free, replay.speed);

    const worst = others.filter((each) => !state.behindBefore.has(each.consumer)).sort((a, b) => b.seconds - a.seconds)[0];
    const order = (rate: number | null): Pace | undefined => {
      if (rate === own.rate) return undefined;
      state.ordered = { rate, at: now() };
      return { id, consumer, rate };
    };
    if (worst !== undefined && worst.seconds > most) {
      state.slowedFor = worst.consumer;
      const rate = own.rate ?? Math.max(replay.speed, leastRate);
      return order(rate <= leastRate ? own.rate : Math.max(leastRate, Math.floor(rate * slower)));
    }
    if (!held) {
      state.slowedFor = undefined;
      return undefined;
    }
    if (worst !== undefined && worst.seconds > most / 2) return undefined;
    const next = Math.ceil(own.rate * faster);
    const end = asked ?? state.free;
    return order(next < end ? next : asked);
  };

  return {
    decide(running, consumers) {
      for (const id of known.keys()) if (!running.some((each) => each.id === id)) known.delete(id);
      const replayed = new Set(running.map(({ consumer }) => consumer));
      const others = consumers.filter(({ consumer }) => !replayed.has(consumer));
      return running.flatMap((replay) => {
        const own = consumers.find(({ consumer }) => consumer === replay.consumer);
        // Nobody runs it now.
        return own === undefined ? [] : (paceOf(replay, own, others) ?? []);
      });
    },
    slowedFor: (id) => known.get(id)?.slowedFor,
  };
}
