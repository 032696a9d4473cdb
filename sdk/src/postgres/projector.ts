import { SpoolError } from '@spool/schemas';
import { made } from '../bundle/source.js';
import type { EventSource, QueryTarget } from '../messages.js';
import { projectorOf, type Projector, type ProjectorHandlers, type ProjectorParts, type SqlTables } from '../projector/projector.js';
import { openPostgresHome } from './home.js';

export type PostgresProjectorOptions<S extends EventSource, Q extends QueryTarget = never> = ProjectorParts<S, Q> & {
  /**
   * The statements that make the tables, run once for each version: in a schema of their own, so that names need none. A table may not be called `spool_…`.
   * Other statements are another read model: raise `version` with them.
   */
  readonly tables: string;
} & ProjectorHandlers<S, SqlTables, Q>;

/**
 * A projector whose read model is in PostgreSQL, one for all instances: they share the work by partitions. Its handlers write with SQL in the
 * transaction that commits the position: each event counts once, whatever is killed. Projections that read it get the same SQL, for reading, and see
 * rows and position of one moment.
 * @example postgresProjector('Totals', {
 *   of: Counter,
 *   tables: 'CREATE TABLE totals (id text PRIMARY KEY, sum bigint NOT NULL)',
 *   on: { Added: ({ n }, sql, { aggregateId }) => sql.query('INSERT INTO totals …', [aggregateId, n]) },
 * })
 */
export function postgresProjector<const Name extends string, S extends EventSource, Q extends QueryTarget = never>(
  name: Name,
  options: PostgresProjectorOptions<S, Q>,
): Projector<Name, SqlTables> {
  const { tables } = options;
  if (tables.trim() === '') throw new SpoolError('INVALID_CONFIG', `${name} declares no tables: give the statements that make them`);
  return made<Projector<Name, SqlTables>>(postgresProjector, {
    ...projectorOf<Name, S, SqlTables, Q>(name, options),
    tables: [],
    home: (request) => openPostgresHome(request, tables),
  });
}
