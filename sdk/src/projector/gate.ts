import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { backOffMs, type RunningProcessor } from '@spool/streams';

/** Whether a read model has come to where the log ended when it was started. */
export interface Gate {
  /**
   * Resolves when it has. It waits a second at the most, and not beyond the deadline.
   * @param deadline milliseconds since the epoch
   * @throws SpoolError UNAVAILABLE, with how far it is
   */
  passable(deadline: number): Promise<void>;
  /** Resolves when it has. @throws SpoolError UNAVAILABLE when the time is over or the signal fires */
  passed(withinMs: number, signal: AbortSignal): Promise<void>;
}

const patienceMs = 1000;
const retryAfterMs = 1000;

type Built = Pick<RunningProcessor, 'status'> & { caughtUp(signal: AbortSignal): Promise<void> };

/** @param now the clock of deadlines */
export function openGate(projector: string, processor: Built, now: () => number): Gate {
  let open = false;
  const stop = new AbortController();
  const reached = (async () => {
    for (let failures = 0; !open; failures++) {
      try {
        await processor.caughtUp(stop.signal);
        open = true;
      } catch (error) {
        if (stop.signal.aborted || processor.status().state === 'stopped') throw error;
        await sleep(backOffMs(failures));
      }
    }
  })();
  // Who waits for it hears of it.
  reached.catch(() => undefined);
  const within = async (ms: number): Promise<void> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.max(0, ms))));
    await Promise.race([reached.catch(() => undefined), late]);
    clearTimeout(timer);
    if (open) return;
    throw new SpoolError('UNAVAILABLE', `the read model of ${projector} is being built: ${progress(processor)}`, { retryAfterMs });
  };
  return {
    passable: (deadline) => (open ? Promise.resolve() : within(Math.min(patienceMs, deadline - now()))),
    async passed(withinMs, signal) {
      const aborted = new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await Promise.race([within(withinMs), aborted]);
      if (open) return;
      stop.abort();
      throw new SpoolError('UNAVAILABLE', `the instance stops before the read model of ${projector} is built`);
    },
  };
}

function progress(processor: Built): string {
  const { partitions, error } = processor.status();
  let at = 0n;
  let of = 0n;
  for (const { position, end } of partitions) {
    at += position < end ? position : end;
    of += end;
  }
  return `${at} of ${of} records${error === undefined ? '' : `; it has failed: ${error}`}`;
}
