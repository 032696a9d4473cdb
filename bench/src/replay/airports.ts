import { arrayOf, record } from '@spool/schemas';
import { aggregate, bundle, projection, projector, table } from '@spool/sdk';

const Departed = record('bench.Departed', { destination: 'string', at: 'long', delay: 'int', miles: 'int' });

/** Nobody sends it commands here: its events are written as it would have. */
export const Airport = aggregate('Airport', {
  commands: { Depart: record('bench.Depart', {}) },
  events: { Departed },
  initial: () => ({}),
  decide: { Depart: () => [] },
  evolve: { Departed: (state) => state },
});

export interface AirportRow {
  readonly flights: number;
  readonly late: number;
  readonly miles: number;
}
/** One row for each airport: what is replayed. */
export const Airports = projector('Airports', {
  of: Airport,
  tables: { airports: table<AirportRow>() },
  on: {
    Departed: ({ delay, miles }, { airports }, { aggregateId }) =>
      airports.put(aggregateId, added(airports.get(aggregateId), delay, miles)),
  },
});
export const added = (row: AirportRow = { flights: 0, late: 0, miles: 0 }, delay: number, miles: number): AirportRow => ({
  flights: row.flights + 1,
  late: row.late + (delay > 15 ? 1 : 0),
  miles: row.miles + miles,
});

const Row = record('bench.AirportRow', { airport: 'string', flights: 'long', late: 'long', miles: 'long' });
export const Departures = projection('Departures', {
  reads: Airports,
  queries: {
    Flights: { request: record('bench.Flights', {}), view: record('bench.FlightsView', { flights: 'long' }) },
    All: { request: record('bench.All', {}), view: record('bench.AllView', { rows: arrayOf(Row) }) },
  },
  answer: {
    Flights: (_, { airports }) => ({ flights: [...airports.range()].reduce((sum, [, { flights }]) => sum + flights, 0) }),
    All: (_, { airports }) => ({ rows: [...airports.range()].map(([airport, row]) => ({ airport, ...row })) }),
  },
});
export const airports = bundle({ id: 'airports', version: '1.0.0', components: [Airport, Airports, Departures] });
