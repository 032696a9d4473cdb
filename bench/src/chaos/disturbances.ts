import { setTimeout as sleep } from 'node:timers/promises';
import type { SupervisedChild } from '@spool/embedded';
import { randomOf } from './random.js';

/** A session that ends this soon lets a run of minutes have dozens of them. */
export const sessionTimeoutMs = 1500;
export const instances = ['one', 'two'] as const;
/** So that work still comes when the last instance is killed. */
export const msPerKill = 2000;
export const quietMs = 60_000;
/** A child that is killed is started again, as often as it takes. */
export const again = { firstDelayMs: 50, maxDelayMs: 200, maxQuickDeaths: Number.POSITIVE_INFINITY };

export interface Disturbance {
  /** Happens when so much has been answered, and a moment later. */
  readonly after: number;
  readonly delayMs: number;
  readonly kind: 'kill' | 'stop' | 'restart';
  readonly victim: number;
  /** How long a stopped one stays so: past its session. */
  readonly stoppedMs: number;
}

/** @param of how much there is to answer @param restarts how often one is stopped in order and started again */
export function plan(seed: number, kills: number, of: number, restarts = 0): readonly Disturbance[] {
  const random = randomOf(seed);
  const stops = Math.max(1, Math.floor(kills / 5));
  return Array.from({ length: kills + stops + restarts }, (_, index): Disturbance => ({
    after: Math.floor(of * (0.01 + 0.95 * random())),
    delayMs: Math.floor(30 * random()),
    kind: index < kills ? 'kill' : index < kills + stops ? 'stop' : 'restart',
    victim: random() < 0.5 ? 0 : 1,
    stoppedMs: Math.floor(sessionTimeoutMs * (1.2 + random())),
  })).sort((a, b) => a.after - b.after);
}

export async function disturb(child: SupervisedChild, { kind, stoppedMs }: Pick<Disturbance, 'kind' | 'stoppedMs'>): Promise<void> {
  // One that was killed a moment ago comes back first.
  await child.untilReady(quietMs);
  if (kind === 'kill') return child.kill();
  if (kind === 'restart') return child.restart();
  const pid = child.pid!;
  process.kill(pid, 'SIGSTOP');
  await sleep(stoppedMs);
  process.kill(pid, 'SIGCONT');
}

export interface Disturbed {
  readonly children: readonly SupervisedChild[];
  readonly plan: readonly Disturbance[];
  readonly answered: () => number;
  readonly over: AbortSignal;
  readonly progress: (line: string) => void;
}

/** One after the other, as what is answered goes on. */
export async function disturbAll({ children, plan, answered, over, progress }: Disturbed): Promise<void> {
  for (const [number, disturbance] of plan.entries()) {
    while (answered() < disturbance.after) await sleep(2, undefined, { signal: over });
    await sleep(disturbance.delayMs);
    await disturb(children[disturbance.victim]!, disturbance);
    progress(`${number + 1}: ${disturbance.kind} ${children[disturbance.victim]!.name} after ${answered()} answers`);
  }
}
