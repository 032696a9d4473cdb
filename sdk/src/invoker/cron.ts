import { SpoolError } from '@spool/schemas';
import { Cron as Expression } from 'croner';
import { made } from '../bundle/source.js';
import type { CommandTarget, QueryTarget } from '../messages.js';
import { declared, type Declared, type InvokerContext, type InvokerOptions } from './declared.js';

/** One time at which a cron invoker is due. */
export interface Tick {
  /** Milliseconds since the epoch: when it is due by the schedule, however late it is. */
  readonly at: number;
  /** The same for each attempt at this tick: `<cron>/<time in ISO 8601>`. */
  readonly id: string;
}

export interface CronOptions<T extends CommandTarget, Q extends QueryTarget> extends InvokerOptions<T, Q> {
  /** Minute, hour, day of the month, month, day of the week; with six fields, the first is the second. */
  readonly schedule: string;
  /** In which the schedule is read: a name such as `Europe/Berlin`. @default 'UTC' */
  readonly timeZone?: string;
  /** What becomes of ticks that were due while nothing ran. `run`: each is run, in order. `skip`: none is. @default 'run' */
  readonly missed?: 'run' | 'skip';
  /** A tick that is later than this has been missed, in milliseconds; a fail-over takes some seconds. @default 60000 */
  readonly graceMs?: number;
  /** How long a run may take, in milliseconds; one that takes longer is parked as a dead letter. 25000 at most. @default 20000 */
  readonly timeoutMs?: number;
  /**
   * Runs once for each tick, over all instances. One that was killed runs again, and the commands that it sends have the same ids
   * (`<cron>/<time>/<n>` in the order of sending): each has its effect once. One that throws is parked as a dead letter, for a retry by hand; what
   * is transient is tried again by itself, with back-off.
   */
  readonly run: (tick: Tick, context: InvokerContext<T, Q>) => Promise<void>;
}

export interface Cron<Name extends string = string, Context = never> extends Declared<Name> {
  readonly way: 'cron';
  readonly schedule: string;
  readonly timeZone: string;
  readonly missed: 'run' | 'skip';
  readonly graceMs: number;
  readonly timeoutMs: number;
  /** The first tick after a time, in milliseconds; undefined: there is none. */
  readonly after: (time: number) => number | undefined;
  readonly run: (tick: Tick, context: Context) => Promise<void>;
}

/** A rebalance waits for what is under way, for 30 s. */
const maxRunMs = 25_000;

/** An invoker with a schedule: each tick is run once over all instances of the bundle. @throws SpoolError INVALID_CONFIG */
export function cron<const Name extends string, T extends CommandTarget = never, Q extends QueryTarget = never>(
  name: Name,
  { schedule, timeZone = 'UTC', missed = 'run', graceMs = 60_000, timeoutMs = 20_000, ...options }: CronOptions<T, Q>,
): Cron<Name, InvokerContext<T, Q>> {
  if (!(timeoutMs >= 1 && timeoutMs <= maxRunMs))
    throw new SpoolError('INVALID_CONFIG', `cron ${name}: timeoutMs is ${timeoutMs}; it is 1 to ${maxRunMs}: longer work is for a service`);
  let expression: Expression;
  try {
    expression = new Expression(schedule, { timezone: timeZone, paused: true });
    expression.nextRun();
  } catch (cause) {
    throw new SpoolError('INVALID_CONFIG', `cron ${name}: "${schedule}" in ${timeZone} is no schedule: ${(cause as Error).message}`, {
      cause,
    });
  }
  return made<Cron<Name, InvokerContext<T, Q>>>(cron, {
    ...declared(name, options),
    way: 'cron',
    schedule,
    timeZone,
    missed,
    graceMs,
    timeoutMs,
    after: (time) => expression.nextRun(new Date(time))?.getTime(),
    run: options.run,
  });
}
