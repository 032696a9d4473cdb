import { Rejection } from '@spool/sdk';
import { Flight } from './flight.js';

const timetable = { origin: 'SFO', destination: 'LAX', distance: 337, scheduledAt: Date.UTC(2001, 0, 1, 8, 30) };
const route = { origin: 'SFO', destination: 'LAX' };
const scheduled = { type: 'FlightScheduled', data: timetable };
const departed = { type: 'FlightDeparted', data: route };
const arrived = { type: 'FlightArrived', data: { ...route, delayMinutes: 12 } };
const cancelled = { type: 'FlightCancelled', data: { ...route, reason: 'fog' } };

type Message = Readonly<{ type: string; data: unknown }>;

/** Given the events, when the command: the new events, or the code of the rejection. */
function given(...events: readonly Message[]) {
  const aggregateId = '200101010830-SFO-LAX-0';
  const state = events.reduce(
    (before: unknown, { type, data }, index) => Flight.evolve(type, before, data, { aggregateId, version: index + 1, at: 0 }),
    Flight.initial(),
  );
  return {
    state,
    when(type: string, data: unknown): readonly Message[] | string {
      const context = { aggregateId, version: events.length, now: 0, newId: () => 'id' };
      const outcome = Flight.decide(type, data, state, context);
      return outcome instanceof Rejection ? outcome.code : outcome;
    },
  };
}

describe('a flight', () => {
  it('is scheduled, departs and arrives', () => {
    expect(given().when('ScheduleFlight', timetable)).toEqual([scheduled]);
    expect(given(scheduled).when('DepartFlight', {})).toEqual([departed]);
    expect(given(scheduled, departed).when('ArriveFlight', { delayMinutes: 12 })).toEqual([arrived]);
    expect(given(scheduled, departed, arrived).state).toEqual({ status: 'arrived', ...route });
  });

  it('may arrive early', () => {
    const early = { type: 'FlightArrived', data: { ...route, delayMinutes: -59 } };
    expect(given(scheduled, departed).when('ArriveFlight', { delayMinutes: -59 })).toEqual([early]);
  });

  it('is scheduled once', () => {
    expect(given(scheduled).when('ScheduleFlight', timetable)).toBe('ALREADY_EXISTS');
    expect(given(scheduled, cancelled).when('ScheduleFlight', timetable)).toBe('ALREADY_EXISTS');
  });

  it('goes between two airports', () => {
    expect(given().when('ScheduleFlight', { ...timetable, destination: 'SFO' })).toBe('SAME_AIRPORT');
    for (const airport of ['', 'sfo', 'KSFO', 'S-F']) {
      expect(given().when('ScheduleFlight', { ...timetable, origin: airport })).toBe('NOT_AN_AIRPORT');
      expect(given().when('ScheduleFlight', { ...timetable, destination: airport })).toBe('NOT_AN_AIRPORT');
    }
  });

  it('does nothing before it is scheduled', () => {
    expect(given().when('DepartFlight', {})).toBe('DOES_NOT_EXIST');
    expect(given().when('ArriveFlight', { delayMinutes: 0 })).toBe('DOES_NOT_EXIST');
    expect(given().when('CancelFlight', { reason: 'fog' })).toBe('DOES_NOT_EXIST');
  });

  it('cannot arrive before it has departed', () => {
    expect(given(scheduled).when('ArriveFlight', { delayMinutes: 12 })).toBe('NOT_DEPARTED');
  });

  it('departs and arrives once', () => {
    expect(given(scheduled, departed).when('DepartFlight', {})).toBe('ALREADY_DEPARTED');
    expect(given(scheduled, departed, arrived).when('DepartFlight', {})).toBe('ALREADY_DEPARTED');
    expect(given(scheduled, departed, arrived).when('ArriveFlight', { delayMinutes: 12 })).toBe('ALREADY_ARRIVED');
  });

  it('is cancelled until it departs', () => {
    expect(given(scheduled).when('CancelFlight', { reason: 'fog' })).toEqual([cancelled]);
    expect(given(scheduled, departed).when('CancelFlight', { reason: 'fog' })).toBe('ALREADY_DEPARTED');
    expect(given(scheduled, departed, arrived).when('CancelFlight', { reason: 'fog' })).toBe('ALREADY_DEPARTED');
  });

  it('does nothing more once it is cancelled', () => {
    expect(given(scheduled, cancelled).when('DepartFlight', {})).toBe('CANCELLED');
    expect(given(scheduled, cancelled).when('ArriveFlight', { delayMinutes: 12 })).toBe('CANCELLED');
    expect(given(scheduled, cancelled).when('CancelFlight', { reason: 'fog' })).toBe('CANCELLED');
  });
});
