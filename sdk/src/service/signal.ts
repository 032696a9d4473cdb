export interface OpenSignal extends Disposable {
  readonly signal: AbortSignal;
}

/** Fires with another signal, or when its time is over; lets go of both when it is disposed of. @param times in milliseconds; undefined: none */
export function openSignal(other: AbortSignal, ...times: readonly (number | undefined)[]): OpenSignal {
  const controller = new AbortController();
  const end = (): void => controller.abort('the instance stops, or may lose the partition');
  if (other.aborted) end();
  else other.addEventListener('abort', end, { once: true });
  const ms = Math.min(...times.map((each) => each ?? Number.POSITIVE_INFINITY));
  const timer =
    ms < maxTimerMs ? setTimeout(() => controller.abort(`it took longer than ${Math.ceil(ms)} ms`), Math.max(0, ms)) : undefined;
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      other.removeEventListener('abort', end);
    },
  };
}

/** Node fires timers beyond it at once. */
const maxTimerMs = 2 ** 31 - 1;
