/** What the compiler refuses in a bundle: once a mistake goes unnoticed, the `@ts-expect-error` above it no longer compiles. */
/* eslint-disable @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access,
   @typescript-eslint/no-unsafe-return -- what is not there has no type */
import { record, type PayloadOf } from '@spool/schemas';
import { aggregate, cron, invoker, only, projection, projector, service, table, type CommandGateway, type QueryGateway } from '@spool/sdk';
import { Delays, FlightDelays } from './delays.js';
import { Flight } from './flight.js';

interface Door {
  readonly open: boolean;
}
const events = { Opened: record('doors.Opened', { by: 'string' }), Closed: record('doors.Closed', {}) };
const commands = { Open: record('doors.Open', { by: 'string' }), Close: record('doors.Close', {}) };
type Open = PayloadOf<typeof commands.Open>;
const evolve = { Opened: (): Door => ({ open: true }), Closed: (): Door => ({ open: false }) };
const opened = (by: string) => [{ type: 'Opened', data: { by } }] as const;
const decide = { Open: ({ by }: Open) => opened(by), Close: () => [] };
const door = { commands, events, initial: (): Door => ({ open: false }), decide, evolve };

it('an aggregate that is whole and right compiles', () => {
  aggregate('Door', door);
  aggregate('Door', {
    ...door,
    decide: {
      Open: { requires: 'existing', decide: ({ by }) => [{ type: 'Opened', data: { by } }] },
      Close: (_, { open }) => (open ? [{ type: 'Closed', data: {} }] : []),
    },
    evolve: { Opened: (state) => ({ ...state, open: true }), Closed: (state) => ({ ...state, open: false }) },
  });
});

it('its mistakes do not', () => {
  // @ts-expect-error Close has no decide
  aggregate('Door', { ...door, decide: { Open: decide.Open } });
  // @ts-expect-error Closed has no evolve
  aggregate('Door', { ...door, evolve: { Opened: evolve.Opened } });
  // @ts-expect-error there is no command Slam
  aggregate('Door', { ...door, decide: { ...decide, Slam: () => [] } });
  // @ts-expect-error there is no event Slammed
  aggregate('Door', { ...door, evolve: { ...evolve, Slammed: door.initial } });
  // @ts-expect-error there is no event Slammed to decide on
  aggregate('Door', { ...door, decide: { ...decide, Close: () => [{ type: 'Slammed', data: {} }] } });
  // @ts-expect-error Opened says by whom
  aggregate('Door', { ...door, decide: { ...decide, Close: () => [{ type: 'Opened', data: {} }] } });
  const guarded = { requires: 'new', decide: () => [{ type: 'Opened', data: {} }] } as const;
  // @ts-expect-error so it does where the decision is guarded
  aggregate('Door', { ...door, decide: { ...decide, Close: guarded } });
  // @ts-expect-error it is a string
  aggregate('Door', { ...door, decide: { ...decide, Open: ({ by }: { by: number }) => opened(String(by)) } });
  // @ts-expect-error Open has no `who`
  aggregate('Door', { ...door, decide: { ...decide, Open: ({ who }) => opened(who) } });
  // @ts-expect-error a door is open or not
  aggregate('Door', { ...door, evolve: { ...evolve, Closed: () => ({ ajar: true }) } });
  // @ts-expect-error a state is a Door
  aggregate('Door', { ...door, evolve: { ...evolve, Closed: () => 'closed' } });
});

it('nor those of a projector', () => {
  const doors = { of: aggregate('Door', door), tables: { doors: table<{ opened: number }>() } };
  projector('Counts', { ...doors, on: { Opened: ({ by }, { doors }) => doors.put(by, { opened: 1 }) } });
  // @ts-expect-error Door has no event Slammed
  projector('Counts', { ...doors, on: { Slammed: () => undefined } });
  // @ts-expect-error Closed does not say by whom
  projector('Counts', { ...doors, on: { Closed: ({ by }, { doors }) => doors.put(by, { opened: 1 }) } });
  // @ts-expect-error there is no table windows
  projector('Counts', { ...doors, on: { Opened: (_, { windows }) => windows.put('all', { opened: 1 }) } });
  // @ts-expect-error a row counts in numbers
  projector('Counts', { ...doors, on: { Opened: (_, { doors }) => doors.put('all', { opened: 'once' }) } });
});

