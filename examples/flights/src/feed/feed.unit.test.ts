import { SpoolError } from '@spool/schemas';
import { Rejection, type CommandResult, type SendOptions } from '@spool/sdk';
import { setImmediate as turn } from 'node:timers/promises';
import { Flight } from '../flight.js';
import { flightId, timetable as wholeTimetable } from '../timetable.js';
import { feed, type FeedOptions } from './feed.js';
import type { Progress } from './progress.js';

const timetable = wholeTimetable().slice(0, 200);
const commandIds = timetable.flatMap((flight, row) =>
  ['schedule', 'depart', 'arrive'].map((step) => `feed-${flightId(flight, row)}-${step}`),
);

/** What a command may meet on its way, by the number of the command: an error before it is applied, or in place of its answer. */
type Fault = (count: number) => { readonly before?: SpoolError; readonly after?: SpoolError };

type Send = (type: string, aggregateId: string, payload: unknown, options?: SendOptions) => Promise<CommandResult>;
type Context = Parameters<ReturnType<typeof feed>['run']>[0];

/** A log that decides as the aggregate does and knows each command id, behind a gateway that fails as it is told to. */
function fakeLog(fault: Fault = () => ({})) {
  const flights = new Map<string, { version: number; state: unknown }>();
  const outcomes = new Map<string, 'applied' | SpoolError>();
  const log = {
    fault,
    sent: [] as string[],
    events: [] as string[],
    underWay: 0,
    mostUnderWay: 0,
    send: undefined! as Send,
    commands: undefined! as Context['commands'],
  };
  const apply = (type: string, aggregateId: string, payload: unknown): 'applied' | SpoolError => {
    const { version, state } = flights.get(aggregateId) ?? { version: 0, state: Flight.initial() };
    const decided = Flight.decide(type, payload, state, { aggregateId, version, now: 0, newId: () => '' });
    if (decided instanceof Rejection) return new SpoolError('REJECTED', decided.detail, { facts: { reason: decided.code } });
    const [event] = decided;
    flights.set(aggregateId, {
      version: version + 1,
      state: Flight.evolve(event!.type, state, event!.data, { aggregateId, version: version + 1, at: 0 }),
    });
    log.events.push(`${event!.type} ${aggregateId}`);
    return 'applied';
  };
  const send: Send = async (type, aggregateId, payload, options = {}) => {
    const commandId = options.commandId!;
    const { before, after } = log.fault(log.sent.push(commandId));
    log.mostUnderWay = Math.max(log.mostUnderWay, ++log.underWay);
    await turn();
    log.underWay -= 1;
    if (before !== undefined) throw before;
    const known = outcomes.get(commandId);
    const outcome = known ?? apply(type, aggregateId, payload);
    outcomes.set(commandId, outcome);
    if (after !== undefined) throw after;
    if (outcome instanceof SpoolError) throw outcome;
    const status = known === undefined ? 'applied' : 'duplicate';
    return { status, commandId, aggregateId, version: flights.get(aggregateId)!.version, events: [], position: '' };
  };
  log.send = send;
  log.commands = { send: (_, type, aggregateId, payload, options) => send(type, aggregateId!, payload, options) };
  return log;
}

function memoryProgress(complete = 0): Progress & { complete: number } {
  const progress = { complete, load: () => progress.complete, save: (reached: number) => void (progress.complete = reached) };
  return progress;
}

/** Runs the feed to its end; gives the figures of its last word. */
async function run(log: ReturnType<typeof fakeLog>, options: Partial<FeedOptions> = {}, signal = new AbortController().signal) {
  const words: { message: string; fields: unknown }[] = [];
  await feed({ timetable, flightsPerSecond: 0, progress: memoryProgress(), ...options }).run({
    commands: log.commands,
    queries: {} as Context['queries'],
    gateway: {} as Context['gateway'],
    events: {} as Context['events'],
    now: () => 0,
    log: (message, fields) => words.push({ message, fields }),
    signal,
  });
  return words.at(-1);
}

const eachFlightOnce = (log: ReturnType<typeof fakeLog>): void => {
  const wanted = timetable.flatMap((flight, row) =>
    ['FlightScheduled', 'FlightDeparted', 'FlightArrived'].map((type) => `${type} ${flightId(flight, row)}`),
  );
  expect(log.events.toSorted()).toEqual(wanted.toSorted());
};

