import { givenEvents } from '@spool/sdk/testing';
import { Delays, FlightDelays } from './delays.js';
import { expectedAirportDelays, expectedAirports, expectedRouteDelays, expectedRoutes } from './expected.js';
import { timetable } from './timetable.js';

const arrived = (origin: string, destination: string, delayMinutes: number) => ({
  type: 'FlightArrived',
  data: { origin, destination, delayMinutes },
});

describe('the delays', () => {
  it('are those of the arrivals at an airport, whichever they come from', () =>
    givenEvents([arrived('SFO', 'LAX', 30), arrived('OAK', 'LAX', -5), arrived('LAX', 'SFO', 100)])
      .on(FlightDelays)
      .whenAsked(Delays, 'AirportDelays', { airport: 'LAX' })
      .thenView({ airport: 'LAX', arrivals: 2, averageDelayMinutes: 12.5, worstDelayMinutes: 30 }));

  it('are those of a route, one way', () =>
    givenEvents([arrived('SFO', 'LAX', 30), arrived('SFO', 'LAX', 60), arrived('LAX', 'SFO', 100)])
      .on(FlightDelays)
      .whenAsked(Delays, 'RouteDelays', { origin: 'SFO', destination: 'LAX' })
      .thenView({ origin: 'SFO', destination: 'LAX', arrivals: 2, averageDelayMinutes: 45, worstDelayMinutes: 60 }));

  it('are negative where every flight was early', () =>
    givenEvents([arrived('ORD', 'SUX', -20), arrived('ORD', 'SUX', -12)])
      .on(FlightDelays)
      .whenAsked(Delays, 'AirportDelays', { airport: 'SUX' })
      .thenView({ airport: 'SUX', arrivals: 2, averageDelayMinutes: -16, worstDelayMinutes: -12 }));

  it('are not known of an airport or a route without arrivals', async () => {
    const delays = givenEvents([arrived('SFO', 'LAX', 30)]).on(FlightDelays);
    await delays.whenAsked(Delays, 'AirportDelays', { airport: 'SFO' }).thenNotFound();
    await delays.whenAsked(Delays, 'RouteDelays', { origin: 'LAX', destination: 'SFO' }).thenNotFound();
  });

  it('agree with the data file for every airport and every route', async () => {
    const delays = givenEvents(timetable().map(({ origin, destination, delay }) => arrived(origin, destination, delay))).on(FlightDelays);
    for (const airport of expectedAirports()) {
      await delays.whenAsked(Delays, 'AirportDelays', { airport }).thenView({ airport, ...expectedAirportDelays(airport)! });
    }
    for (const route of expectedRoutes()) {
      await delays.whenAsked(Delays, 'RouteDelays', route).thenView({ ...route, ...expectedRouteDelays(route.origin, route.destination)! });
    }
    expect([expectedAirports().length, expectedRoutes().length]).toEqual([223, 2977]);
  }, 60_000);
});
