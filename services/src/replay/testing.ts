import { aggregate, arrayOf, bundle, projection, projector, record, table } from '@spool/sdk';

export const Counter = aggregate('Counter', {
  commands: { Add: record('count.Add', { n: 'int' }) },
  events: { Added: record('count.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => [{ type: 'Added', data: { n } }] },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
/** What a deployment of other code changes: by how much an event counts. */
export const code = { each: 1 };
/** How often an event was acted on, over all instances, by its id. */
export const acted = new Map<string, number>();
const Totals = projector('Totals', {
  of: Counter,
  tables: { totals: table<{ readonly sum: number }>() },
  on: {
    Added: ({ n }, { totals }, { aggregateId, eventId, replayId }) => {
      totals.put(aggregateId, { sum: (totals.get(aggregateId)?.sum ?? 0) + n * code.each });
      if (replayId === undefined) acted.set(eventId, (acted.get(eventId) ?? 0) + 1);
    },
  },
});
/** Another read model of the same events. */
const Counts = projector('Counts', {
  of: Counter,
  tables: { counts: table<number>() },
  on: { Added: (_, { counts }, { aggregateId }) => counts.put(aggregateId, (counts.get(aggregateId) ?? 0) + code.each) },
});
const row = record('count.Row', { id: 'string', sum: 'long' });
/** All rows of the read model. */
export const Sums = projection('Sums', {
  reads: Totals,
  queries: { All: { request: record('count.All', {}), view: record('count.AllView', { rows: arrayOf(row) }) } },
  answer: { All: (_, { totals }) => ({ rows: [...totals.range()].map(([id, { sum }]) => ({ id, sum })) }) },
});
export const counting = bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Counts, Sums] });
