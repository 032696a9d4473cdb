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

/** Connections that broke, transactions and locks that lost against others, servers that stop or are full: by SQLSTATE. */
const passing = /^(08|40|53|57|55006|55P03)/;
/** What the driver throws for a value that it cannot send: it never can. */
const unsendable = new Set(['TypeError', 'RangeError', 'SyntaxError']);

const stateOf = (thrown: unknown): string | undefined => {
  const code: unknown = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
};

/** A failure that time mends as UNAVAILABLE; any other as it is. */
export function toSqlError(thrown: unknown): unknown {
  if (thrown instanceof SpoolError) return thrown;
  const state = stateOf(thrown);
  if (state === undefined ? unsendable.has((thrown as Error).name) : !passing.test(state)) return thrown;
  return new SpoolError('UNAVAILABLE', `PostgreSQL: ${(thrown as Error).message}`, { cause: thrown });
}

/** Whether the server has said that the transaction was not committed. */
export const isRefusal = (thrown: unknown): boolean => {
  const state = stateOf(thrown);
  return state !== undefined && !/^(08|57)/.test(state);
};

/** Statements that would take the transaction from the store: what follows them would not commit with the position. */
const endsTransaction = /^[\s;(]*(abort|begin|commit|end|start|prepare\s+transaction|rollback(?!\s+((transaction|work)\s+)?to\b))\b/i;

/** @throws SpoolError INVALID_CONFIG for a statement that begins or ends a transaction */
export function checkStatement(text: string): void {
  if (endsTransaction.test(text)) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `a handler may not begin or end a transaction, the position commits with its statements: ${text}`,
    );
  }
}
