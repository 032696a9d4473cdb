import { aggregate, bundle, record, reject } from '@spool/sdk';

/** As many events as the command asks for, and a rejection when it asks for none. */
export const Account = aggregate('Account', {
  commands: { Post: record('chaos.Post', { events: 'int' }) },
  events: { Posted: record('chaos.Posted', { of: 'int', index: 'int' }) },
  initial: () => ({ postings: 0 }),
  decide: {
    Post: ({ events }) =>
      events === 0
        ? reject('NOTHING', 'there is nothing to post')
        : Array.from({ length: events }, (_, index) => ({ type: 'Posted', data: { of: events, index } }) as const),
  },
  evolve: { Posted: ({ postings }) => ({ postings: postings + 1 }) },
  // Restores go by snapshots too.
  snapshotEvery: 20,
});
export const accounts = bundle({ id: 'chaos', version: '1.0.0', components: [Account] });
