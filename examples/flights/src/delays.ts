import { doc, record } from '@spool/schemas';
import { projection, projector, table } from '@spool/sdk';
import { Flight } from './flight.js';

/** The arrivals at an airport, or on a route. */
interface DelayRow {
  readonly arrivals: number;
  readonly totalDelayMinutes: number;
  readonly worstDelayMinutes: number;
}

const delaysOf = (minutesOf: (delayMinutes: number) => number) =>
  projector('FlightDelays', {
    description: 'Adds up the delays of arrivals, for each airport of destination and for each route.',
    of: Flight,
    tables: { airports: table<DelayRow>(), routes: table<DelayRow>() },
    on: {
      FlightArrived({ origin, destination, delayMinutes }, { airports, routes }) {
        const minutes = minutesOf(delayMinutes);
        airports.put(destination, withArrival(airports.get(destination), minutes));
        const route = routeKey(origin, destination);
        routes.put(route, withArrival(routes.get(route), minutes));
      },
    },
  });

/** The read model: every arrival counts for the airport it arrives at and for its route. Early ones count as negative delay. */
export const FlightDelays = delaysOf((delayMinutes) => delayMinutes);
/** The same with a bug, for the tour of the README: early arrivals count as late ones. */
export const FlightDelaysWithBug = delaysOf(Math.abs);

const figures = {
  arrivals: doc('Flights that have arrived.', 'int'),
  averageDelayMinutes: doc('Mean over all arrivals; early ones count as negative.', 'double'),
  worstDelayMinutes: doc('Of the latest arrival; negative when all were early.', 'int'),
};
const route = { origin: 'string', destination: 'string' } as const;

/** Answers from the read model. An airport or a route without arrivals is not found. */
export const Delays = projection('Delays', {
  description: 'How late flights arrive.',
  reads: FlightDelays,
  queries: {
    AirportDelays: {
      request: record('flights.AirportDelays', { airport: doc('IATA code of the airport of destination.', 'string') }),
      view: record('flights.AirportDelaysView', { airport: 'string', ...figures }),
    },
    RouteDelays: {
      request: record('flights.RouteDelays', route),
      view: record('flights.RouteDelaysView', { ...route, ...figures }),
    },
    NetworkDelays: {
      request: record('flights.NetworkDelays', {}),
      view: record('flights.NetworkDelaysView', { airports: doc('With arrivals.', 'int'), ...figures }),
    },
  },
  answer: {
    AirportDelays({ airport }, { airports }) {
      const row = airports.get(airport);
      return row && { airport, ...figuresOf(row) };
    },
    RouteDelays({ origin, destination }, { routes }) {
      const row = routes.get(routeKey(origin, destination));
      return row && { origin, destination, ...figuresOf(row) };
    },
    NetworkDelays(_, { airports }) {
      const rows = [...airports.range()].map(([, row]) => row);
      if (rows.length === 0) return undefined;
      const all = rows.reduce((sum, row) => ({
        arrivals: sum.arrivals + row.arrivals,
        totalDelayMinutes: sum.totalDelayMinutes + row.totalDelayMinutes,
        worstDelayMinutes: Math.max(sum.worstDelayMinutes, row.worstDelayMinutes),
      }));
      return { airports: rows.length, ...figuresOf(all) };
    },
  },
});

const routeKey = (origin: string, destination: string): string => `${origin}-${destination}`;

const withArrival = (row: DelayRow | undefined, delayMinutes: number): DelayRow => ({
  arrivals: (row?.arrivals ?? 0) + 1,
  totalDelayMinutes: (row?.totalDelayMinutes ?? 0) + delayMinutes,
  worstDelayMinutes: Math.max(row?.worstDelayMinutes ?? delayMinutes, delayMinutes),
});

const figuresOf = ({ arrivals, totalDelayMinutes, worstDelayMinutes }: DelayRow) => ({
  arrivals,
  averageDelayMinutes: totalDelayMinutes / arrivals,
  worstDelayMinutes,
});
