import { SpoolError } from '@spool/schemas';
import pg, { type PoolClient } from 'pg';
import type { PostgresDatabase } from './database.js';
import { toSqlError } from './sql.js';

const { escapeIdentifier, escapeLiteral } = pg;
/** PostgreSQL cuts longer names in silence. */
const maxBytes = 63;

/** The schema of a consumer: `counting.Totals-2.default` is in `counting_totals_2_default`. @throws SpoolError INVALID_CONFIG */
export function schemaOf(consumer: string): string {
  const name = consumer.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_');
  if (name.length > maxBytes) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `the schema ${name} of ${consumer} is longer than PostgreSQL's ${maxBytes} bytes; give it a shorter name`,
    );
  }
  return name;
}

/** Names of tables are looked up there until the transaction ends. */
export const inSchema = (schema: string): string => `SET LOCAL search_path TO ${escapeIdentifier(schema)}`;

/**
 * What stands beside the author's tables. `spool_positions` has a row for each task: `fence` rises with each owner, `moved` whenever another task has
 * emptied the tables. `spool_rows` is what the engine keeps for itself (lanes that are parked).
 */
const own = `
CREATE TABLE spool_model (consumer text PRIMARY KEY, tables text NOT NULL, reset_epoch bigint NOT NULL DEFAULT -1);
CREATE TABLE spool_positions (task text PRIMARY KEY, fence bigint NOT NULL, moved bigint NOT NULL DEFAULT 0, positions jsonb NOT NULL, epoch bigint NOT NULL, replay jsonb);
CREATE TABLE spool_rows (task text NOT NULL, name text NOT NULL, key bytea NOT NULL, value bytea NOT NULL, PRIMARY KEY (task, name, key))`;

/**
 * Makes the schema of a read model with its tables, once, whoever comes first.
 * @param tables the author's statements @throws SpoolError INVALID_CONFIG, UNAVAILABLE
 */
export async function prepareSchema(database: PostgresDatabase, consumer: string, tables: string): Promise<string> {
  const schema = schemaOf(consumer);
  await database.write(async (client) => {
    await client.query(lockSchema(schema));
    const { rowCount } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema]);
    if (rowCount === 0) {
      await client.query(`CREATE SCHEMA ${escapeIdentifier(schema)}; ${inSchema(schema)}; ${own}`);
      try {
        await client.query(tables);
      } catch (thrown) {
        if (toSqlError(thrown) instanceof SpoolError) throw thrown;
        refuse(schema, `cannot be made: ${(thrown as Error).message}`);
      }
      await client.query('INSERT INTO spool_model (consumer, tables) VALUES ($1, $2)', [consumer, tables]);
      return;
    }
    if ((await modelIn(client, schema, consumer)) !== tables)
      refuse(schema, `has other tables than ${consumer} declares: raise the version of the projector, which builds a new one`);
  });
  return schema;
}

/**
 * Deletes a read model with its schema, as of a version that no instance runs any more: nothing else ever does.
 * @param consumer `<namespace><bundle>.<projector>-<version>.<context>`, as `counting.Totals-1.default`
 * @returns whether there was one @throws SpoolError INVALID_CONFIG for a schema that is not a read model of it; UNAVAILABLE
 */
export function dropReadModel(database: PostgresDatabase, consumer: string): Promise<boolean> {
  const schema = schemaOf(consumer);
  return database.write(async (client) => {
    await client.query(lockSchema(schema));
    const { rowCount } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema]);
    if (rowCount === 0) return false;
    await modelIn(client, schema, consumer);
    await client.query(`DROP SCHEMA ${escapeIdentifier(schema)} CASCADE`);
    return true;
  });
}

const lockSchema = (schema: string): string => `SELECT pg_advisory_xact_lock(hashtextextended(${escapeLiteral(`spool ${schema}`)}, 0))`;
const refuse = (schema: string, why: string): never => {
  throw new SpoolError('INVALID_CONFIG', `the schema ${schema} of PostgreSQL ${why}`);
};

/** @returns the statements that made its tables @throws SpoolError INVALID_CONFIG */
async function modelIn(client: PoolClient, schema: string, consumer: string): Promise<string> {
  await client.query(inSchema(schema));
  const { rows: marks } = await client.query<{ mark: string | null }>(`SELECT to_regclass('spool_model') AS mark`);
  if (marks[0]?.mark === null) refuse(schema, 'is there already, and is not a read model of Spool');
  const { rows } = await client.query<{ consumer: string; tables: string }>('SELECT consumer, tables FROM spool_model');
  const found = rows[0]!;
  if (found.consumer !== consumer) refuse(schema, `is that of ${found.consumer}, not of ${consumer}: give one of them another name`);
  return found.tables;
}
