import type { TaskContext } from './handling.js';
import type { Timer } from './timers.js';

/** One wall-clock timer of a task, at the earliest moment at which something may be due: it is written when that moment comes nearer alone. */
export interface Sweep {
  /** Something may be due at this time. */
  need(at: number, context: TaskContext): void;
  /** The timer has fired: ask for the next with `need`. @returns how late it fired, in milliseconds */
  fired(timer: Timer, context: TaskContext): number;
}

export function sweepTimer(name: string): Sweep {
  let planned: number | undefined;
  let pending: { readonly context: TaskContext; readonly at: number | undefined } | undefined;
  const put = (at: number | undefined, context: TaskContext): void => {
    pending = { context, at };
    context.committed(() => (planned = at));
  };
  return {
    need(at, context) {
      const known = pending?.context === context ? pending.at : planned;
      if (known !== undefined && known <= at) return;
      context.schedule({ name, key: '', clock: 'wall', at });
      put(at, context);
    },
    fired(timer, context) {
      put(undefined, context);
      return context.now - timer.at;
    },
  };
}
