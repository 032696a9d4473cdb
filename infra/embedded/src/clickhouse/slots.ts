import { EngineError } from './engine-error.js';
import type { Limits } from './limits.js';

/** A bounded number of places, and a bounded queue in front of them. */
export interface Slots {
  /** Resolves with the call that gives the place back. @throws EngineError 202 when the queue is full or the wait too long; 394 on abort. */
  take(signal: AbortSignal): Promise<() => void>;
}

export function createSlots({ concurrency, waiting, waitMs }: Pick<Limits, 'concurrency' | 'waiting' | 'waitMs'>): Slots {
  let free = concurrency;
  const queue = new Set<() => void>();
  const giveBack = (): void => {
    const [first] = queue;
    if (first === undefined) free += 1;
    else first();
  };
  const once = (): (() => void) => {
    let isHeld = true;
    return () => {
      if (isHeld) giveBack();
      isHeld = false;
    };
  };
  return {
    take(signal) {
      if (free > 0) {
        free -= 1;
        return Promise.resolve(once());
      }
      if (queue.size >= waiting) return Promise.reject(busy(`${concurrency} statements run and ${waiting} wait`));
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          queue.delete(enter);
          clearTimeout(timer);
          signal.removeEventListener('abort', abort);
        };
        const enter = (): void => {
          leave();
          resolve(once());
        };
        const abort = (): void => {
          leave();
          reject(new EngineError(394, 'QUERY_WAS_CANCELLED', 'The client went away while the query waited.'));
        };
        const timer = setTimeout(() => {
          leave();
          reject(busy(`no place within ${waitMs} ms`));
        }, waitMs);
        signal.addEventListener('abort', abort, { once: true });
        queue.add(enter);
      });
    },
  };
}

const busy = (why: string): EngineError =>
  new EngineError(202, 'TOO_MANY_SIMULTANEOUS_QUERIES', `Too many simultaneous queries: ${why}. Try again later.`);
