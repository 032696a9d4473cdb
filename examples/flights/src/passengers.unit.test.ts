import { givenSaga, givenService } from '@spool/sdk/testing';
import { passengerCare } from './care.js';
import { Flight } from './flight.js';
import { officeInMemory } from './office.js';
import { vouchers, type VoucherOffice } from './vouchers.js';

const route = { origin: 'SFO', destination: 'LAX' };
const hour = 60 * 60 * 1000;
const flight = 'f';
const departed = { type: 'FlightDeparted', aggregateId: flight, data: route };
const arrived = (delayMinutes: number) => ({ type: 'FlightArrived', aggregateId: flight, data: { ...route, delayMinutes } });
const Vouchers = vouchers(officeInMemory);
const care = passengerCare(Vouchers);

describe('passengers', () => {
  it('get nothing for a short delay', () => {
    givenSaga(care).events(departed).when(arrived(179)).thenSends().thenEnded();
  });

  it('get vouchers for a long one, by the hour', () => {
    givenSaga(care)
      .events(departed)
      .when(arrived(250))
      .thenSends({ target: Vouchers, type: 'IssueVouchers', id: flight, payload: { flight, amount: 200 } })
      .thenTimers({})
      .whenOutcome('IssueVouchers', flight)
      .thenEnded();
  });

  it('are looked for when their flight has not arrived after a day, and are still taken care of when it does', () => {
    givenSaga(care)
      .when(departed)
      .thenTimers({ overdue: 24 * hour })
      .whenTimePasses(23 * hour)
      .thenSends()
      .whenTimePasses(hour)
      .thenSends({ target: Flight, type: 'ReportOverdue', id: flight, payload: {} })
      .when(arrived(1500))
      .thenSends({ target: Vouchers, type: 'IssueVouchers', id: flight, payload: { flight, amount: 1250 } })
      .whenOutcome('IssueVouchers', flight, { status: 'rejected', code: 'TOO_MUCH' })
      .thenEnded();
  });
});

describe('vouchers', () => {
  it('are asked for under the key of the command, so that a second call issues none', async () => {
    const keys: string[] = [];
    const office: VoucherOffice = {
      issue(key) {
        keys.push(key);
        return Promise.resolve({ code: 'ABC' });
      },
    };
    await givenService(vouchers(office))
      .when('IssueVouchers', { flight, amount: 150 }, { idempotencyKey: 'k1' })
      .thenEvent({ type: 'VouchersIssued', data: { flight, amount: 150, code: 'ABC' } });
    expect(keys).toEqual(['k1']);
  });

  it('are refused above what the partner takes', () =>
    givenService(Vouchers).when('IssueVouchers', { flight, amount: 501 }).thenRejected('TOO_MUCH'));
});
