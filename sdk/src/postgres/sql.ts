import { SpoolError } from '@spool/schemas';
import type { QueryResultRow } from 'pg';

/** What handlers write with and answers read with: statements of one transaction of PostgreSQL. Tables of the read model need no schema in front. */
export interface Sql {
  /**
   * @param text with `$1`, `$2` and so on for the values
   * @throws SpoolError UNAVAILABLE when it may pass another time (the server is away, a deadlock); else what the driver throws, with `code` the SQLSTATE
   */
  query<Row extends QueryResultRow = QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number | null }>;
}

/** Connections that broke, transactions that lost against others, servers that stop or are full: classes of SQLSTATE. */
const passing = /^(08|40|53|55|57)/;

const stateOf = (thrown: unknown): string | undefined => {
  const code: unknown = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
};

/** A failure that time mends as UNAVAILABLE; any other as it is. */
export function toSqlError(thrown: unknown): unknown {
  if (thrown instanceof SpoolError) return thrown;
  const state = stateOf(thrown);
  if (state !== undefined && !passing.test(state)) return thrown;
  return new SpoolError('UNAVAILABLE', `PostgreSQL: ${(thrown as Error).message}`, { cause: thrown });
}

/** Whether the server has said that the transaction was not committed. */
export const isRefusal = (thrown: unknown): boolean => {
  const state = stateOf(thrown);
  return state !== undefined && !/^(08|57)/.test(state);
};
