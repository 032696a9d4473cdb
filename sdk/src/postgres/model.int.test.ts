import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres, type EmbeddedPostgres } from '@spool/embedded';
import { record } from '@spool/schemas';
import { emptyCheckpoint, offset } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { fromToken, reached } from '../position/token.js';
import { projection } from '../projection/projection.js';
import { Counter } from '../testing/counter.js';
import { startInMemory } from '../testing/start-in-memory.js';
import { openPostgres, type PostgresDatabase } from './database.js';
import { postgresProjector } from './projector.js';
import { dropReadModel, prepareSchema } from './schema.js';
import { openPostgresStore, type PostgresStore } from './store.js';

let dataDir: string;
let server: EmbeddedPostgres;
let database: PostgresDatabase;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'spool-postgres-model-'));
  server = await startPostgres({ dataDir, log: () => undefined });
  database = await openPostgres({ url: server.url });
}, 60_000);
afterAll(async () => {
  await database.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

let schema: string;
let made = 0;
beforeEach(
  async () => (schema = await prepareSchema(database, `model.Sums-${++made}.default`, 'CREATE TABLE sums (id int PRIMARY KEY, sum int)')),
);
const open = (task: string, by = database): Promise<PostgresStore> =>
  openPostgresStore({ database: by, schema, task, partitions: [{ topic: 'in', partition: Number(task) }] });
const at = (n: number) => ({ ...emptyCheckpoint, positions: new Map([['in-0', offset(n)]]) });
const nothing = new Map();
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('the condition did not come true');
    await sleep(20);
  }
}
const select = async <Row>(text: string): Promise<Row[]> => database.write(async (client) => (await client.query(text)).rows as Row[]);
/** Ends the connections whose last statement was like that. */
const terminate = (like: string): Promise<unknown> =>
  select(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '${like}' AND pid <> pg_backend_pid()`);

describe('a group in PostgreSQL', () => {
  it('begins again rather than lose what another task has added to a row that both have read', async () => {
    const [one, two] = [await open('0'), await open('1')];
    await one.transaction.begin();
    await one.sql.query('INSERT INTO sums VALUES (1, 10)');
    await one.commit(nothing, at(1));
    const add = async ({ sql }: PostgresStore, n: number): Promise<void> => {
      const { rows } = await sql.query<{ sum: number }>('SELECT sum FROM sums');
      await sql.query('UPDATE sums SET sum = $1', [rows[0]!.sum + n]);
    };
    await two.transaction.begin();
    await two.sql.query('SELECT FROM sums');
    await one.transaction.begin();
    await add(one, 1);
    await one.commit(nothing, at(2));
    await expect(add(two, 2)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    two.transaction.rollback();
    await two.transaction.begin();
    await add(two, 2);
    await two.commit(nothing, at(1));
    expect(await select(`SELECT sum FROM ${schema}.sums`)).toEqual([{ sum: 13 }]);
  });

  it('refuses statements that would commit rows without their position', async () => {
    const store = await open('0');
    await store.transaction.begin();
    await store.sql.query('INSERT INTO sums VALUES (1, 1)');
    for (const text of [
      'COMMIT',
      ' commit; SELECT 1',
      'END',
      'ROLLBACK',
      'rollback work',
      'BEGIN',
      'START TRANSACTION',
      "PREPARE TRANSACTION 'x'",
    ]) {
      await expect(store.sql.query(text)).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    }
    for (const text of ['SAVEPOINT mine', 'ROLLBACK TO mine', 'RELEASE mine']) await store.sql.query(text);
    await store.close();
    expect(await select(`SELECT sum FROM ${schema}.sums`)).toEqual([]);
  });

  it('tells what time mends from what it does not', async () => {
    const store = await open('0');
    const { transaction, sql } = store;
    const circular: { self?: unknown } = {};
    circular.self = circular;
    await transaction.begin();
    await expect(sql.query('SELECT $1::jsonb', [circular])).rejects.toBeInstanceOf(TypeError);
    for (const [text, code] of [
      ['SELECT 1 / 0', '22012'],
      [`SELECT lastval()`, '55000'],
      [`SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)`, 'UNAVAILABLE'],
      ['SELECT pg_terminate_backend(pg_backend_pid())', 'UNAVAILABLE'],
    ]) {
      transaction.rollback();
      await transaction.begin();
      await expect(sql.query(text!)).rejects.toMatchObject({ code });
    }
    transaction.rollback();
    await transaction.begin();
    await store.commit(nothing, at(1));
  });

  it('of which nobody knows whether it was committed is told as such, and the position says it', async () => {
    const store = await open('0');
    await store.transaction.begin();
    await store.sql.query('INSERT INTO sums VALUES (1, 1)');
    await terminate('INSERT INTO sums%');
    await expect(store.commit(nothing, at(1))).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    const again = await open('0');
    expect([again.checkpoint.positions.size, await select(`SELECT sum FROM ${schema}.sums`)]).toEqual([0, []]);
  });

  it('of an owner that stopped in the middle does not keep the next one waiting for ever', async () => {
    await using short = await openPostgres({ url: server.url, idleTransactionMs: 300 });
    const stopped = await open('0', short);
    await stopped.transaction.begin();
    const next = await open('0');
    await expect(stopped.commit(nothing, at(9))).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    await expect(stopped.transaction.begin()).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await next.commit(nothing, at(1));
  });

  it('keeps lanes of any key', async () => {
    const [store, key] = [await open('0'), "k\0'\\ü"];
    await store.commit(new Map([['lanes', new Map([[key, { count: 1 }]])]]), at(1));
    expect((await open('0')).get('lanes', key)).toEqual({ count: 1 });
    await expect(store.commit(nothing, at(2))).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    const owner = await open('0');
    await owner.commit(new Map([['lanes', new Map([[key, undefined]])]]), at(2));
    expect((await open('0')).get('lanes', key)).toBeUndefined();
  });
});

describe('the database of read models', () => {
  it('hears of commits again when its connection broke, and of those that it has missed', async () => {
    let heard = 0;
    const forget = database.onCommit(schema, () => (heard += 1));
    const store = await open('0');
    await store.commit(nothing, at(1));
    await until(() => heard > 0);
    heard = 0;
    await terminate('LISTEN%');
    await store.commit(nothing, at(2));
    await until(() => heard > 0);
    forget();
  });

  it('is closed within a time, whoever still works with it', async () => {
    const other = await openPostgres({ url: server.url, connections: 1 });
    const stuck = await open('0', other);
    await stuck.transaction.begin();
    await other.close();
    await stuck.close();
  });

  it('drops a read model when it is told to, and nothing that is not one', async () => {
    const consumer = `model.Sums-${made}.default`;
    await expect(dropReadModel(database, `model_Sums-${made}.default`)).rejects.toThrow(/is that of model.Sums/);
    expect([await dropReadModel(database, consumer), await dropReadModel(database, consumer)]).toEqual([true, false]);
    await database.write((client) => client.query('CREATE SCHEMA model_theirs'));
    await expect(dropReadModel(database, 'model.theirs')).rejects.toThrow(/not a read model of Spool/);
  });
});

const queries = { Total: { request: record('model.Total', {}), view: record('model.TotalView', { first: 'long', again: 'long' }) } };
/** One row that all counters share. @param between two looks of an answer at it */
function totals(id: string, between: () => Promise<void>) {
  const Totals = postgresProjector('Totals', {
    of: Counter,
    tables: 'CREATE TABLE totals (sum bigint NOT NULL)',
    on: {
      Added: async ({ n }, sql) => {
        const { rows } = await sql.query<{ sum: string }>('DELETE FROM totals RETURNING sum');
        await sql.query('INSERT INTO totals VALUES ($1)', [Number(rows[0]?.sum ?? 0) + n]);
      },
    },
  });
  const Sum = projection('Sum', {
    reads: Totals,
    queries,
    answer: {
      Total: async (_, sql) => {
        const sum = async (): Promise<number> => Number((await sql.query<{ sum: string }>('SELECT sum FROM totals')).rows[0]?.sum ?? 0);
        const first = await sum();
        await between();
        return { first, again: await sum() };
      },
    },
  });
  return { Sum, whole: bundle({ id, version: '1.0.0', components: [Counter, Totals, Sum] }) };
}
const nextTo = async (): Promise<void> => undefined;

describe('an answer from PostgreSQL', () => {
  it('is of one moment, and so is its position, whatever is committed meanwhile', async () => {
    let between = nextTo;
    const { Sum, whole } = totals('moment', () => between());
    await using running = await startInMemory(whole, { postgres: database });
    const { gateway } = running;
    const first = await gateway.send(Counter, 'Add', 'a', { n: 1 });
    let later = '';
    between = async () => {
      between = nextTo;
      later = (await gateway.send(Counter, 'Add', 'a', { n: 2 })).position;
      await gateway.ask(Sum, 'Total', {}, { after: later });
    };
    const { view, position } = await gateway.ask(Sum, 'Total', {}, { after: first.position });
    expect(view).toEqual({ first: 1, again: 1 });
    expect([reached(fromToken(position), fromToken(first.position)), reached(fromToken(position), fromToken(later))]).toEqual([
      true,
      false,
    ]);
  });

  it('is never older than its position says, though this instance does not hear of commits', async () => {
    const { Sum, whole } = totals('deaf', nextTo);
    let forgotten = 0;
    const deaf: PostgresDatabase = { ...database, onCommit: () => () => void (forgotten += 1) };
    const running = await startInMemory(whole, { postgres: deaf });
    const { gateway } = running;
    let position = '';
    for (let n = 1; n <= 3; n++) {
      ({ position } = await gateway.send(Counter, 'Add', 'a', { n: 1 }));
      // Those who wait look for themselves.
      expect((await gateway.ask(Sum, 'Total', {}, { after: position })).view).toMatchObject({ first: n });
    }
    ({ position } = await gateway.send(Counter, 'Add', 'a', { n: 1 }));
    await until(async () => (await select<{ sum: string }>('SELECT sum FROM deaf_totals_1_default.totals'))[0]?.sum === '4');
    const answer = await gateway.ask(Sum, 'Total', {});
    expect([reached(fromToken(answer.position), fromToken(position)), answer.view.first]).toEqual([true, 4]);
    await running.close();
    expect(forgotten).toBe(1);
  });
});
