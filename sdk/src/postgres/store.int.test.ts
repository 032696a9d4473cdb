import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres, type EmbeddedPostgres } from '@spool/embedded';
import { emptyCheckpoint, offset, type Offset } from '@spool/streams';
import { openPostgres, type PostgresDatabase } from './database.js';
import { prepareSchema, schemaOf } from './schema.js';
import { openPostgresStore, type PostgresStore } from './store.js';

let dataDir: string;
let server: EmbeddedPostgres;
let database: PostgresDatabase;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'spool-postgres-store-'));
  server = await startPostgres({ dataDir, log: () => undefined });
  database = await openPostgres({ url: server.url });
}, 60_000);
afterAll(async () => {
  await database.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const tables = `CREATE TABLE parents (id int PRIMARY KEY);
  CREATE TABLE sums (id int PRIMARY KEY, sum int NOT NULL, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`;
let schema: string;
let made = 0;
beforeEach(async () => (schema = await prepareSchema(database, `test.Sums-${++made}.default`, tables)));
const open = (task: string): Promise<PostgresStore> =>
  openPostgresStore({ database, schema, task, partitions: [{ topic: 'in', partition: Number(task) }] });
const at = (positions: Record<string, number>) => ({
  ...emptyCheckpoint,
  positions: new Map<string, Offset>(Object.entries(positions).map(([key, n]) => [key, offset(n)])),
});
const nothing = new Map();
async function sums(): Promise<Readonly<Record<number, number>>> {
  return database.write(async (client) => {
    const { rows } = await client.query<{ id: number; sum: number }>(`SELECT id, sum FROM ${schema}.sums ORDER BY id`);
    return Object.fromEntries(rows.map(({ id, sum }) => [id, sum]));
  });
}
async function put(store: PostgresStore, id: number, sum: number, positions: Record<string, number>): Promise<void> {
  await store.transaction.begin();
  await store.sql.query('INSERT INTO sums VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET sum = sums.sum + excluded.sum', [id, sum]);
  await store.commit(nothing, at(positions));
}

describe('a store in PostgreSQL', () => {
  it('has rows, position and what the engine keeps where it left them, and only those that were committed', async () => {
    const first = await open('0');
    await first.transaction.begin();
    await first.sql.query('INSERT INTO sums VALUES (1, 10)');
    await first.commit(new Map([['lanes', new Map([['a', { count: 1n, bytes: Buffer.from('x') }]])]]), at({ 'in-0': 7 }));
    await first.transaction.begin();
    await first.sql.query('INSERT INTO sums VALUES (2, 20)');
    await first.close();
    const again = await open('0');
    expect([await sums(), again.checkpoint.positions]).toEqual([{ 1: 10 }, new Map([['in-0', 7n]])]);
    expect(again.get('lanes', 'a')).toMatchObject({ count: 1n });
  });

  it('takes nothing from an owner when another has opened it since', async () => {
    const former = await open('0');
    const owner = await open('0');
    await expect(former.transaction.begin()).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await expect(former.commit(nothing, at({ 'in-0': 9 }))).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await put(owner, 1, 1, { 'in-0': 1 });
    expect(await sums()).toEqual({ 1: 1 });
  });

  it('is emptied once for one order, and a task that has not obeyed it yet begins anew from where all do', async () => {
    const [one, two] = [await open('0'), await open('1')];
    await put(one, 1, 1, { 'in-0': 5 });
    await put(two, 2, 2, { 'in-1': 6 });
    let voided = 0;
    const order = {
      starts: new Map([
        ['in-0', offset(0)],
        ['in-1', offset(2)],
      ]),
      voidLetters: () => Promise.resolve(void (voided += 1)),
    };
    await one.clear({ ...at({ 'in-0': 0 }), epoch: 3n }, order);
    expect([await sums(), one.checkpoint.positions, one.checkpoint.epoch]).toEqual([{}, new Map([['in-0', 0n]]), 3n]);
    // What it goes on from is not its place any more.
    await expect(put(two, 2, 2, { 'in-1': 7 })).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    const reopened = await open('1');
    expect([reopened.checkpoint.positions, reopened.checkpoint.epoch]).toEqual([new Map([['in-1', 2n]]), -1n]);
    await put(reopened, 2, 2, { 'in-1': 3 });
    await reopened.clear({ ...at({ 'in-1': 2 }), epoch: 3n }, order);
    expect([await sums(), reopened.checkpoint.positions, voided]).toEqual([{ 2: 2 }, new Map([['in-1', 3n]]), 1]);
    // The next order does it again.
    await reopened.clear({ ...at({ 'in-1': 2 }), epoch: 4n }, order);
    expect([await sums(), voided]).toEqual([{}, 2]);
  });

  it('tells of a group that the server rolled back, though nobody waited for the statement that failed', async () => {
    const store = await open('0');
    await store.transaction.begin();
    store.sql.query('INSERT INTO nowhere VALUES (1)').catch(() => undefined);
    await expect(store.commit(nothing, at({ 'in-0': 1 }))).rejects.toThrow(/nowhere|aborted/);
    expect((await open('0')).checkpoint.positions.size).toBe(0);
  });

  it('finds the statement that breaks a constraint, also one that is checked at the end, and goes back to its savepoint', async () => {
    const store = await open('0');
    const { transaction, sql } = store;
    await transaction.begin();
    for (const id of [1, 2]) {
      await transaction.savepoint();
      await sql.query('INSERT INTO sums VALUES ($1, 1)', [id]);
    }
    await transaction.savepoint();
    await expect(sql.query('INSERT INTO sums VALUES (3, 1, 99)')).rejects.toMatchObject({ code: '23503' });
    expect(transaction.failure).toMatchObject({ code: '23503' });
    await transaction.undo();
    expect(transaction.failure).toBeUndefined();
    await store.commit(nothing, at({ 'in-0': 3 }));
    expect(await sums()).toEqual({ 1: 1, 2: 1 });
  });

  it('refuses a statement outside of a group', async () => {
    await expect((await open('0')).sql.query('SELECT 1')).rejects.toThrow(/wait for each in the handler/);
  });
});

describe('the schema of a read model', () => {
  it('is made once by however many begin at the same time, and refuses other tables under the same version', async () => {
    const consumer = 'test.Many-1.default';
    await Promise.all(Array.from({ length: 5 }, () => prepareSchema(database, consumer, 'CREATE TABLE t (n int)')));
    await expect(prepareSchema(database, consumer, 'CREATE TABLE t (n bigint)')).rejects.toThrow(/raise the version/);
    await expect(prepareSchema(database, 'test_Many-1.default', 'CREATE TABLE t (n int)')).rejects.toThrow(
      /is that of test.Many-1.default/,
    );
    await expect(prepareSchema(database, 'test.Wrong-1.default', 'CREATE TABEL t (n int)')).rejects.toThrow(/cannot be made: syntax error/);
    expect(() => schemaOf('x'.repeat(64))).toThrow(/shorter name/);
  });

  it('leaves the schemas of others alone', async () => {
    await database.write((client) => client.query('CREATE SCHEMA test_theirs_1_default'));
    await expect(prepareSchema(database, 'test.theirs-1.default', tables)).rejects.toThrow(/not a read model of Spool/);
  });
});
