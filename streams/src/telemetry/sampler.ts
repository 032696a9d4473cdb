/** Decides which spans are emitted when there are more than a budget allows. */
export interface Sampler {
  /**
   * How many spans this one stands for; 0 when it is left out. Ask before making it: making it is what costs.
   * @param trace W3C trace id, or undefined where none is known. Spans of one trace are taken or left out together while the share is the same,
   *   and what a process with a smaller share takes, one with a larger takes too: so traces stay whole.
   */
  weigh(trace?: string): number;
  /** How many were taken since the start. */
  readonly taken: number;
  /** How many were left out since the start. */
  readonly leftOut: number;
}

const windowMs = 1000;

/**
 * Each span has the same chance, from the rate of the window before: slow and fast, first and last alike. Its weight is one by the chance, so that
 * sums of weights tell how many there were. Within the budget all are taken.
 */
export function createSampler(perSecond: number, now: () => number, random: () => number = Math.random): Sampler {
  let began = now();
  let seen = 0;
  let chance = 1;
  let taken = 0;
  let leftOut = 0;
  return {
    weigh(trace) {
      const at = now();
      if (at - began >= windowMs) {
        chance = Math.min(1, (perSecond * (at - began)) / windowMs / Math.max(1, seen));
        began = at;
        seen = 0;
      }
      seen += 1;
      // A burst that the window before did not foretell: half of the share that what has come so far would have.
      const share = seen * chance > 1.5 * perSecond ? perSecond / (2 * seen) : chance;
      if (share >= 1) {
        taken += 1;
        return 1;
      }
      if ((drawnBy(trace) ?? random()) >= share) {
        leftOut += 1;
        return 0;
      }
      taken += 1;
      // A whole number that is right on average, so that counts stay counts.
      const exact = 1 / share;
      const whole = Math.floor(exact);
      return random() < exact - whole ? whole + 1 : whole;
    },
    get taken() {
      return taken;
    },
    get leftOut() {
      return leftOut;
    },
  };
}

/** Trace ids are random; their last digits are the draw, as OpenTelemetry has it. */
function drawnBy(trace: string | undefined): number | undefined {
  if (trace === undefined) return undefined;
  const drawn = parseInt(trace.slice(-8), 16) / 0x1_0000_0000;
  return Number.isNaN(drawn) ? undefined : drawn;
}