it('nor those of one of several sources', () => {
  const bell = service('Bell', {
    commands: { Ring: record('bell.Ring', {}) },
    events: { Rung: record('bell.Rung', { times: 'int' }) },
    handle: { Ring: () => undefined },
  });
  const both = { of: [aggregate('Door', door), bell], tables: { doors: table<{ opened: number }>() } } as const;
  projector('Both', {
    ...both,
    asks: [Delays],
    on: {
      Opened: ({ by }, { doors }) => doors.put(by, { opened: 1 }),
      async Rung({ times }, { doors }, { queries, source }) {
        const { view } = await queries.ask(Delays, 'AirportDelays', { airport: source });
        doors.put('bell', { opened: times * view.arrivals });
      },
    },
  });
  projector('Both', {
    ...both,
    onBatch(events, { doors }) {
      for (const { source, ...event } of events) {
        if (event.type === 'Rung') doors.put(source, { opened: event.data.times });
        if (event.type === 'Opened') doors.put(event.data.by, { opened: event.context.version });
      }
    },
  });
  // @ts-expect-error neither has an event Slammed
  projector('Both', { ...both, on: { Slammed: () => undefined } });
  // @ts-expect-error a bell is not opened by anybody
  projector('Both', { ...both, on: { Rung: ({ by }, { doors }) => doors.put(by, { opened: 1 }) } });
  // @ts-expect-error it asks nobody
  projector('Both', { ...both, on: { Rung: (_, __, { queries }) => queries.ask(Delays, 'AirportDelays', { airport: 'LAX' }) } });
  // @ts-expect-error nobody answers AirportWeather
  projector('Both', { ...both, asks: [Delays], on: { Rung: (_, __, { queries }) => queries.ask(Delays, 'AirportWeather', {}) } });
  // @ts-expect-error a projector sends no command
  projector('Both', { ...both, on: { Rung: (_, __, { commands }) => commands.send('Door', 'Close', 'front', {}) } });
  // @ts-expect-error one by one or in batches, not both
  projector('Both', { ...both, on: {}, onBatch: () => undefined });
  // @ts-expect-error it takes events one by one or in batches
  projector('Both', { ...both });
  // @ts-expect-error neither has an event Slammed
  projector('Both', { ...both, onBatch: (events) => void events.find(({ type }) => type === 'Slammed') });
  // @ts-expect-error there is no table windows
  projector('Both', { ...both, onBatch: (_, { windows }) => windows.put('all', { opened: 1 }) });
  // @ts-expect-error what it cannot know it passes over, parks or does not pass
  projector('Both', { ...both, on: {}, unknown: 'ignore' });
});

it('nor those of a projection', () => {
  const reads = projector('Counts', { of: aggregate('Door', door), tables: { doors: table<{ opened: number }>() }, on: {} });
  const Opened = { request: record('doors.HowOften', { by: 'string' }), view: record('doors.Often', { times: 'int' }) };
  const often = { reads, queries: { Opened } };
  projection('Often', { ...often, answer: { Opened: ({ by }, { doors }) => ({ times: doors.get(by)?.opened ?? 0 }) } });
  // @ts-expect-error nothing answers Opened
  projection('Often', { ...often, answer: {} });
  // @ts-expect-error nobody asks Slammed
  projection('Often', { ...often, answer: { Opened: () => undefined, Slammed: () => undefined } });
  // @ts-expect-error the request has no `who`
  projection('Often', { ...often, answer: { Opened: ({ who }) => ({ times: Number(who) }) } });
  // @ts-expect-error the view has `times`
  projection('Often', { ...often, answer: { Opened: () => ({ often: 1 }) } });
  // @ts-expect-error times is a number
  projection('Often', { ...often, answer: { Opened: () => ({ times: 'once' }) } });
  // @ts-expect-error a projection writes no row
  projection('Often', { ...often, answer: { Opened: (_, { doors }) => doors.put('all', { opened: 1 }) } });
  // @ts-expect-error there is no table windows
  projection('Often', { ...often, answer: { Opened: (_, { windows }) => windows.get('all') } });
});

it('nor those of a caller', () => {
  const calls = (commands: CommandGateway, queries: QueryGateway): readonly (() => Promise<unknown>)[] => [
    () => commands.send(Flight, 'ArriveFlight', 'id', { delayMinutes: 3 }),
    // @ts-expect-error there is no such command
    () => commands.send(Flight, 'LandFlight', 'id', {}),
    // @ts-expect-error delayMinutes is missing
    () => commands.send(Flight, 'ArriveFlight', 'id', {}),
    // @ts-expect-error it is a number
    () => commands.send(Flight, 'ArriveFlight', 'id', { delayMinutes: 'three' }),
    // @ts-expect-error there is no such field
    () => commands.send(Flight, 'ArriveFlight', 'id', { delayMinutes: 3, gate: 'B4' }),
    async () => (await queries.ask(Delays, 'AirportDelays', { airport: 'SFO' })).view.arrivals.toFixed(),
    // @ts-expect-error there is no such query
    () => queries.ask(Delays, 'CityDelays', { airport: 'SFO' }),
    // @ts-expect-error it is called airport
    () => queries.ask(Delays, 'AirportDelays', { city: 'San Francisco' }),
    // @ts-expect-error the view has no such field
    async () => (await queries.ask(Delays, 'AirportDelays', { airport: 'SFO' })).view.departures,
    // @ts-expect-error a projector answers nothing
    () => queries.ask(FlightDelays, 'AirportDelays', { airport: 'SFO' }),
  ];
  expect(calls).toBeInstanceOf(Function);
});

it('nor those of an invoker', () => {
  const sends = [only(Flight, 'DepartFlight')] as const;
  cron('Departures', {
    schedule: '* * * * *',
    sends,
    run: async (_, { commands }) => void commands.send(Flight, 'DepartFlight', 'id', {}),
  });
  invoker('Departures', {
    sends,
    asks: [Delays],
    async run({ commands, queries }) {
      await queries.ask(Delays, 'AirportDelays', { airport: 'SFO' });
      // @ts-expect-error it declares DepartFlight alone
      await commands.send(Flight, 'CancelFlight', 'id', { reason: 'fog' });
      // @ts-expect-error there is no such query
      await queries.ask(Delays, 'CityDelays', { airport: 'SFO' });
    },
  });
  invoker('Nothing', {
    run: async ({ commands }) => {
      // @ts-expect-error it declares nothing that it sends
      await commands.send(Flight, 'DepartFlight', 'id', {});
    },
  });
});
