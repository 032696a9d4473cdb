import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startPostgres, type EmbeddedPostgres } from './start.js';

const run = promisify(execFile);
const dataDir = mkdtempSync(join(tmpdir(), 'spool-postgres-'));
let server: EmbeddedPostgres | undefined;
afterAll(async () => {
  await server?.close();
  rmSync(dataDir, { recursive: true, force: true });
});
const query = async (url: string, text: string): Promise<string> => (await run('psql', [url, '-Atqc', text])).stdout.trim();

describe('the embedded PostgreSQL', () => {
  it('keeps what is committed through a kill -9 and a start anew', async () => {
    server = await startPostgres({ dataDir, log: () => undefined });
    await query(server.url, 'create table t (n int); insert into t values (1)');
    await server.kill();
    await query(server.url, 'insert into t values (2)');
    await server.close();
    server = await startPostgres({ dataDir, log: () => undefined });
    expect(await query(server.url, 'select n from t order by n')).toBe('1\n2');
    expect(await query(server.url, 'show fsync')).toBe('on');
  }, 60_000);

  it('stops though somebody is connected', async () => {
    const client = spawn('psql', [server!.url, '-Atq'], { stdio: ['pipe', 'pipe', 'ignore'] });
    client.stdin.write('select 1;\n');
    await once(client.stdout, 'data');
    await server!.close();
    client.stdin.end();
    await expect(query(server!.url, 'select 1')).rejects.toThrow(/Connection refused/);
  });

  it('lets nobody in without the password', async () => {
    server = await startPostgres({ dataDir, log: () => undefined });
    const url = new URL(server.url);
    url.password = 'wrong';
    await expect(query(url.href, 'select 1')).rejects.toThrow(/password authentication failed/);
  });
});
