import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../log.js';
import type { SupervisedChild } from '../supervisor/supervise.js';
import { line } from './run-parts.js';

export interface MendOptions {
  readonly gateway: string;
  /** Those that may be ended. */
  readonly children: () => readonly Pick<SupervisedChild, 'pid' | 'kill'>[];
  readonly log: Log;
  /** How often the gateway is asked, in milliseconds. @default 2000 */
  readonly everyMs?: number;
}

interface InstanceSeen {
  readonly instance: string;
  readonly state: string;
  readonly reason: string;
  readonly host: string;
  readonly pid: number;
}

const askMs = 5000;

/**
 * Ends instances of this machine which the cluster has declared down while their process is still there: stopped, or stuck in an endless loop, it would never
 * end by itself. Its supervisor starts it again. Nothing is ended by a guess: the run that fell silent is known by its process id.
 */
export function mendSilent({ gateway, children, log, everyMs = 2000 }: MendOptions): { close(): Promise<void> } {
  const closing = new AbortController();
  const { signal } = closing;
  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      for (const { instance, state, reason, host, pid } of await instancesSeen(gateway, signal)) {
        if (state !== 'down' || host !== hostname()) continue;
        const child = children().find((each) => each.pid === pid);
        if (child === undefined) continue;
        log(line(instance, `${reason}, though its process ${pid} is there: it is ended, and started again`));
        await child.kill();
      }
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  };
  const watching = watch();
  return {
    async close() {
      closing.abort();
      await watching;
    },
  };
}

/** None when it cannot be known at present. */
async function instancesSeen(gateway: string, closing: AbortSignal): Promise<readonly InstanceSeen[]> {
  try {
    const signal = AbortSignal.any([closing, AbortSignal.timeout(askMs)]);
    const answer = await fetch(`${gateway}/api/v1/cluster/instances`, { signal });
    return answer.ok ? ((await answer.json()) as { items: readonly InstanceSeen[] }).items : [];
  } catch {
    return [];
  }
}
