import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { backOffMs } from '@spool/streams';
import pg, { type PoolClient } from 'pg';
import { z } from 'zod';
import { toSqlError } from './sql.js';

const settings = z.strictObject({
  url: z.url({ protocol: /^postgres(ql)?$/, error: 'Expected postgresql://user:password@host:port/database' }),
  connections: z.int().min(1).max(1000).default(10),
  statementTimeoutMs: z.int().min(100).default(30_000),
  idleTransactionMs: z.int().min(100).default(15_000),
});

export interface PostgresOptions {
  /** `postgresql://user:password@host:port/database`, with `?sslmode=` as for psql. */
  readonly url: string;
  /** At the most, for projectors, and as many again for queries. @default 10 */
  readonly connections?: number;
  /** A statement may take so long, in milliseconds. @default 30000 */
  readonly statementTimeoutMs?: number;
  /**
   * The server ends the transaction of a process that has stopped in the middle of one after this time, so that the next owner of its partitions goes on.
   * Milliseconds. @default 15000
   */
  readonly idleTransactionMs?: number;
}

/** A database that holds read models: each in a schema of its own, named by its consumer. */
export interface PostgresDatabase extends AsyncDisposable {
  /** Runs the work in a transaction that others see when it has ended. @throws SpoolError UNAVAILABLE, and what the work throws */
  write<T>(work: (client: PoolClient) => Promise<T>): Promise<T>;
  /** For transactions of a projector. @throws SpoolError UNAVAILABLE */
  writer(): Promise<PoolClient>;
  /** For queries. @throws SpoolError UNAVAILABLE */
  reader(): Promise<PoolClient>;
  /** Called when a read model in this schema may have changed. @returns forgets the listener */
  onCommit(schema: string, listener: () => void): () => void;
  /** Waits for the transactions under way, 5 s at the most. */
  close(): Promise<void>;
}

const closeWithinMs = 5000;
/** How often the connection that hears of commits is tried. */
const tryEveryMs = 10_000;
/** What the server has not said so long after it should have ended a statement, it will not say. */
const silenceMs = 5000;

/** The channel of notifications; the schema is their payload. */
export const channel = 'spool_commit';

/** Resolves when the server has been reached. @throws SpoolError INVALID_CONFIG, UNAVAILABLE */
export async function openPostgres(options: PostgresOptions): Promise<PostgresDatabase> {
  const parsed = settings.safeParse(options);
  if (!parsed.success) throw new SpoolError('INVALID_CONFIG', `PostgreSQL: ${z.prettifyError(parsed.error)}`);
  const { url, connections, statementTimeoutMs, idleTransactionMs } = parsed.data;
  const silence = { query_timeout: statementTimeoutMs + silenceMs };
  const shared = {
    connectionString: url,
    ...silence,
    connectionTimeoutMillis: statementTimeoutMs,
    keepAlive: true,
    application_name: 'spool',
  };
  const limits = { statement_timeout: statementTimeoutMs, idle_in_transaction_session_timeout: idleTransactionMs };
  const pools = [1, 2].map(() => new pg.Pool({ ...shared, ...limits, max: connections }));
  const [writers, readers] = pools as [pg.Pool, pg.Pool];
  for (const pool of pools) {
    // A connection that breaks while nobody uses it: the next one is new. One that breaks in use fails the statement.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
  }
  const listeners = new Map<string, Set<() => void>>();
  const tell = (schema: string): void => {
    for (const listener of listeners.get(schema) ?? []) listener();
  };
  const connected = (pool: pg.Pool): Promise<PoolClient> =>
    pool.connect().catch((thrown: unknown) => {
      throw toSqlError(thrown);
    });

  // One connection hears of the commits of all instances.
  let closed = false;
  let ear: pg.Client | undefined;
  let again: NodeJS.Timeout | undefined;
  let trying: NodeJS.Timeout | undefined;
  let failures = 0;
  const listen = async (): Promise<void> => {
    const client = new pg.Client(shared);
    ear = client;
    const lost = (): void => {
      if (ear !== client || closed) return;
      ear = undefined;
      clearInterval(trying);
      again = setTimeout(() => void listen().catch(() => undefined), backOffMs(failures++));
      void client.end().catch(() => undefined);
    };
    client.on('error', lost);
    client.on('end', lost);
    client.on('notification', ({ payload }) => tell(payload ?? ''));
    try {
      await client.connect();
      await client.query(`LISTEN ${channel}`);
    } catch (thrown) {
      lost();
      throw toSqlError(thrown);
    }
    failures = 0;
    trying = setInterval(() => void client.query('SELECT').catch(lost), tryEveryMs).unref();
    // What was said meanwhile was not heard.
    for (const schema of listeners.keys()) tell(schema);
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      closed = true;
      clearTimeout(again);
      clearInterval(trying);
      const ended = Promise.all([ear?.end().catch(() => undefined), ...pools.map((pool) => pool.end())]);
      await Promise.race([ended, sleep(closeWithinMs, undefined, { ref: false })]);
    })());
  try {
    await listen();
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return {
    async write(work) {
      const client = await connected(writers);
      let broken: Error | undefined;
      try {
        await client.query('BEGIN');
        const done = await work(client);
        await client.query('COMMIT');
        return done;
      } catch (thrown) {
        await client.query('ROLLBACK').catch((error: unknown) => (broken = error as Error));
        throw toSqlError(thrown);
      } finally {
        client.release(broken);
      }
    },
    writer: () => connected(writers),
    reader: () => connected(readers),
    onCommit(schema, listener) {
      const known = listeners.get(schema) ?? new Set();
      listeners.set(schema, known.add(listener));
      return () => void known.delete(listener);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
