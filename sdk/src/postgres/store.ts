import { deserialize, serialize } from 'node:v8';
import { SpoolError } from '@spool/schemas';
import {
  createMemoryStore,
  partitionKey,
  type GroupTransaction,
  type LocalStore,
  type Offset,
  type StoreCheckpoint,
  type TableChanges,
  type TopicPartition,
} from '@spool/streams';
import pg, { type PoolClient, type QueryResult } from 'pg';
import { fromOffsets, toCheckpoint, toOffsets, toReplay, type CheckpointRow } from './checkpoint.js';
import { channel, type PostgresDatabase } from './database.js';
import { inSchema } from './schema.js';
import { checkStatement, isRefusal, toSqlError, type Sql } from './sql.js';

const { escapeIdentifier, escapeLiteral } = pg;

export interface PostgresStore extends LocalStore {
  readonly transaction: GroupTransaction;
  /** Statements of the group under way. @throws SpoolError INTERNAL outside of one */
  readonly sql: Sql;
}

export interface PostgresStoreOptions {
  readonly database: PostgresDatabase;
  /** Prepared. */
  readonly schema: string;
  readonly task: string;
  readonly partitions: readonly TopicPartition[];
}

interface Place extends CheckpointRow {
  readonly fence: string;
  readonly moved: string;
}
/** A change of each table's rows: name, key, value. */
type Rows = ReadonlyMap<string, TableChanges>;

/**
 * A task's part of a read model in PostgreSQL: rows and position commit in one transaction. Whoever opens it raises the fence in the row of its position,
 * which every transaction locks and looks at first: an owner of before, that was stopped and goes on, commits nothing.
 *
 * Tasks share the author's tables. When one empties them it sets the places of all, and the others begin anew from theirs.
 */
export async function openPostgresStore({ database, schema, task, partitions }: PostgresStoreOptions): Promise<PostgresStore> {
  const id = escapeLiteral(task);
  const keys = new Set(partitions.map(partitionKey));
  /** What the engine keeps for itself; few rows. */
  const inner = createMemoryStore();
  const { fence, moved, checkpoint } = await claim(database, schema, task, inner.commit);
  inner.commit(new Map(), checkpoint);
  let seen = moved;
  let client: PoolClient | undefined;
  let ending: Promise<unknown> = Promise.resolve();
  let failure: Error | undefined;
  let saved = false;

  /** The connection goes back; one that is broken is thrown away. */
  const release = (broken?: unknown): void => {
    client?.release(broken === undefined ? undefined : (broken as Error));
    client = undefined;
  };
  const rollback = (): void => {
    const left = client;
    if (left === undefined) return;
    client = undefined;
    ending = left.query('ROLLBACK').then(
      () => left.release(),
      (thrown: unknown) => left.release(thrown as Error),
    );
  };
  const run = async (text: string): Promise<readonly QueryResult[]> => [(await client!.query(text)) as QueryResult | QueryResult[]].flat();
  const told = (text: string): Promise<void> =>
    run(text).then(
      () => undefined,
      (thrown: unknown) => {
        throw toSqlError(thrown);
      },
    );
  const fenced = (): SpoolError => new SpoolError('PRODUCER_FENCED', `another owner has opened ${schema}, task ${task}`);
  /** Begins, and says who may go on. Constraints are checked with each statement, so that the record that breaks one is found. */
  const enter = async (isolation: string, first: string): Promise<string> => {
    await ending;
    client = await database.writer();
    [failure, saved] = [undefined, false];
    try {
      const results = await run(
        `BEGIN ISOLATION LEVEL ${isolation}; ${inSchema(schema)}; SET CONSTRAINTS ALL IMMEDIATE; ${first} SELECT fence, moved FROM spool_positions WHERE task = ${id} FOR UPDATE`,
      );
      const place = (results.at(-1) as QueryResult<Place>).rows[0];
      if (place?.fence !== fence) throw fenced();
      return place.moved;
    } catch (thrown) {
      rollback();
      throw toSqlError(thrown);
    }
  };
  /** A row that a handler has read and another task changes meanwhile makes the group wait and begin again, where else that change would be lost. */
  const begin = async (): Promise<void> => {
    if ((await enter('REPEATABLE READ', '')) === seen) return;
    rollback();
    throw new SpoolError('TRANSACTION_INDETERMINATE', `another task has emptied ${schema}: its place is read anew`);
  };
  /** @throws SpoolError TRANSACTION_INDETERMINATE when nobody knows whether it has been committed */
  const commit = async (statements: readonly string[]): Promise<void> => {
    const text = [...statements, `SELECT pg_notify('${channel}', ${escapeLiteral(schema)})`, 'COMMIT'].join('; ');
    let ended: string | undefined;
    try {
      ended = (await run(text)).at(-1)?.command;
    } catch (thrown) {
      if (isRefusal(thrown)) {
        rollback();
        throw toSqlError(thrown);
      }
      release(thrown);
      throw new SpoolError('TRANSACTION_INDETERMINATE', `PostgreSQL: ${(thrown as Error).message}`, { cause: thrown });
    }
    release();
    // A transaction in which a statement had failed ends so, without an error.
    if (ended !== 'COMMIT')
      throw new SpoolError('TRANSACTION_INDETERMINATE', `PostgreSQL rolled the group back: ${failure?.message ?? ended}`);
  };
  const placed = (next: StoreCheckpoint): string =>
    `UPDATE spool_positions SET positions = ${json(toOffsets(next.positions))}, epoch = ${next.epoch}, replay = ${json(toReplay(next.replay))} WHERE task = ${id}`;

  const transaction: GroupTransaction = {
    begin,
    async savepoint() {
      await told(saved ? 'RELEASE SAVEPOINT record; SAVEPOINT record' : 'SAVEPOINT record');
      saved = true;
    },
    async undo() {
      failure = undefined;
      await told('ROLLBACK TO SAVEPOINT record');
    },
    rollback,
    get failure() {
      return failure;
    },
  };
  return {
    get checkpoint() {
      return inner.checkpoint;
    },
    get: inner.get,
    range: inner.range,
    count: inner.count,
    transaction,
    sql: {
      async query(text, values) {
        const holder = client;
        if (holder === undefined)
          throw new SpoolError('INTERNAL', 'a statement came after its group had ended: wait for each in the handler');
        checkStatement(text);
        try {
          return await holder.query(text, values === undefined ? undefined : [...values]);
        } catch (thrown) {
          const error = toSqlError(thrown) as Error;
          failure ??= error;
          throw error;
        }
      },
    },
    async commit(changes, next) {
      if (client === undefined) await begin();
      await commit([...rowChanges(id, changes), placed(next)]);
      inner.commit(changes, next);
    },
    async clear(next, { starts, voidLetters }) {
      // It has to see what was committed while it waited for the locks.
      const mark = await enter(
        'READ COMMITTED',
        'SELECT FROM spool_model FOR UPDATE; SELECT FROM spool_positions ORDER BY task FOR UPDATE;',
      );
      try {
        const { rows } = await client!.query<{ reset_epoch: string }>('SELECT reset_epoch FROM spool_model');
        if (BigInt(rows[0]!.reset_epoch) < next.epoch) {
          await voidLetters();
          await empty(client!, next.epoch, starts);
        }
        const left = await client!.query<Place>(`SELECT positions, moved FROM spool_positions WHERE task = ${id}`);
        const positions = new Map([...fromOffsets(left.rows[0]!.positions)].filter(([key]) => keys.has(key)));
        await commit([placed({ ...next, positions })]);
        if (left.rows[0]!.moved !== mark || mark !== seen) inner.clear({ ...next, positions });
        else inner.commit(new Map(), { ...next, positions });
        seen = left.rows[0]!.moved;
      } catch (thrown) {
        rollback();
        throw toSqlError(thrown);
      }
    },
    async close() {
      rollback();
      await ending;
    },
  };
}

