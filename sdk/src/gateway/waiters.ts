import { SpoolError, type Reply } from '@spool/schemas';

/** Those who wait for replies, by the message that each has sent. */
export interface Waiters {
  readonly size: number;
  has(messageId: string): boolean;
  /** @throws SpoolError INDETERMINATE up to 10 ms after the deadline; what `sent` fails with, at once */
  add(messageId: string, deadline: number, sent: Promise<unknown> | undefined): Promise<Reply>;
  resolve(messageId: string, reply: Reply): void;
  reject(messageId: string, error: SpoolError): void;
  rejectAll(error: SpoolError): void;
}

interface Waiter {
  readonly messageId: string;
  /** By `performance.now()`, which nobody sets. */
  readonly due: number;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/** Waiters are looked through for late ones at most so often, in milliseconds. */
const sweepMs = 10;

/** One timer serves all who wait, since one for each costs more than its waiting. */
export function createWaiters(now: () => number): Waiters {
  const waiters = new Map<string, Waiter[]>();
  let size = 0;
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Number.POSITIVE_INFINITY;

  const take = (messageId: string): readonly Waiter[] => {
    const found = waiters.get(messageId);
    if (found === undefined) return [];
    waiters.delete(messageId);
    size -= found.length;
    return found;
  };
  const drop = (waiter: Waiter, error: unknown): void => {
    const same = waiters.get(waiter.messageId);
    if (same?.includes(waiter) !== true) return;
    if (same.length === 1) waiters.delete(waiter.messageId);
    else same.splice(same.indexOf(waiter), 1);
    size -= 1;
    waiter.reject(error);
  };
  const sweepAt = (due: number, atLeastMs: number): void => {
    clearTimeout(timer);
    timerAt = due;
    timer = setTimeout(sweep, Math.max(atLeastMs, due - performance.now()));
  };
  const sweep = (): void => {
    timerAt = Number.POSITIVE_INFINITY;
    const at = performance.now();
    let next = Number.POSITIVE_INFINITY;
    const late: Waiter[] = [];
    for (const same of waiters.values()) {
      for (const waiter of same) {
        if (waiter.due <= at) late.push(waiter);
        else if (waiter.due < next) next = waiter.due;
      }
    }
    late.sort((a, b) => a.due - b.due);
    for (const waiter of late) drop(waiter, new SpoolError('INDETERMINATE', `no reply to ${waiter.messageId} before its deadline`));
    if (next < timerAt) sweepAt(next, sweepMs);
  };
  const rejectAll = (error: SpoolError): void => {
    clearTimeout(timer);
    timerAt = Number.POSITIVE_INFINITY;
    for (const messageId of [...waiters.keys()]) for (const waiter of take(messageId)) waiter.reject(error);
  };

  return {
    get size() {
      return size;
    },
    has: (messageId) => waiters.has(messageId),
    add: (messageId, deadline, sent) =>
      new Promise((resolve, reject) => {
        const due = performance.now() + Math.max(0, deadline - now());
        const waiter = { messageId, due, resolve, reject };
        const same = waiters.get(messageId);
        if (same === undefined) waiters.set(messageId, [waiter]);
        else same.push(waiter);
        size += 1;
        if (due < timerAt) sweepAt(due, 0);
        sent?.catch((error: unknown) => drop(waiter, error));
      }),
    resolve(messageId, reply) {
      for (const waiter of take(messageId)) waiter.resolve(reply);
    },
    reject(messageId, error) {
      for (const waiter of take(messageId)) waiter.reject(error);
    },
    rejectAll,
  };
}
