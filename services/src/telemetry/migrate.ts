import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { assertName, type ClickHouse } from './clickhouse.js';
import { readMigrations, statementsOf, type Migration, type MigrationTarget } from './migrations.js';

export interface MigrateOptions {
  readonly clickhouse: ClickHouse;
  /** Name of a cluster of replicas. @default none: a single server */
  readonly cluster?: string;
  /** @default those of `infra/clickhouse/` */
  readonly migrations?: readonly Migration[];
  /** Tells this process from others that migrate. */
  readonly owner: string;
  /** How long to wait for ClickHouse and for another process that migrates, in milliseconds. @default 60000 */
  readonly timeoutMs?: number;
}

const retryMs = 250;
/** A lock this old was left behind by a process that died. */
const leaseSeconds = 60;
const lockTable = 'migrations_lock';

/**
 * Brings the database up to date; resolves with the names of what it applied. Each migration is applied once, by one process at a time.
 * @throws SpoolError INVALID_CONFIG when an applied file has been changed since; UNAVAILABLE after `timeoutMs`.
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const { clickhouse, cluster, timeoutMs = 60_000 } = options;
  if (cluster !== undefined) assertName('cluster', cluster);
  const migrations = options.migrations ?? (await readMigrations());
  const target: MigrationTarget = { database: clickhouse.database, cluster };
  const deadline = performance.now() + timeoutMs;
  const applied: string[] = [];
  for (;;) {
    try {
      await attempt(options, target, migrations, applied, deadline);
      return applied;
    } catch (thrown) {
      const error = toSpoolError(thrown);
      if (error.entry.retryable !== 'backoff' || performance.now() >= deadline) throw error;
      await sleep(retryMs);
    }
  }
}

async function attempt(
  { clickhouse, owner }: MigrateOptions,
  target: MigrationTarget,
  migrations: readonly Migration[],
  applied: string[],
  deadline: number,
): Promise<void> {
  // 1. The books.
  const { database } = target;
  for (const statement of bookStatements(target)) await clickhouse.command(statement);
  if ((await pendingOf(clickhouse, migrations)).length === 0) return;
  // 2. One process at a time. What the one before has done need not be done again.
  const release = await lock(clickhouse, target, owner, deadline);
  // 3. Each statement may be repeated, so that a migration that was cut short is begun anew.
  for (const migration of await pendingOf(clickhouse, migrations)) {
    for (const statement of statementsOf(migration, target)) await clickhouse.command(statement);
    const { number, name, checksum } = migration;
    await clickhouse.command(`INSERT INTO ${database}.migrations (number, name, checksum) VALUES (${number}, '${name}', '${checksum}')`);
    applied.push(name);
  }
  await release();
}

const onClusterOf = ({ cluster }: MigrationTarget): string => (cluster === undefined ? '' : `ON CLUSTER ${cluster}`);

const bookStatements = (target: MigrationTarget): readonly string[] => [
  `CREATE DATABASE IF NOT EXISTS ${target.database} ${onClusterOf(target)}`,
  `CREATE TABLE IF NOT EXISTS ${target.database}.migrations ${onClusterOf(target)}
   (number UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
   ENGINE = ${target.cluster === undefined ? '' : 'Replicated'}MergeTree ORDER BY number`,
];

async function pendingOf(clickhouse: ClickHouse, migrations: readonly Migration[]): Promise<readonly Migration[]> {
  const rows = await clickhouse.rows<{ number: number; name: string; checksum: string }>(
    `SELECT number, name, checksum FROM ${clickhouse.database}.migrations ORDER BY number`,
  );
  const known = new Map(rows.map((row) => [row.number, row]));
  const changed = migrations.filter(({ number, checksum }) => (known.get(number)?.checksum ?? checksum) !== checksum);
  if (changed.length > 0) {
    const names = changed.map(({ name }) => name).join(', ');
    throw new SpoolError(
      'INVALID_CONFIG',
      `changed since they were applied to ${clickhouse.database}: ${names}. Add a new migration instead.`,
    );
  }
  return migrations.filter(({ number }) => !known.has(number));
}

/**
 * ClickHouse has no locks, but it makes a table of one name once. A lock that was left behind is moved aside under a name that only one of
 * those who see it can take.
 */
async function lock(clickhouse: ClickHouse, target: MigrationTarget, owner: string, deadline: number): Promise<() => Promise<void>> {
  const onCluster = onClusterOf(target);
  const table = `${target.database}.${lockTable}`;
  const release = (): Promise<void> => clickhouse.command(`DROP TABLE IF EXISTS ${table} ${onCluster} SYNC`);
  for (;;) {
    const refused = await clickhouse.command(`CREATE TABLE ${table} ${onCluster} (nothing UInt8) ENGINE = Null COMMENT '${owner}'`).then(
      () => undefined,
      (thrown: unknown) => toSpoolError(thrown),
    );
    if (refused === undefined) return release;
    const [held] = await clickhouse.rows<{ comment: string; uuid: string; age: number }>(
      `SELECT comment, toString(uuid) AS uuid, toInt32(now() - metadata_modification_time) AS age
       FROM system.tables WHERE database = '${target.database}' AND name = '${lockTable}'`,
    );
    if (held?.comment === owner) return release;
    if (held !== undefined && held.age > leaseSeconds) {
      const aside = `${table}_${held.uuid.replaceAll('-', '')}`;
      await clickhouse.command(`RENAME TABLE ${table} TO ${aside} ${onCluster}`);
      continue;
    }
    if (performance.now() >= deadline)
      throw new SpoolError('UNAVAILABLE', `${table} is held by ${held?.comment ?? 'nobody'}: ${refused.message}`);
    await sleep(retryMs);
  }
}
