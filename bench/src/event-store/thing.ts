import { aggregate, record } from '@spool/sdk';

/** An aggregate whose commands write as many events as are asked for, and that takes snapshots on demand alone. */
export const Thing = aggregate('Thing', {
  commands: { Add: record('bench.AddMany', { count: 'int' }) },
  events: { Added: record('bench.ThingAdded', { n: 'int', pad: 'string' }) },
  initial: () => ({ count: 0, sum: 0 }),
  decide: { Add: ({ count }) => Array.from({ length: count }, (_, n) => ({ type: 'Added' as const, data: { n, pad: 'x'.repeat(60) } })) },
  evolve: { Added: ({ count, sum }, { n }) => ({ count: count + 1, sum: sum + n }) },
  snapshotEvery: Number.MAX_SAFE_INTEGER,
});
