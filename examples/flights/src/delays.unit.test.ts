import type { Table } from '@spool/streams';
import { Delays, FlightDelays } from './delays.js';
import { expectedAirportDelays, expectedAirports, expectedRouteDelays, expectedRoutes } from './expected.js';
import { timetable } from './timetable.js';

/** The read model in two maps, fed and asked as the hosts do it. */
function readModel() {
  const table = <Row>(): Table<Row> => {
    const rows = new Map<string, Row>();
    return {
      get: (key) => rows.get(key),
      put: (key, row) => void rows.set(key, row),
      delete: (key) => void rows.delete(key),
      range: () => rows,
    };
  };
  const tables = Object.fromEntries(FlightDelays.tables.map((name) => [name, table()]));
  const context = { eventId: '', aggregateId: '', version: 3, at: 0, replayId: undefined, correlationId: undefined };
  return {
    arrive: (origin: string, destination: string, delayMinutes: number): void =>
      void FlightDelays.handlers['FlightArrived']?.({ origin, destination, delayMinutes } as never, tables as never, context),
    ask: (query: string, request: object): unknown => Delays.answer[query]?.(request as never, tables as never),
  };
}

describe('the delays', () => {
  it('are those of the arrivals at an airport, whichever they come from', () => {
    const model = readModel();
    model.arrive('SFO', 'LAX', 30);
    model.arrive('OAK', 'LAX', -5);
    model.arrive('LAX', 'SFO', 100);
    expect(model.ask('AirportDelays', { airport: 'LAX' })).toEqual({
      airport: 'LAX',
      arrivals: 2,
      averageDelayMinutes: 12.5,
      worstDelayMinutes: 30,
    });
  });

  it('are those of a route, one way', () => {
    const model = readModel();
    model.arrive('SFO', 'LAX', 30);
    model.arrive('SFO', 'LAX', 60);
    model.arrive('LAX', 'SFO', 100);
    const figures = { arrivals: 2, averageDelayMinutes: 45, worstDelayMinutes: 60 };
    const route = { origin: 'SFO', destination: 'LAX' };
    expect(model.ask('RouteDelays', route)).toEqual({ ...route, ...figures });
  });

  it('are negative where every flight was early', () => {
    const model = readModel();
    model.arrive('ORD', 'SUX', -20);
    model.arrive('ORD', 'SUX', -12);
    expect(model.ask('AirportDelays', { airport: 'SUX' })).toMatchObject({ averageDelayMinutes: -16, worstDelayMinutes: -12 });
  });

  it('are not known of an airport or a route without arrivals', () => {
    const model = readModel();
    model.arrive('SFO', 'LAX', 30);
    expect(model.ask('AirportDelays', { airport: 'SFO' })).toBeUndefined();
    expect(model.ask('RouteDelays', { origin: 'LAX', destination: 'SFO' })).toBeUndefined();
  });

  it('agree with the data file for every airport and every route', () => {
    const model = readModel();
    for (const { origin, destination, delay } of timetable()) model.arrive(origin, destination, delay);
    for (const airport of expectedAirports()) {
      expect(model.ask('AirportDelays', { airport })).toEqual({ airport, ...expectedAirportDelays(airport) });
    }
    for (const route of expectedRoutes()) {
      expect(model.ask('RouteDelays', route)).toEqual({ ...route, ...expectedRouteDelays(route.origin, route.destination) });
    }
    expect([expectedAirports().length, expectedRoutes().length]).toEqual([223, 2977]);
  });
});
