/** Read models in PostgreSQL. */
export { openPostgres, type PostgresDatabase, type PostgresOptions } from './database.js';
export { postgresProjector, type PostgresProjectorOptions } from './projector.js';
export { dropReadModel, schemaOf } from './schema.js';
export type { Sql } from './sql.js';
