import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnClickHouse, type SpawnedClickHouse } from './spawn.js';

const log = { level: ClickHouseLogLevel.OFF };

describe('the process of the embedded ClickHouse', () => {
  let folder: string;
  let dataDir: string;
  const opened: SpawnedClickHouse[] = [];
  const clients: ClickHouseClient[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'spool-clickhouse-'));
    dataDir = join(folder, 'clickhouse');
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await Promise.all(opened.splice(0).map((server) => server.close()));
    rmSync(folder, { recursive: true, force: true });
  });

  const start = async (): Promise<{ readonly server: SpawnedClickHouse; readonly client: ClickHouseClient }> => {
    const server = await spawnClickHouse({ dataDir });
    const client = createClient({ log, url: server.url, ...server.writer });
    opened.push(server);
    clients.push(client);
    return { server, client };
  };
  const countOf = async (client: ClickHouseClient): Promise<unknown> =>
    (await client.query({ query: 'SELECT count() AS n, sum(a) AS s FROM t', format: 'JSONEachRow' })).json();

  it('keeps every acknowledged row through kill -9', async () => {
    const first = await start();
    await first.client.command({ query: 'CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a' });
    let acknowledged = 0;
    const insertAll = async (): Promise<void> => {
      for (let block = 0; block < 500; block += 1) {
        const values = Array.from({ length: 100 }, (_, n) => ({ a: block * 100 + n }));
        await first.client.insert({ table: 't', values, format: 'JSONEachRow' });
        acknowledged += 100;
      }
    };
    const inserting = insertAll().catch(() => undefined);
    while (acknowledged < 1000) await sleep(10);
    await first.server.kill9();
    await inserting;

    const second = await start();
    const [{ n, s }] = (await countOf(second.client)) as [{ n: number; s: number }];
    // The block under way may be there or not, as a whole; nothing else.
    expect([acknowledged, acknowledged + 100]).toContain(n);
    expect(s).toBe((n * (n - 1)) / 2);
    await second.client.insert({ table: 't', values: [{ a: 0 }], format: 'JSONEachRow' });
    expect(await countOf(second.client)).toEqual([{ n: n + 1, s }]);
  });

  it('lets what runs come to its end when it is stopped, and then continues with the data', async () => {
    const first = await start();
    await first.client.command({ query: 'CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a' });
    const running = first.client.command({ query: 'INSERT INTO t SELECT number FROM numbers(3) WHERE sleepEachRow(0.3) = 0' });
    await sleep(200);
    await first.server.close();
    await running;
    const second = await start();
    expect(await countOf(second.client)).toEqual([{ n: 3, s: 3 }]);
  });

  it('kills what does not come to its end in time', async () => {
    const { server, client } = await start();
    const endless = client.query({ query: 'SELECT max(sipHash64(number)) FROM numbers(1000000000000)' });
    endless.catch(() => undefined);
    await sleep(300);
    await server.close();
    await expect(endless).rejects.toMatchObject({ code: '394' });
  });

  it('refuses a folder that another process holds, and leaves that one alone', async () => {
    const { client } = await start();
    await expect(spawnClickHouse({ dataDir })).rejects.toMatchObject({ code: 'CHILD_FAILED' });
    expect(await client.ping()).toEqual({ success: true });
  });

  it('says that a port is taken', async () => {
    const { server } = await start();
    await expect(spawnClickHouse({ dataDir: join(folder, 'other'), port: server.port })).rejects.toMatchObject({
      code: 'CHILD_FAILED',
      message: expect.stringContaining(`PORT_IN_USE: ClickHouse cannot listen on 127.0.0.1:${server.port}`) as string,
    });
  });
});
