import { setTimeout as sleep } from 'node:timers/promises';
import type { ReadModel } from './read-model.js';

/** One read model for all who read it, whichever copy answers. */
export interface SwitchedModel extends ReadModel {
  /** Answers begun before are given by the copy before; those who wait for a position wait for the new one to reach it. */
  switchTo(model: ReadModel): void;
  /** Resolves when no answer is made from it any more, or after the time. Milliseconds. */
  unread(model: ReadModel, withinMs: number): Promise<void>;
  /** Repeats for the copy that answers, until one is done that answers still. */
  withLive<T>(work: (model: ReadModel) => Promise<T>): Promise<T>;
}

const lookMs = 10;

export function switchedModel(first: ReadModel): SwitchedModel {
  let live = first;
  const onSwitch = new Set<() => void>();
  const listeners = new Set<() => void>();
  const readers = new Map<ReadModel, number>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  let forget = live.onCommit(tell);
  const withLive = async <T>(work: (model: ReadModel) => Promise<T>): Promise<T> => {
    for (;;) {
      const asked = live;
      const done = work(asked);
      done.catch(() => undefined);
      let wake!: () => void;
      const switched = new Promise<void>((resolve) => onSwitch.add((wake = resolve)));
      await Promise.race([done, switched]).finally(() => onSwitch.delete(wake));
      if (asked === live) return done;
    }
  };
  return {
    get positions() {
      return live.positions;
    },
    async read(answer) {
      const asked = live;
      readers.set(asked, (readers.get(asked) ?? 0) + 1);
      try {
        return await asked.read(answer);
      } finally {
        readers.set(asked, readers.get(asked)! - 1);
      }
    },
    withLive,
    reach: (position, deadline) => withLive((model) => model.reach(position, deadline)),
    onCommit(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    switchTo(model) {
      if (model === live) return;
      forget();
      live = model;
      forget = live.onCommit(tell);
      for (const wake of onSwitch) wake();
      // Rows may have changed, as with a commit.
      tell();
    },
    async unread(model, withinMs) {
      const deadline = performance.now() + withinMs;
      while ((readers.get(model) ?? 0) > 0 && performance.now() < deadline) await sleep(lookMs);
      readers.delete(model);
    },
  };
}