describe('the feed', () => {
  it('schedules, departs and lands every flight, several at once', async () => {
    const log = fakeLog();
    const last = await run(log, { inFlight: 7 });
    eachFlightOnce(log);
    expect(log.sent.toSorted()).toEqual(commandIds.toSorted());
    expect(log.mostUnderWay).toBe(7);
    const figures = { complete: 200, of: 200, applied: 600, duplicate: 0, rejected: 0, retried: 0 };
    expect(last).toEqual({ message: 'all flights are in', fields: figures });
  });

  it('sends a command again, under the same id, when it cannot know whether it was applied', async () => {
    const log = fakeLog((count) => {
      if (count % 50 === 1) return { before: new SpoolError('UNAVAILABLE', 'the gateway is away') };
      if (count % 50 === 2) return { after: new SpoolError('INDETERMINATE', 'the answer was lost') };
      if (count % 50 === 3) return { before: new SpoolError('OVERLOADED', 'too much in flight', { retryAfterMs: 1 }) };
      return {};
    });
    const last = await run(log);
    eachFlightOnce(log);
    expect(new Set(log.sent)).toEqual(new Set(commandIds));
    const retried = log.sent.length - commandIds.length;
    // The repetition may lose its answer too; the command is one duplicate all the same.
    const lostAnswers = new Set(log.sent.filter((_, index) => index % 50 === 1)).size;
    expect(last?.fields).toEqual({ complete: 200, of: 200, applied: 600 - lostAnswers, duplicate: lostAnswers, rejected: 0, retried });
  });

  it('goes on where it was stopped', async () => {
    const log = fakeLog();
    const progress = memoryProgress();
    const stop = new AbortController();
    log.fault = (count) => {
      if (count === 300) stop.abort();
      return {};
    };
    const stopped = await run(log, { progress, inFlight: 10 }, stop.signal);
    expect(stopped?.message).toBe('the feed stopped');
    expect(log.sent.length).toBeLessThan(320);
    expect(progress.complete).toBeGreaterThan(80);

    const before = log.sent.length;
    const last = await run(log, { progress, inFlight: 10 });
    eachFlightOnce(log);
    expect(last).toMatchObject({ message: 'all flights are in', fields: { complete: 200 } });
    // The flights that were under way, and the one that proves the progress.
    expect(log.sent.length - before).toBeLessThan(600 - 300 + 10 * 3 + 1);
  });

  it('doubles nothing when it was killed and its progress is old or lost', async () => {
    const log = fakeLog((count) => (count > 400 ? { after: new SpoolError('INTERNAL', 'killed') } : {}));
    await expect(run(log)).rejects.toThrow('killed');
    log.fault = () => ({});
    await run(log, { progress: memoryProgress(20) });
    eachFlightOnce(log);

    const before = log.sent.length;
    const last = await run(log, { progress: memoryProgress(0) });
    eachFlightOnce(log);
    expect(log.sent.length - before).toBe(600);
    expect(last?.fields).toMatchObject({ applied: 0, duplicate: 600 });
  });

  it('sends one command when everything is in', async () => {
    const log = fakeLog();
    await run(log);
    const before = log.sent.length;
    await run(log, { progress: memoryProgress(200) });
    expect(log.sent.slice(before)).toEqual([commandIds.at(-3)]);
  });

  it('feeds everything into another log, whatever the progress says', async () => {
    for (const complete of [1, 120, 200, 5_000]) {
      const log = fakeLog();
      await run(log, { progress: memoryProgress(complete) });
      eachFlightOnce(log);
    }
  });

  it('feeds everything into another log even when it was killed while it asked', async () => {
    const log = fakeLog(() => ({ after: new SpoolError('INTERNAL', 'killed') }));
    const progress = memoryProgress(120);
    await expect(run(log, { progress })).rejects.toThrow('killed');
    log.fault = () => ({});
    await run(log, { progress });
    eachFlightOnce(log);
  });

  it('goes on when the domain rejects a command', async () => {
    const log = fakeLog();
    const cancelled = flightId(timetable[5]!, 5);
    const { origin, destination, distance } = timetable[5]!;
    await log.send('ScheduleFlight', cancelled, { origin, destination, distance, scheduledAt: 0 }, { commandId: 'a' });
    await log.send('CancelFlight', cancelled, { reason: 'fog' }, { commandId: 'b' });
    const last = await run(log);
    expect(last?.fields).toMatchObject({ complete: 200, applied: 597, rejected: 3 });
    expect(log.events.filter((event) => event.endsWith(cancelled))).toEqual([
      `FlightScheduled ${cancelled}`,
      `FlightCancelled ${cancelled}`,
    ]);
  });

  it('ends, with all its flights, at an error that no repetition mends', async () => {
    const log = fakeLog((count) => (count === 100 ? { before: new SpoolError('INVALID_PAYLOAD', 'no such field') } : {}));
    await expect(run(log, { inFlight: 10 })).rejects.toMatchObject({ code: 'INVALID_PAYLOAD' });
    const sent = log.sent.length;
    expect(sent).toBeLessThan(120);
    await turn();
    expect(log.sent.length).toBe(sent);
  });

  it('stops at once while it waits for a broker that is away', async () => {
    const stop = new AbortController();
    const log = fakeLog((count) => {
      if (count === 20) stop.abort();
      return { before: new SpoolError('KAFKA_UNAVAILABLE', 'no broker answers', { retryAfterMs: 60_000 * Number(count > 10) }) };
    });
    const last = await run(log, { inFlight: 10 }, stop.signal);
    expect(last).toMatchObject({ message: 'the feed stopped', fields: { complete: 0, applied: 0 } });
  });
});
