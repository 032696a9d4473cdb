import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnClickHouse, type SpawnedClickHouse } from '@spool/embedded';
import { openClickHouse, type ClickHouse } from './clickhouse.js';
import { migrate } from './migrate.js';
import { readMigrations, statementsOf } from './migrations.js';

describe('migrations', () => {
  let folder: string;
  let server: SpawnedClickHouse;
  let clickhouse: ClickHouse;
  let count = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-migrate-'));
    server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse') });
  });
  afterAll(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    clickhouse = openClickHouse({ url: server.url, ...server.writer, database: `migrated_${++count}` });
  });
  afterEach(() => clickhouse.close());

  const booked = () => clickhouse.rows<{ name: string }>(`SELECT name FROM ${clickhouse.database}.migrations ORDER BY number`);
  const tables = async (): Promise<readonly string[]> =>
    (await clickhouse.rows<{ name: string }>(`SELECT name FROM system.tables WHERE database = '${clickhouse.database}'`)).map(
      ({ name }) => name,
    );

  it('are applied once, in order, though two processes start at the same time', async () => {
    const names = (await readMigrations()).map(({ name }) => name);
    const both = await Promise.all(['a', 'b'].map((owner) => migrate({ clickhouse, owner })));
    expect(both.flat()).toEqual(names);
    expect(await migrate({ clickhouse, owner: 'c' })).toEqual([]);
    expect((await booked()).map(({ name }) => name)).toEqual(names);
    const there = await tables();
    for (const table of ['spans', 'metrics', 'lag', 'events_index', 'quarantine', 'spans_10s', 'spans_1m', 'spans_1h'])
      expect(there).toContain(table);
    expect(there).not.toContain('migrations_lock');
  });

  it('are refused when one that was applied has been changed, and nothing more is applied', async () => {
    const [first, ...rest] = await readMigrations();
    await migrate({ clickhouse, owner: 'a', migrations: [first!] });
    const changed = { ...first!, checksum: 'another' };
    await expect(migrate({ clickhouse, owner: 'a', migrations: [changed, ...rest] })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining(first!.name) as string,
    });
    expect(await booked()).toHaveLength(1);
  });

  it('go on behind a lock that a dead process left, and wait for a living one', async () => {
    await clickhouse.command(`CREATE DATABASE ${clickhouse.database}`);
    await clickhouse.command(`CREATE TABLE ${clickhouse.database}.migrations_lock (nothing UInt8) ENGINE = Null COMMENT 'dead'`);
    await expect(migrate({ clickhouse, owner: 'a', timeoutMs: 500 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('dead') as string,
    });
    const both = await Promise.all(['a', 'b'].map((owner) => migrate({ clickhouse, owner, leaseSeconds: 1 })));
    expect(both.flat()).toEqual((await readMigrations()).map(({ name }) => name));
    expect((await tables()).filter((name) => name.startsWith('migrations_lock'))).toEqual([]);
  });

  it('release the lock when a statement fails, and can be mended', async () => {
    const broken = {
      number: 1,
      name: '0001-broken.sql',
      checksum: 'x',
      text: 'CREATE TABLE {{database}}.broken (a Strong) ENGINE = Null;\n',
    };
    await expect(migrate({ clickhouse, owner: 'a', migrations: [broken], timeoutMs: 1 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const mended = { ...broken, text: broken.text.replace('Strong', 'String') };
    expect(await migrate({ clickhouse, owner: 'b', migrations: [mended] })).toEqual(['0001-broken.sql']);
  });

  it('are understood by the engine in their form for a cluster too', async () => {
    const statements = (await readMigrations()).flatMap((migration) => statementsOf(migration, { database: 'spool', cluster: 'main' }));
    expect(statements.length).toBeGreaterThan(15);
    for (const statement of statements) {
      // Rows that one replica is given the others fetch.
      if (!statement.startsWith('INSERT')) expect(statement).toContain('ON CLUSTER main');
      // Refuses what is no statement.
      await clickhouse.rows(`SELECT formatQuery('${statement.replace(/[\\']/g, '\\$&')}')`);
    }
    expect(
      statements.filter((statement) => statement.includes('ENGINE =')).every((statement) => statement.includes('ENGINE = Replicated')),
    ).toBe(true);
  });
});
