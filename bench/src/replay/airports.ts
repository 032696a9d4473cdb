import { arrayOf, record } from '@spool/schemas';
import { aggregate, bundle, projection, projector, table, type Component } from '@spool/sdk';
import { postgresProjector } from '@spool/sdk/postgres';
import type { SpoolContender } from './contenders/contender.js';

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
const queries = {
  Flights: { request: record('bench.Flights', {}), view: record('bench.FlightsView', { flights: 'long' }) },
  All: { request: record('bench.All', {}), view: record('bench.AllView', { rows: arrayOf(Row) }) },
} as const;
export const Departures = projection('Departures', {
  reads: Airports,
  queries,
  answer: {
    Flights: (_, { airports }) => ({ flights: [...airports.range()].reduce((sum, [, { flights }]) => sum + flights, 0) }),
    All: (_, { airports }) => ({ rows: [...airports.range()].map(([airport, row]) => ({ airport, ...row })) }),
  },
});

/** The same rows in PostgreSQL. */
const AirportsInPostgres = postgresProjector(Airports.name, {
  of: Airport,
  tables: 'CREATE TABLE airports (airport text PRIMARY KEY, flights bigint NOT NULL, late bigint NOT NULL, miles bigint NOT NULL)',
  on: {
    Departed: ({ delay, miles }, sql, { aggregateId }) =>
      sql.query(
        `INSERT INTO airports VALUES ($1, 1, $2, $3) ON CONFLICT (airport)
         DO UPDATE SET flights = airports.flights + 1, late = airports.late + excluded.late, miles = airports.miles + excluded.miles`,
        [aggregateId, delay > 15 ? 1 : 0, miles],
      ),
  },
});
const DeparturesInPostgres = projection(Departures.name, {
  reads: AirportsInPostgres,
  queries,
  answer: {
    Flights: async (_, sql) => {
      const { rows } = await sql.query<{ flights: string }>('SELECT coalesce(sum(flights), 0) AS flights FROM airports');
      return { flights: Number(rows[0]!.flights) };
    },
    All: async (_, sql) => {
      const { rows } = await sql.query<Record<'airport' | 'flights' | 'late' | 'miles', string>>('SELECT * FROM airports ORDER BY airport');
      return {
        rows: rows.map(({ airport, flights, late, miles }) => ({
          ...{ airport, flights: Number(flights), late: Number(late), miles: Number(miles) },
        })),
      };
    },
  },
});

const components: Readonly<Record<SpoolContender, readonly Component[]>> = {
  spool: [Airport, Airports, Departures],
  'spool-postgres': [Airport, AirportsInPostgres, DeparturesInPostgres],
};
/** The bundle of each of Spool's contenders. */
export const airports = (contender: SpoolContender) => bundle({ id: 'airports', version: '1.0.0', components: components[contender] });
