/** Decides which spans are emitted when there are more than a budget allows. */
export interface Sampler {
  /** Whether this one is emitted. Ask before making it: making it is what costs. */
  take(): boolean;
  /** How many were left out since the start. */
  readonly leftOut: number;
}

const windowMs = 1000;

/**
 * Each span of a window has the same chance, from the rate of the window before: slow and fast, first and last alike. Within the budget all
 * are taken.
 */
export function createSampler(perSecond: number, now: () => number, random: () => number = Math.random): Sampler {
  let began = now();
  let seen = 0;
  let chance = 1;
  let leftOut = 0;
  return {
    take() {
      const at = now();
      if (at - began >= windowMs) {
        chance = Math.min(1, (perSecond * (at - began)) / windowMs / Math.max(1, seen));
        began = at;
        seen = 0;
      }
      seen += 1;
      // A burst that the window before did not foretell: half of the share that what has come so far would have.
      const share = seen * chance > 1.5 * perSecond ? perSecond / (2 * seen) : chance;
      if (share >= 1 || random() < share) return true;
      leftOut += 1;
      return false;
    },
    get leftOut() {
      return leftOut;
    },
  };
}
