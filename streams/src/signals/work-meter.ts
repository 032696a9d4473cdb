/** What an instance handled since it was last asked. */
export interface Handled {
  readonly handled: number;
  readonly failed: number;
  /** Milliseconds; 0 without any. */
  readonly p99Ms: number;
}

/** Counts every message that an instance handles, whatever became of its span. */
export interface WorkMeter {
  /** @param ms what it took */
  handled(ms: number, failed: boolean): void;
  /** Ends a period. */
  take(): Handled;
}

/** Beyond it each further time takes the place of an older one. */
const timesKept = 1024;

export function createWorkMeter(): WorkMeter {
  let times: number[] = [];
  let handled = 0;
  let failed = 0;
  return {
    handled(ms, isFailed) {
      times[handled % timesKept] = ms;
      handled += 1;
      if (isFailed) failed += 1;
    },
    take() {
      const sorted = times.toSorted((a, b) => a - b);
      const taken = { handled, failed, p99Ms: sorted[Math.max(0, Math.ceil(sorted.length * 0.99) - 1)] ?? 0 };
      times = [];
      handled = failed = 0;
      return taken;
    },
  };
}
