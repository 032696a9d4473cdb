import { setTimeout as sleep } from 'node:timers/promises';
import { toSpoolError } from '@spool/schemas';
import type { Log } from '../log.js';
import type { SupervisedChild } from '../supervisor/supervise.js';
import { line } from './run-parts.js';

export interface FollowOptions {
  readonly gateway: string;
  readonly bundle: string;
  /** Starts one more instance. Aborting the signal stops it, also while it starts. */
  readonly start: (instance: string, signal: AbortSignal) => Promise<readonly SupervisedChild[]>;
  readonly log: Log;
  /** How often the gateway is asked, in milliseconds. @default 2000 */
  readonly everyMs?: number;
  /** How long nothing is started after a start that failed, in milliseconds. @default 30000 */
  readonly pauseMs?: number;
}

export interface Follower extends AsyncDisposable {
  /** Those beyond the first, lowest number first. */
  readonly children: readonly SupervisedChild[];
  /** Stops those beyond the first. */
  close(): Promise<void>;
}

/** A decision that is older does not tell of now: nobody decides at present, and what runs goes on. */
const freshMs = 60_000;
const askMs = 5000;

/**
 * Keeps as many instances of a bundle on this machine as the balancer decides: starts what is missing, and stops in order, the highest number first,
 * what is too much. The first instance is the platform's own and stays, whatever is decided.
 */
export function followBalance({ gateway, bundle, start, log, everyMs = 2000, pauseMs = 30_000 }: FollowOptions): Follower {
  const running = new Map<number, { readonly name: string; readonly children: readonly SupervisedChild[] }>();
  const closing = new AbortController();
  const { signal } = closing;
  let pausedUntil = 0;

  const startOne = async (): Promise<void> => {
    let slot = 1;
    while (running.has(slot)) slot += 1;
    const name = `${bundle}-${slot}`;
    const since = performance.now();
    try {
      const children = await start(name, signal);
      running.set(slot, { name, children });
      log(line(name, `ready after ${((performance.now() - since) / 1000).toFixed(1)} s, as the balancer decided`));
      for (const child of children) void child.ended.then((error) => error !== undefined && forget(slot, name, error.message));
    } catch (thrown) {
      if (!signal.aborted) forget(slot, name, toSpoolError(thrown).message);
    }
  };
  const forget = (slot: number, name: string, why: string): void => {
    running.delete(slot);
    pausedUntil = performance.now() + pauseMs;
    log(line(name, `failed: ${why}`));
  };
  const stopOne = async (): Promise<void> => {
    const slot = Math.max(...running.keys());
    const { name, children } = running.get(slot)!;
    running.delete(slot);
    for (const child of children) await child.close();
    log(line(name, 'stopped, as the balancer decided'));
  };
  const follow = async (): Promise<void> => {
    while (!signal.aborted) {
      const desired = await decided(gateway, bundle, signal);
      if (desired !== undefined) {
        const further = Math.max(1, desired) - 1;
        while (running.size > further) await stopOne();
        // The decision is asked for anew after each: one may be enough.
        if (running.size < further && performance.now() >= pausedUntil) await startOne();
      }
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  };
  const following = follow();
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      closing.abort();
      await following;
      await Promise.all([...running.values()].flatMap(({ children }) => children.map((child) => child.close())));
    })());
  return {
    get children() {
      return [...running].sort(([one], [other]) => one - other).flatMap(([, { children }]) => children);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Undefined when it cannot be known at present: everything stays as it is. */
async function decided(gateway: string, bundle: string, closing: AbortSignal): Promise<number | undefined> {
  try {
    const signal = AbortSignal.any([closing, AbortSignal.timeout(askMs)]);
    const answer = await fetch(`${gateway}/api/v1/autoscale/${encodeURIComponent(bundle)}`, { signal });
    if (!answer.ok) return undefined;
    const { desired, at } = (await answer.json()) as { desired: number; at: string };
    return Date.now() - Date.parse(at) > freshMs ? undefined : desired;
  } catch {
    return undefined;
  }
}