/** Fences the owner of before, and reads where it stood. Waits for a transaction of its that is under way. */
async function claim(
  database: PostgresDatabase,
  schema: string,
  task: string,
  keep: (rows: Rows, checkpoint: StoreCheckpoint) => void,
): Promise<{ readonly fence: string; readonly moved: string; readonly checkpoint: StoreCheckpoint }> {
  return database.write(async (client) => {
    await client.query(inSchema(schema));
    const { rows } = await client.query<Place>(
      `INSERT INTO spool_positions (task, fence, positions, epoch) VALUES ($1, 1, '{}', -1)
       ON CONFLICT (task) DO UPDATE SET fence = spool_positions.fence + 1 RETURNING fence, moved, positions, epoch, replay`,
      [task],
    );
    const place = rows[0]!;
    const checkpoint = toCheckpoint(place);
    const kept = await client.query<{ name: string; key: Buffer; value: Buffer }>(
      'SELECT name, key, value FROM spool_rows WHERE task = $1',
      [task],
    );
    for (const { name, key, value } of kept.rows)
      keep(new Map([[name, new Map([[key.toString(), deserialize(value) as unknown]])]]), checkpoint);
    return { fence: place.fence, moved: place.moved, checkpoint };
  });
}

/**
 * All of the author's tables at once, so that references among them hold. Rows are deleted: a truncated table would be empty also for a query that began
 * before.
 */
async function empty(client: PoolClient, epoch: bigint, starts: ReadonlyMap<string, Offset>): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT LIKE 'spool\\_%'`,
  );
  const deletions = rows.map(({ name }, index) => `t${index} AS (DELETE FROM ${escapeIdentifier(name)})`);
  if (deletions.length > 0) await client.query(`WITH ${deletions.join(', ')} SELECT`);
  await client.query('DELETE FROM spool_rows');
  await client.query(
    `UPDATE spool_positions SET moved = moved + 1,
       positions = (SELECT coalesce(jsonb_object_agg(key, coalesce($1::jsonb -> key, value)), '{}') FROM jsonb_each(positions))`,
    [JSON.stringify(toOffsets(starts))],
  );
  await client.query('UPDATE spool_model SET reset_epoch = $1', [String(epoch)]);
}

function rowChanges(id: string, changes: Rows): readonly string[] {
  const statements: string[] = [];
  for (const [name, rows] of changes) {
    for (const [key, value] of rows) {
      const at = `${id}, ${escapeLiteral(name)}, ${bytes(Buffer.from(key))}`;
      if (value === undefined) statements.push(`DELETE FROM spool_rows WHERE (task, name, key) = (${at})`);
      else {
        statements.push(
          `INSERT INTO spool_rows VALUES (${at}, ${bytes(serialize(value))}) ON CONFLICT (task, name, key) DO UPDATE SET value = excluded.value`,
        );
      }
    }
  }
  return statements;
}

/** Keys too: a text of PostgreSQL holds no zeros. */
const bytes = (of: Buffer): string => `'\\x${of.toString('hex')}'::bytea`;
const json = (value: unknown): string => (value === null ? 'NULL' : `${escapeLiteral(JSON.stringify(value))}::jsonb`);
