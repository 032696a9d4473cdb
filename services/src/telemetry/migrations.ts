import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SpoolError } from '@spool/schemas';

/** One file of `infra/clickhouse/`. */
export interface Migration {
  readonly number: number;
  /** File name, such as `0001-spans.sql`. */
  readonly name: string;
  /** SHA-256 of the file before anything is filled in, so that the same file is the same on every server. */
  readonly checksum: string;
  readonly text: string;
}

/** What is filled in. */
export interface MigrationTarget {
  readonly database: string;
  /** Name of a cluster of replicas: tables are then made on all of them and replicated. @default none: a single server */
  readonly cluster?: string | undefined;
}

/** Blocks remembered per table for dropping repetitions. At a hundred inserts a second this is more than a quarter of an hour. */
const deduplicationWindow = 100_000;

/** Where the files lie in the repository. */
const migrationsFolder = fileURLToPath(new URL('../../../infra/clickhouse/', import.meta.url));

/** @throws SpoolError INVALID_CONFIG when a number is missing or there twice. */
export async function readMigrations(folder = migrationsFolder): Promise<readonly Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (name, index) => {
      const number = index + 1;
      if (!name.startsWith(`${String(number).padStart(4, '0')}-`)) {
        throw new SpoolError(
          'INVALID_CONFIG',
          `${join(folder, name)}: migration ${number} was expected here; numbers count from 0001 without a gap`,
        );
      }
      const text = (await readFile(join(folder, name), 'utf8')).replaceAll('\r\n', '\n');
      return { number, name, checksum: createHash('sha256').update(text).digest('hex'), text };
    }),
  );
}

/** The statements of a migration. They end with a semicolon at the end of a line; no other line may end so. */
export function statementsOf({ name, text }: Migration, { database, cluster }: MigrationTarget): readonly string[] {
  const isReplicated = cluster !== undefined;
  const values: Readonly<Record<string, string>> = {
    database,
    onCluster: isReplicated ? `ON CLUSTER ${cluster}` : '',
    replicated: isReplicated ? 'Replicated' : '',
    deduplicationWindow: isReplicated
      ? `replicated_deduplication_window = ${deduplicationWindow}, replicated_deduplication_window_seconds = 604800`
      : `non_replicated_deduplication_window = ${deduplicationWindow}`,
  };
  const code = text.replace(/^\s*--.*$/gm, '');
  const filled = code.replace(/\{\{(\w+)\}\}/g, (_, key: string) => {
    const value = values[key];
    if (value === undefined) throw new SpoolError('INVALID_CONFIG', `${name}: {{${key}}} is not known`);
    return value;
  });
  return filled
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '');
}
