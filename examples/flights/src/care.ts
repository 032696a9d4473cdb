import { only, saga } from '@spool/sdk';
import { Flight } from './flight.js';
import type { vouchers } from './vouchers.js';

/** From how late on passengers get something, and how much for each hour. */
const longDelayMinutes = 180;
const dollarsPerHour = 50;
const overdueAfterMs = 24 * 60 * 60 * 1000;

/** Looks after the passengers of one flight in the air: it notices when the flight never arrives, and makes good for a long delay. */
export const passengerCare = (Vouchers: ReturnType<typeof vouchers>) =>
  saga('PassengerCare', {
    description: 'Vouchers for passengers of long delays, and an alarm for flights that never arrive.',
    of: [Flight],
    sends: [only(Flight, 'ReportOverdue'), Vouchers],
    initial: () => ({ delayMinutes: 0 }),
    on: {
      FlightDeparted: {
        starts: true,
        by: (_, { aggregateId }) => aggregateId,
        react(_state, _event, { schedule }) {
          schedule('overdue', { afterMs: overdueAfterMs });
        },
      },
      FlightArrived: {
        by: (_, { aggregateId }) => aggregateId,
        react(_, { delayMinutes }, { id: flight, send, cancel, end }) {
          if (delayMinutes < longDelayMinutes) {
            end();
            return undefined;
          }
          cancel('overdue');
          send(Vouchers, 'IssueVouchers', flight, { flight, amount: dollarsPerHour * Math.floor(delayMinutes / 60) });
          return { delayMinutes };
        },
      },
    },
    onOutcome: {
      // What the partner refuses is left to people: the history of the instance tells why.
      IssueVouchers: (_state, _outcome, { end }) => end(),
    },
    timers: {
      overdue: (_state, { id: flight, send }) => send(Flight, 'ReportOverdue', flight, {}),
    },
  });
