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

  it('of several sources, each by its own schema', async () => {
    const Wall = { kind: 'service', name: 'Wall', events: { Added: record('kit.Painted', { colour: 'string' }) } } as const;
    const Both = projector('Both', {
      of: [Counter, Wall],
      tables: { lines: table<string>() },
      on: {
        Added: (event, { lines }, { source, version }) => lines.put(source, `${version}: ${'n' in event ? event.n : event.colour}`),
      },
    });
    const painted = { type: 'Added', data: { colour: 'red' }, source: 'Wall' };
    await givenEvents([{ ...added(1), source: 'Counter' }, painted])
      .on(Both)
      .thenRows('lines', { Counter: '1: 1', Wall: '1: red' });
    await expect(
      givenEvents([added(1)])
        .on(Both)
        .thenRows('lines', {}),
    ).rejects.toThrow('several of Counter, Wall have an event Added: say which by its source');
  });

  it('in a batch, which gives the rows that they give one by one', async () => {
    const batched = (sum: (n: readonly number[]) => number) =>
      projector('Batched', {
        of: Counter,
        tables: { sums: table<number>() },
        onBatch: (events, { sums }) => sums.put('all', (sums.get('all') ?? 0) + sum(events.map(({ data }) => data.n))),
      });
    const three = givenEvents([added(1), added(2), added(4)]);
    await three.on(batched((all) => all.reduce((a, b) => a + b))).thenRows('sums', { all: 7 });
    await expect(three.on(batched((all) => all[0]!)).thenRows('sums', { all: 1 })).rejects.toThrow(
      /the rows of sums of Batched, one by one/,
    );
  });

  it('of the context whose read model it is', async () => {
    const Bound = projector('Bound', {
      of: Counter,
      contexts: ['default', 'import'],
      tables: { sums: table<number>() },
      on: { Added: ({ n }, { sums }, { version }) => sums.put(`v${version}`, n) },
    });
    const mixed = givenEvents([added(1), { ...added(2), context: 'import' }, { ...added(3), context: 'other' }]);
    await mixed.on(Bound).thenRows('sums', { v1: 1 });
    await mixed.on(Bound, 'import').thenRows('sums', { v2: 2 });
  });

  it('with what it hears when it asks', async () => {
    const Asking = projector('Asking', {
      of: Counter,
      asks: [Counters],
      tables: { names: table<number>() },
      on: {
        async Added(_, { names }, { aggregateId, queries }) {
          const { view } = await queries.ask(Counters, 'CounterIs', { id: aggregateId });
          names.put(aggregateId, view.n);
        },
      },
    });
    const stubbed = givenEvents([added(1)]).answering(Counters, 'CounterIs', ({ id }) => (id === 'a' ? { n: 40 } : undefined));
    await stubbed.on(Asking).thenRows('names', { a: 40 });
    await expect(
      givenEvents([added(1)])
        .on(Asking)
        .thenRows('names', {}),
    ).rejects.toThrow("CounterIs of Counters is asked and not stubbed: givenEvents(...).answering(Counters, 'CounterIs', ...)");
    const nothing = givenEvents([added(1)]).answering(Counters, 'CounterIs', () => undefined);
    await expect(nothing.on(Asking).thenRows('names', {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
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
