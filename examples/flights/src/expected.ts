/** The figures that the queries must give once every flight is in, straight from the data file: nothing of the bundle takes part. */
import { timetable, type TimetableRow } from './timetable.js';

export interface ExpectedDelays {
  readonly arrivals: number;
  readonly averageDelayMinutes: number;
  readonly worstDelayMinutes: number;
}

/** Every airport that a flight arrives at. */
export const expectedAirports = (): readonly string[] => [...new Set(timetable().map(({ destination }) => destination))];

/** Every pair of airports that a flight goes between. */
export const expectedRoutes = (): readonly Pick<TimetableRow, 'origin' | 'destination'>[] => [
  ...new Map(timetable().map(({ origin, destination }) => [origin + destination, { origin, destination }])).values(),
];

/** The answer to `AirportDelays`, without its key; undefined for an airport that no flight arrives at. */
export const expectedAirportDelays = (airport: string): ExpectedDelays | undefined => delays((flight) => flight.destination === airport);

/** The answer to `RouteDelays`, without its key; undefined for a route that nobody flies. */
export const expectedRouteDelays = (origin: string, destination: string): ExpectedDelays | undefined =>
  delays((flight) => flight.origin === origin && flight.destination === destination);

function delays(counts: (flight: TimetableRow) => boolean): ExpectedDelays | undefined {
  const minutes = timetable()
    .filter(counts)
    .map(({ delay }) => delay);
  if (minutes.length === 0) return undefined;
  return {
    arrivals: minutes.length,
    averageDelayMinutes: minutes.reduce((sum, each) => sum + each, 0) / minutes.length,
    worstDelayMinutes: Math.max(...minutes),
  };
}
