import { record } from '@spool/schemas';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';
import { Counter } from './counter.js';
import { givenEvents } from './given-events.js';

const PerCounter = projector('PerCounter', {
  of: Counter,
  tables: { counters: table<{ n: number; version: number }>() },
  on: {
    Added: ({ n }, { counters }, { aggregateId, version }) =>
      counters.put(aggregateId, { n: n + (counters.get(aggregateId)?.n ?? 0), version }),
  },
});
const request = record('kit.CounterIs', { id: 'string' });
const Counters = projection('Counters', {
  reads: PerCounter,
  queries: { CounterIs: { request, view: record('kit.CounterIsView', { n: 'int' }) } },
  answer: { CounterIs: ({ id }, { counters }) => counters.get(id) && { n: counters.get(id)!.n } },
});
const added = (n: number, aggregateId = 'a') => ({ type: 'Added', data: { n }, aggregateId });

describe('given events on a projector, when a projection is asked', () => {
  const model = givenEvents([added(1), added(2), added(5, 'b')]).on(PerCounter);

  it('then the view is that of the events', async () => {
    await model.whenAsked(Counters, 'CounterIs', { id: 'a' }).thenView({ n: 3 });
    await model.whenAsked(Counters, 'CounterIs', { id: 'c' }).thenNotFound();
  });

  it('then the rows are those of the events, with versions for each aggregate', async () => {
    await model.thenRows('counters', { a: { n: 3, version: 2 }, b: { n: 5, version: 1 } });
  });

  it('shows the difference', async () => {
    await expect(model.whenAsked(Counters, 'CounterIs', { id: 'a' }).thenView({ n: 4 })).rejects.toThrow(
      /the answer to CounterIs[^]*n: 3[^]*n: 4/,
    );
    await expect(model.whenAsked(Counters, 'CounterIs', { id: 'a' }).thenNotFound()).rejects.toThrow(/the answer to CounterIs/);
    await expect(model.thenRows('counters', {})).rejects.toThrow(/the rows of counters/);
    await expect(model.thenRows('sums', {})).rejects.toThrow('PerCounter has no table sums; it has counters');
  });

  it('refuses events, requests and views that Kafka would refuse, and rows that a store would not bring back', async () => {
    const invalid = expect.objectContaining({ code: 'INVALID_PAYLOAD' }) as Error;
    await expect(
      givenEvents([added(1.5)])
        .on(PerCounter)
        .thenRows('counters', {}),
    ).rejects.toThrow(invalid);
    await expect(model.whenAsked(Counters, 'CounterIs', { id: 1 as never }).thenNotFound()).rejects.toThrow(invalid);
    await expect(
      givenEvents([added(2 ** 31 - 1), added(1)])
        .on(PerCounter)
        .whenAsked(Counters, 'CounterIs', { id: 'a' })
        .thenNotFound(),
    ).rejects.toThrow(invalid);
    await expect(
      givenEvents([{ type: 'Subtracted', data: {} }])
        .on(PerCounter)
        .thenRows('counters', {}),
    ).rejects.toThrow('Subtracted is not among the events of Counter');
    const dates = projector('Dates', {
      of: Counter,
      tables: { dates: table<Date>() },
      on: { Added: (_, { dates: rows }) => rows.put('a', new Date(0)) },
    });
    await expect(
      givenEvents([added(1)])
        .on(dates)
        .thenRows('dates', {}),
    ).rejects.toThrow('a row of dates is plain data');
  });
});
