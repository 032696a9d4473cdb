import { setTimeout as sleep } from 'node:timers/promises';
import { arrayOf, record } from '@spool/schemas';
import { bundle, type Bundle } from '../bundle/bundle.js';
import { postgresProjector } from '../postgres/projector.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';
import { Counter } from './counter.js';

/** The kinds of read models, which one test holds to one contract. */
export const adapters = ['LMDB', 'PostgreSQL'] as const;
export type Adapter = (typeof adapters)[number];

export interface AdapterOptions {
  readonly version?: number;
  /** A handler takes up to so long, in milliseconds. @default 0 */
  readonly slowMs?: number;
}

interface CountRow {
  readonly events: number;
  readonly sum: number;
}
/** Nobody adds that. */
export const poison = 666;
const queries = {
  Rows: {
    request: record('adapter.Rows', {}),
    view: record('adapter.RowsView', { rows: arrayOf(record('adapter.Row', { id: 'string', events: 'int', sum: 'long' })) }),
  },
};

/** A bundle that keeps, for each counter, how many events it has and their sum. */
export function counted(
  adapter: Adapter,
  options: AdapterOptions = {},
): { readonly bundle: Bundle; readonly Counts: ReturnType<typeof inTables> } {
  const Counts = adapter === 'LMDB' ? inTables(options) : inPostgres(options);
  return { bundle: bundle({ id: 'counted', version: '1.0.0', components: [Counts.reads, Counts] }), Counts };
}

async function check(n: number, slowMs: number): Promise<void> {
  if (n === poison) throw new Error('nobody adds that');
  if (slowMs > 0) await sleep(Math.random() * slowMs);
}

function inTables({ version = 1, slowMs = 0 }: AdapterOptions) {
  const PerCounter = projector('PerCounter', {
    of: Counter,
    version,
    gate: true,
    tables: { counts: table<CountRow>() },
    on: {
      Added: async ({ n }, { counts }, { aggregateId }) => {
        const { events, sum } = counts.get(aggregateId) ?? { events: 0, sum: 0 };
        counts.put(aggregateId, { events: events + 1, sum: sum + n });
        await check(n, slowMs);
      },
    },
  });
  return projection('Counts', {
    reads: PerCounter,
    queries,
    answer: { Rows: (_, { counts }) => ({ rows: [...counts.range()].map(([id, row]) => ({ id, ...row })) }) },
  });
}

function inPostgres({ version = 1, slowMs = 0 }: AdapterOptions) {
  const PerCounter = postgresProjector('PerCounter', {
    of: Counter,
    version,
    gate: true,
    tables: 'CREATE TABLE counts (id text PRIMARY KEY, events int NOT NULL, sum bigint NOT NULL)',
    on: {
      Added: async ({ n }, sql, { aggregateId }) => {
        await sql.query(
          `INSERT INTO counts VALUES ($1, 1, $2) ON CONFLICT (id) DO UPDATE SET events = counts.events + 1, sum = counts.sum + excluded.sum`,
          [aggregateId, n],
        );
        await check(n, slowMs);
      },
    },
  });
  return projection('Counts', {
    reads: PerCounter,
    queries,
    answer: {
      Rows: async (_, sql) => {
        const { rows } = await sql.query<{ id: string; events: number; sum: string }>('SELECT id, events, sum FROM counts ORDER BY id');
        return { rows: rows.map(({ id, events, sum }) => ({ id, events, sum: Number(sum) })) };
      },
    },
  });
}
