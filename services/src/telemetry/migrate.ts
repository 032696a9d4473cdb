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
  /** Tells this process from others that migrate; with the name it had before, it goes on with its own lock. */
  readonly owner: string;
  /** How long to wait for ClickHouse and for another process that migrates, in milliseconds. @default 60000 */
  readonly timeoutMs?: number;
  /** A lock not refreshed for so long was left behind by a process that died, in seconds. Longer than any statement takes. @default 60 */
  readonly leaseSeconds?: number;
}

const retryMs = 250;

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
  options: MigrateOptions,
  target: MigrationTarget,
  migrations: readonly Migration[],
  applied: string[],
  deadline: number,
): Promise<void> {
  const { clickhouse } = options;
  // 1. The books.
  for (const statement of bookStatements(target)) await clickhouse.command(statement);
  if ((await pendingOf(clickhouse, migrations)).length === 0) return;
  // 2. One process at a time. What the one before has done need not be done again.
  const lock = await takeLock(options, target, deadline);
  try {
    // 3. Each statement may be repeated, so that a migration that was cut short is begun anew.
    for (const migration of await pendingOf(clickhouse, migrations)) {
      for (const statement of statementsOf(migration, target)) {
        await lock.refresh();
        await clickhouse.command(statement);
      }
      const row = [String(migration.number), literal(migration.name), literal(migration.checksum)].join(', ');
      await clickhouse.command(`INSERT INTO ${target.database}.migrations (number, name, checksum) VALUES (${row})`);
      applied.push(migration.name);
    }
  } finally {
    await lock.release();
  }
}

const literal = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;
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

interface Lock {
  /** @throws SpoolError UNAVAILABLE when another process has taken it for left behind */
  refresh(): Promise<void>;
  release(): Promise<void>;
}

/**
 * ClickHouse has no locks, but it makes a table of one name once. A lock that was left behind is moved aside under a name that only one of
 * those who see it can take.
 */
async function takeLock(
  { clickhouse, owner, leaseSeconds = 60 }: MigrateOptions,
  target: MigrationTarget,
  deadline: number,
): Promise<Lock> {
  const { database } = target;
  const onCluster = onClusterOf(target);
  const table = `${database}.migrations_lock`;
  const aside: string[] = [];
  const lock: Lock = {
    refresh: () => clickhouse.command(`ALTER TABLE ${table} ${onCluster} MODIFY COMMENT ${literal(owner)}`),
    async release() {
      for (const each of [table, ...aside]) await clickhouse.command(`DROP TABLE IF EXISTS ${each} ${onCluster} SYNC`);
    },
  };
  for (;;) {
    const create = `CREATE TABLE ${table} ${onCluster} (nothing UInt8) ENGINE = Null COMMENT ${literal(owner)}`;
    const refused = await clickhouse.command(create).then(() => undefined, toSpoolError);
    if (refused === undefined) return lock;
    const [held] = await clickhouse.rows<{ comment: string; uuid: string; age: number }>(
      `SELECT comment, toString(uuid) AS uuid, toInt32(now() - metadata_modification_time) AS age
       FROM system.tables WHERE database = '${database}' AND name = 'migrations_lock'`,
    );
    if (held?.comment === owner) return lock;
    if (held !== undefined && held.age > leaseSeconds) {
      aside.push(`${table}_${held.uuid.replaceAll('-', '')}`);
      await clickhouse.command(`RENAME TABLE ${table} TO ${aside.at(-1)!} ${onCluster}`);
      continue;
    }
    if (performance.now() >= deadline) {
      throw new SpoolError('UNAVAILABLE', `${table} is held by ${held?.comment ?? 'nobody'}: ${refused.message}`);
    }
    await sleep(retryMs);
  }
}
