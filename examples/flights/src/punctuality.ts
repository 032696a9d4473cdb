import { SpoolError } from '@spool/schemas';
import { cron } from '@spool/sdk';
import { Delays } from './delays.js';

/** Once a minute, on one of the instances: how punctual the network is, in the log of the bundle. */
export const Punctuality = cron('Punctuality', {
  description: 'How punctual the network is, once a minute.',
  schedule: '* * * * *',
  missed: 'skip',
  asks: [Delays],
  async run({ id }, { queries, log }) {
    try {
      const { view } = await queries.ask(Delays, 'NetworkDelays', {});
      log('punctuality', { tick: id, ...view });
    } catch (error) {
      if (!(error instanceof SpoolError && error.code === 'NOT_FOUND')) throw error;
      log('no flight has arrived yet', { tick: id });
    }
  },
});
