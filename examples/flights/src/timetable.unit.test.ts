import { expectedAirportDelays, expectedRouteDelays } from './expected.js';
import { flightId, scheduledAt, timetable } from './timetable.js';

describe('the timetable', () => {
  it('holds 20,000 flights, each with an id of its own', () => {
    const ids = timetable().map(flightId);
    expect(new Set(ids).size).toBe(20_000);
    expect(ids[0]).toBe('200101010047-DTW-LAS-0');
    expect(ids.at(-1)).toBe('200103312227-CLT-GSO-19999');
  });

  it('takes its times as UTC', () => {
    expect(new Date(scheduledAt(timetable()[0]!)).toISOString()).toBe('2001-01-01T00:47:00.000Z');
    expect(timetable().map(scheduledAt).every(Number.isSafeInteger)).toBe(true);
  });
});

describe('the expected figures', () => {
  it('are those of the file', () => {
    expect(expectedAirportDelays('SFO')).toEqual({ arrivals: 376, averageDelayMinutes: 4677 / 376, worstDelayMinutes: 239 });
    expect(expectedRouteDelays('HNL', 'SFO')).toEqual({ arrivals: 14, averageDelayMinutes: 99 / 14, worstDelayMinutes: 95 });
    expect(expectedAirportDelays('XXX')).toBeUndefined();
    expect(expectedRouteDelays('SFO', 'XXX')).toBeUndefined();
  });
});
