import { invoker, only, type CommandResult, type CommandSender, type InvokerContext, type StartInvoker } from '@spool/sdk';
import { setMaxListeners } from 'node:events';
import { Flight } from '../flight.js';
import { flightId, scheduledAt, type TimetableRow } from '../timetable.js';
import { definiteOutcome, type Outcome } from './outcome.js';
import { pacer } from './pacer.js';
import type { Progress } from './progress.js';

const Flights = only(Flight, 'ScheduleFlight', 'DepartFlight', 'ArriveFlight');

export interface FeedOptions {
  readonly timetable: readonly TimetableRow[];
  /** 0 feeds as fast as the answers come. */
  readonly flightsPerSecond: number;
  /** Bounds the flights under way at once; too few, and a high rate is not reached. @default 64 */
  readonly inFlight?: number;
  readonly progress: Progress;
  /** How often the progress is logged and kept, in milliseconds. @default 5000 */
  readonly reportEveryMs?: number;
}

/** Sends every flight of the timetable on its way: each command counts once, however often the feed is stopped and started. */
export const feed = (options: FeedOptions): StartInvoker<'Feed', InvokerContext<typeof Flights>> =>
  invoker('Feed', {
    sends: [Flights],
    description: 'Sends every flight of the timetable on its way, at a steady rate.',
    run: (context) => feedAll(options, context),
  });

/** The commands of one flight, in order. Their ids follow from the flight, so that a repeated one is known as such and changes nothing. */
function steps(commands: CommandSender<typeof Flights>, flight: TimetableRow, row: number): readonly [Step, Step, Step] {
  const { origin, destination, distance, delay } = flight;
  const id = flightId(flight, row);
  const as = (step: string): { commandId: string } => ({ commandId: `feed-${id}-${step}` });
  return [
    () => commands.send(Flight, 'ScheduleFlight', id, { origin, destination, distance, scheduledAt: scheduledAt(flight) }, as('schedule')),
    () => commands.send(Flight, 'DepartFlight', id, {}, as('depart')),
    () => commands.send(Flight, 'ArriveFlight', id, { delayMinutes: delay }, as('arrive')),
  ];
}
type Step = () => Promise<CommandResult>;

async function feedAll(options: FeedOptions, { commands, log, signal }: InvokerContext<typeof Flights>): Promise<void> {
  const { timetable, progress, inFlight = 64 } = options;
  const tally = { applied: 0, duplicate: 0, rejected: 0, retried: 0 };
  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);
  setMaxListeners(inFlight, stop);
  const take = async (step: Step): Promise<Outcome> => {
    const outcome = await definiteOutcome(step, stop, () => (tally.retried += 1));
    tally[outcome] += 1;
    return outcome;
  };

  let next = 0;
  let complete = 0; // every flight below it has arrived
  const arrived = new Set<number>();
  const untilTurn = pacer(options.flightsPerSecond);
  /** Flights one after the other; several of these run side by side. */
  const fly = async (): Promise<void> => {
    while (next < timetable.length) {
      const row = next++;
      await untilTurn(stop);
      for (const step of steps(commands, timetable[row]!, row)) await take(step);
      arrived.add(row);
      while (arrived.delete(complete)) complete += 1;
    }
  };
  const report = (message: string): void => {
    progress.save(complete);
    log(message, { complete, of: timetable.length, ...tally });
  };
  const reporting = setInterval(report, options.reportEveryMs ?? 5_000, 'feeding flights');
  try {
    next = complete = await startRow(timetable, progress, (row) => take(steps(commands, timetable[row]!, row)[0]));
    const stopOthers = (error: unknown): void => failure.abort(error);
    await Promise.all(Array.from({ length: inFlight }, () => fly().catch(stopOthers)));
    failure.signal.throwIfAborted();
  } catch (error) {
    // Stopping a flight under way is how a feed stops.
    if (!signal.aborted) throw error;
  } finally {
    clearInterval(reporting);
    report(complete === timetable.length ? 'all flights are in' : 'the feed stopped');
  }
}

/** Below it every flight has arrived. The progress is a hint: a log that does not know the flight before it gets every flight. */
async function startRow(
  timetable: readonly TimetableRow[],
  progress: Progress,
  schedule: (row: number) => Promise<Outcome>,
): Promise<number> {
  const hint = Math.min(progress.load(), timetable.length);
  if (hint === 0) return 0;
  // To ask is to schedule, after which the log knows the flight: whoever is killed in between must not trust the hint again.
  progress.save(0);
  return (await schedule(hint - 1)) === 'applied' ? 0 : hint;
}
