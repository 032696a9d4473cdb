import { record } from '@spool/schemas';
import { bundle } from '../bundle/bundle.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';
import { Counter } from './counter.js';

/** A read model in parts: the sum of each counter. */
const PerCounter = projector('PerCounter', {
  of: Counter,
  placement: 'partitioned',
  tables: { sums: table<{ readonly sum: number }>() },
  on: { Added: ({ n }, { sums }, { aggregateId }) => sums.put(aggregateId, { sum: (sums.get(aggregateId)?.sum ?? 0) + n }) },
});
export const PartOf = projection('PartOf', {
  reads: PerCounter,
  queries: { One: { request: record('parts.One', { id: 'string' }), view: record('parts.OneView', { sum: 'long' }) } },
  keys: { One: ({ id }) => id },
  answer: { One: ({ id }, { sums }) => sums.get(id) },
});
export const inParts = bundle({ id: 'parts', version: '1.0.0', components: [PerCounter, PartOf] });
