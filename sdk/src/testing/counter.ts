import { record } from '@spool/schemas';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';

/** The smallest bundle that has all: what is added is in the events, in the sum of the read model, and in the answer. */
export const Counter = aggregate('Counter', {
  commands: { Add: record('count.Add', { n: 'int' }) },
  events: { Added: record('count.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => [{ type: 'Added', data: { n } }] },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
interface Total {
  readonly events: number;
  readonly sum: number;
}
export const Totals = projector('Totals', {
  of: Counter,
  tables: { totals: table<Total>() },
  on: {
    Added: ({ n }, { totals }) => {
      const before = totals.get('all') ?? { events: 0, sum: 0 };
      totals.put('all', { events: before.events + 1, sum: before.sum + n });
    },
  },
});
export const Sums = projection('Sums', {
  reads: Totals,
  queries: { Total: { request: record('count.Total', {}), view: record('count.TotalView', { events: 'int', sum: 'long' }) } },
  answer: { Total: (_, { totals }) => totals.get('all') },
});
export const counting = bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Sums] });
