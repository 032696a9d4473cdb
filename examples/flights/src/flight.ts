import { doc, record } from '@spool/schemas';
import { aggregate, reject } from '@spool/sdk';

const route = {
  origin: doc('IATA code of the airport it leaves from.', 'string'),
  destination: doc('IATA code of the airport it flies to.', 'string'),
};
const schedule = {
  ...route,
  distance: doc('Miles.', 'int'),
  scheduledAt: doc('Departure by the timetable.', 'timestamp'),
};
const delay = { delayMinutes: doc('How late it arrived; negative when it was early.', 'int') };
const reason = { reason: doc('Why, for passengers.', 'string') };

const commands = {
  ScheduleFlight: record('flights.ScheduleFlight', schedule),
  DepartFlight: record('flights.DepartFlight', {}),
  ArriveFlight: record('flights.ArriveFlight', delay),
  CancelFlight: record('flights.CancelFlight', reason),
  ReportOverdue: record('flights.ReportOverdue', {}),
};

/** Each names its route, so that a reader needs no other event to make sense of it. */
const events = {
  FlightScheduled: record('flights.FlightScheduled', schedule),
  FlightDeparted: record('flights.FlightDeparted', route),
  FlightArrived: record('flights.FlightArrived', { ...route, ...delay }),
  FlightCancelled: record('flights.FlightCancelled', { ...route, ...reason }),
  FlightOverdue: record('flights.FlightOverdue', route),
};

/** What the decisions need to know of the past, and no more. */
export interface FlightState {
  readonly status: 'unknown' | 'scheduled' | 'departed' | 'arrived' | 'cancelled';
  readonly origin: string;
  readonly destination: string;
}

const airportCode = /^[A-Z]{3}$/;

/** One flight on one day, from the timetable to its arrival. */
export const Flight = aggregate('Flight', {
  description: 'One flight on one day, from the timetable to its arrival.',
  commands,
  events,
  initial: (): FlightState => ({ status: 'unknown', origin: '', destination: '' }),

  decide: {
    ScheduleFlight: {
      requires: 'new',
      decide: (timetable) => {
        const wrong = [timetable.origin, timetable.destination].find((airport) => !airportCode.test(airport));
        if (wrong !== undefined) return reject('NOT_AN_AIRPORT', `"${wrong}" is not the code of an airport: three capital letters`);
        if (timetable.origin === timetable.destination) return reject('SAME_AIRPORT', `it would fly from ${timetable.origin} to itself`);
        return [{ type: 'FlightScheduled', data: timetable }];
      },
    },
    DepartFlight: {
      requires: 'existing',
      decide: (_, { status, origin, destination }) => {
        if (status === 'cancelled') return reject('CANCELLED', 'it was cancelled and cannot depart');
        if (status !== 'scheduled') return reject('ALREADY_DEPARTED', 'it has departed already');
        return [{ type: 'FlightDeparted', data: { origin, destination } }];
      },
    },
    ArriveFlight: {
      requires: 'existing',
      decide: ({ delayMinutes }, { status, origin, destination }) => {
        if (status === 'cancelled') return reject('CANCELLED', 'it was cancelled and cannot arrive');
        if (status === 'arrived') return reject('ALREADY_ARRIVED', 'it has arrived already');
        if (status !== 'departed') return reject('NOT_DEPARTED', 'it cannot arrive before it has departed');
        return [{ type: 'FlightArrived', data: { origin, destination, delayMinutes } }];
      },
    },
    CancelFlight: {
      requires: 'existing',
      decide: ({ reason }, { status, origin, destination }) => {
        if (status === 'cancelled') return reject('CANCELLED', 'it was cancelled already');
        if (status !== 'scheduled') return reject('ALREADY_DEPARTED', 'it has departed and cannot be cancelled');
        return [{ type: 'FlightCancelled', data: { origin, destination, reason } }];
      },
    },
    ReportOverdue: {
      requires: 'existing',
      decide: (_, { status, origin, destination }) =>
        status === 'departed' ? [{ type: 'FlightOverdue', data: { origin, destination } }] : reject('NOT_IN_THE_AIR', `it is ${status}`),
    },
  },

  evolve: {
    FlightScheduled: (_, { origin, destination }) => ({ status: 'scheduled', origin, destination }),
    FlightDeparted: (flight) => ({ ...flight, status: 'departed' }),
    FlightArrived: (flight) => ({ ...flight, status: 'arrived' }),
    FlightCancelled: (flight) => ({ ...flight, status: 'cancelled' }),
    FlightOverdue: (flight) => flight,
  },
});
