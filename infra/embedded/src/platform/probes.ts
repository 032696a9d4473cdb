import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves when a GET of `url` answers 200. @throws when `signal` aborts. */
export async function untilHttpOk(url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.status === 200) return;
    await sleep(100, undefined, { signal });
  }
}
