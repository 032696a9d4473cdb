import { given } from '@spool/sdk/testing';
import { Flight } from './flight.js';

const timetable = { origin: 'SFO', destination: 'LAX', distance: 337, scheduledAt: Date.UTC(2001, 0, 1, 8, 30) };
const route = { origin: 'SFO', destination: 'LAX' };
const scheduled = { type: 'FlightScheduled', data: timetable } as const;
const departed = { type: 'FlightDeparted', data: route } as const;
const arrived = { type: 'FlightArrived', data: { ...route, delayMinutes: 12 } } as const;
const cancelled = { type: 'FlightCancelled', data: { ...route, reason: 'fog' } } as const;

describe('a flight', () => {
  it('is scheduled, departs and arrives', () => {
    given(Flight).when('ScheduleFlight', timetable).then(scheduled);
    given(Flight).events(scheduled).when('DepartFlight', {}).then(departed);
    given(Flight).events(scheduled, departed).when('ArriveFlight', { delayMinutes: 12 }).then(arrived);
    given(Flight)
      .events(scheduled, departed, arrived)
      .thenState({ status: 'arrived', ...route });
  });

  it('may arrive early', () => {
    const early = { type: 'FlightArrived', data: { ...route, delayMinutes: -59 } } as const;
    given(Flight).events(scheduled, departed).when('ArriveFlight', { delayMinutes: -59 }).then(early);
  });

  it('is scheduled once', () => {
    given(Flight).events(scheduled).when('ScheduleFlight', timetable).thenRejected('ALREADY_EXISTS');
    given(Flight).events(scheduled, cancelled).when('ScheduleFlight', timetable).thenRejected('ALREADY_EXISTS');
  });

  it('goes between two airports', () => {
    given(Flight)
      .when('ScheduleFlight', { ...timetable, destination: 'SFO' })
      .thenRejected('SAME_AIRPORT');
    for (const airport of ['', 'sfo', 'KSFO', 'S-F']) {
      given(Flight)
        .when('ScheduleFlight', { ...timetable, origin: airport })
        .thenRejected('NOT_AN_AIRPORT');
      given(Flight)
        .when('ScheduleFlight', { ...timetable, destination: airport })
        .thenRejected('NOT_AN_AIRPORT');
    }
  });

  it('does nothing before it is scheduled', () => {
    given(Flight).when('DepartFlight', {}).thenRejected('DOES_NOT_EXIST');
    given(Flight).when('ArriveFlight', { delayMinutes: 0 }).thenRejected('DOES_NOT_EXIST');
    given(Flight).when('CancelFlight', { reason: 'fog' }).thenRejected('DOES_NOT_EXIST');
  });

  it('cannot arrive before it has departed', () => {
    given(Flight).events(scheduled).when('ArriveFlight', { delayMinutes: 12 }).thenRejected('NOT_DEPARTED');
  });

  it('departs and arrives once', () => {
    given(Flight).events(scheduled, departed).when('DepartFlight', {}).thenRejected('ALREADY_DEPARTED');
    given(Flight).events(scheduled, departed, arrived).when('DepartFlight', {}).thenRejected('ALREADY_DEPARTED');
    given(Flight).events(scheduled, departed, arrived).when('ArriveFlight', { delayMinutes: 12 }).thenRejected('ALREADY_ARRIVED');
  });

  it('is cancelled until it departs', () => {
    given(Flight).events(scheduled).when('CancelFlight', { reason: 'fog' }).then(cancelled);
    given(Flight).events(scheduled, departed).when('CancelFlight', { reason: 'fog' }).thenRejected('ALREADY_DEPARTED');
    given(Flight).events(scheduled, departed, arrived).when('CancelFlight', { reason: 'fog' }).thenRejected('ALREADY_DEPARTED');
  });

  it('does nothing more once it is cancelled', () => {
    given(Flight).events(scheduled, cancelled).when('DepartFlight', {}).thenRejected('CANCELLED');
    given(Flight).events(scheduled, cancelled).when('ArriveFlight', { delayMinutes: 12 }).thenRejected('CANCELLED');
    given(Flight).events(scheduled, cancelled).when('CancelFlight', { reason: 'fog' }).thenRejected('CANCELLED');
  });

  it('is overdue only while it is in the air', () => {
    given(Flight).events(scheduled, departed).when('ReportOverdue', {}).then({ type: 'FlightOverdue', data: route });
    given(Flight).events(scheduled).when('ReportOverdue', {}).thenRejected('NOT_IN_THE_AIR');
    given(Flight).events(scheduled, departed, arrived).when('ReportOverdue', {}).thenRejected('NOT_IN_THE_AIR');
  });
});
