import { SpoolError } from '@spool/schemas';
import { observer } from '@spool/sdk';
import { Delays } from './delays.js';
import { Flight } from './flight.js';

const worthTelling = 180;

/** Tells people of long delays, cancellations and missing flights, in the log of the bundle. */
export const Announcements = observer('Announcements', {
  description: 'Tells people of long delays, cancellations and missing flights.',
  of: Flight,
  asks: [Delays],
  on: {
    async FlightArrived({ origin, destination, delayMinutes }, { aggregateId, queries, log }) {
      if (delayMinutes < worthTelling) return;
      const usual = await queries.ask(Delays, 'RouteDelays', { origin, destination }).catch((error: unknown) => {
        if (error instanceof SpoolError && error.code === 'NOT_FOUND') return undefined;
        throw error;
      });
      log('a long delay', { flight: aggregateId, delayMinutes, usualDelayMinutes: usual?.view.averageDelayMinutes ?? null });
    },
    FlightCancelled: ({ reason }, { aggregateId, log }) => log('a flight was cancelled', { flight: aggregateId, reason }),
    FlightOverdue: (_, { aggregateId, log }) => log('a flight is missing', { flight: aggregateId }),
  },
});
