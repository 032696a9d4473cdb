type Stop = () => Promise<void>;
const key = Symbol.for('spool.testing.stop-broker');
const shared = globalThis as typeof globalThis & { [key]?: Stop | undefined };

/** Hands the way to stop the broker from jest's set-up to its tear-down, which may load their modules apart. */
export function keepForTeardown(stop: Stop): void {
  shared[key] = stop;
}

export function takeForTeardown(): Stop | undefined {
  const stop = shared[key];
  shared[key] = undefined;
  return stop;
}
