import { SpoolError } from '@spool/schemas';

/**
 * Work with an end: `signal` fires when it is done, when the time is up or when the bundle stops, and nothing waits for the work any longer.
 * @throws SpoolError UNAVAILABLE when the bundle stops first, and what `late` gives when the time is up first
 */
export async function bounded<T>(
  { timeoutMs, stop, late }: { readonly timeoutMs: number; readonly stop?: AbortSignal; readonly late: () => Error },
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const end = new AbortController();
  const stopped = (): void => end.abort(new SpoolError('UNAVAILABLE', 'the bundle stops'));
  const timer = setTimeout(() => end.abort(late()), timeoutMs);
  stop?.addEventListener('abort', stopped, { once: true });
  try {
    if (stop?.aborted === true) stopped();
    end.signal.throwIfAborted();
    return await new Promise<T>((resolve, reject) => {
      end.signal.addEventListener('abort', () => reject(end.signal.reason as Error), { once: true });
      Promise.resolve(work(end.signal)).then(resolve, reject);
    });
  } finally {
    clearTimeout(timer);
    stop?.removeEventListener('abort', stopped);
    // What it has left open, such as a subscription, has nobody any more.
    end.abort();
  }
}
