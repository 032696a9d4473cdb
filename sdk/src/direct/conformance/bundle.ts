import { record } from '@spool/schemas';
import { aggregate, reject } from '../../aggregate/aggregate.js';
import { bundle } from '../../bundle/bundle.js';
import { invoker } from '../../invoker/invoker.js';
import { only } from '../../messages.js';
import { projection } from '../../projection/projection.js';
import { service } from '../../service/service.js';
import { streaming } from '../../service/streaming.js';
import { Sums, Totals } from '../../testing/counter.js';

/** As that of `counter.ts`, with more to say: it rejects, and it has a command that no component of its bundle sends. */
const Counter = aggregate('Counter', {
  commands: { Add: record('count.Add', { n: 'int' }), Hide: record('count.Hide', { n: 'int' }) },
  events: { Added: record('count.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: {
    Add: ({ n }) => (n < 0 ? reject('NEGATIVE', `${n} is below zero`) : [{ type: 'Added', data: { n } }]),
    Hide: () => [],
  },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
const Odd = projection('Odd', {
  reads: Totals,
  queries: {
    Nothing: { request: record('count.Nothing', {}), view: record('count.NothingView', { n: 'int' }) },
    Never: { request: record('count.Never', {}), view: record('count.NeverView', { n: 'int' }) },
  },
  answer: {
    Nothing: () => undefined,
    Never: () => new Promise<{ n: number }>(() => undefined),
  },
});
export const Counts = service('Counts', {
  commands: {},
  streams: {
    Count: streaming({
      command: record('count.Count', { to: 'int' }),
      events: { Counted: record('count.Counted', { n: 'int' }) },
      async *handle({ to }) {
        for (let n = 1; n <= to; n += 1) {
          await new Promise((resolve) => setImmediate(resolve));
          yield { type: 'Counted' as const, data: { n } };
        }
      },
    }),
  },
  handle: {},
});
const Caller = invoker('Caller', { sends: [only(Counter, 'Add'), Counts], asks: [Sums, Odd], run: () => Promise.resolve() });
/** What every transport of calls is tried on. */
export const conforming = bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Sums, Odd, Counts, Caller] });
