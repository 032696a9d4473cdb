import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { SpoolError } from '@spool/schemas';
import { placeColumns, quarantineTable, type RowShape } from './rows.js';
import type { BlockStore } from './sink-work.js';

export interface ClickHouseConfig {
  /** Such as `http://127.0.0.1:8123`. */
  readonly url: string;
  /** Must be allowed to create tables and to insert. */
  readonly username: string;
  readonly password: string;
  /** Made if it is not there. @default 'spool' */
  readonly database?: string;
  /** How long a request may take, in milliseconds; an insert that takes longer is tried again under the same token. @default 60000 */
  readonly requestTimeoutMs?: number;
}

export interface ClickHouse extends BlockStore, AsyncDisposable {
  readonly database: string;
  /** Runs a statement that gives no rows. @throws SpoolError UNAVAILABLE */
  command(sql: string): Promise<void>;
  /** Integers of 64 bits come as strings. @throws SpoolError UNAVAILABLE */
  rows<T>(sql: string, asked?: RowsOptions): Promise<readonly T[]>;
  close(): Promise<void>;
}

export interface RowsOptions {
  /** Values for `{name:Type}` in the statement. @default none */
  readonly params?: Readonly<Record<string, unknown>>;
  /** The statement is ended after so many seconds. @default the server's */
  readonly maxSeconds?: number;
}

/** What decides over how a block is cut and remembered is said with each insert, whatever a server's profile has. */
const insertSettings = {
  async_insert: 0,
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  // One block: never split by size, and whatever days its rows are of.
  max_insert_block_size: '10000000',
  min_insert_block_size_rows: '10000000',
  min_insert_block_size_bytes: '1000000000',
  max_partitions_per_insert_block: '0',
} as const;

export function openClickHouse(config: ClickHouseConfig): ClickHouse {
  const { url, username, password, database = 'spool', requestTimeoutMs = 60_000 } = config;
  assertName('database', database);
  const client = createClient({
    url,
    username,
    password,
    request_timeout: requestTimeoutMs,
    max_open_connections: 16,
    log: { level: ClickHouseLogLevel.OFF },
  });
  const close = (): Promise<void> => client.close();
  const rows = <T>(sql: string, { params = {}, maxSeconds }: RowsOptions = {}): Promise<T[]> =>
    told(firstWords(sql), async () => {
      const clickhouse_settings = {
        // A count may be larger than a number can hold.
        output_format_json_quote_64bit_integers: 1,
        ...(maxSeconds === undefined ? {} : { max_execution_time: maxSeconds }),
      } as const;
      return (await client.query({ query: sql, format: 'JSONEachRow', query_params: { ...params }, clickhouse_settings })).json<T>();
    });
  return {
    database,
    async holds({ topic, shape }) {
      const one = (table: string, [inTopic]: RowShape['place']): string =>
        `SELECT 1 FROM ${database}.${table} WHERE ${inTopic} = {topic:String} LIMIT 1`;
      const sql = `SELECT * FROM (${one(shape.table, shape.place)} UNION ALL ${one(quarantineTable, placeColumns)}) LIMIT 1`;
      return (await rows(sql, { params: { topic } })).length > 0;
    },
    async stored({ partition: { topic, partition }, shape, from, to }) {
      const within = (table: string, [inTopic, inPartition, at]: RowShape['place']): string =>
        `SELECT ${at} AS at FROM ${database}.${table} WHERE ${inTopic} = {topic:String} AND ${inPartition} = {partition:Int32} ` +
        `AND ${at} >= {from:Int64} AND ${at} < {to:Int64}`;
      const sql = `${within(shape.table, shape.place)} UNION ALL ${within(quarantineTable, placeColumns)}`;
      const found = await rows<{ at: string }>(sql, { params: { topic, partition, from: String(from), to: String(to) } });
      return new Set(found.map(({ at }) => BigInt(at)));
    },
    async insert({ table, columns, rows, token }) {
      const names = columns.map((column) => `\`${column}\``).join(', ');
      await told(`insert into ${database}.${table}`, async () => {
        const { stream } = await client.exec({
          query: `INSERT INTO ${database}.${table} (${names}) FORMAT Native`,
          values: Readable.from([rows], { objectMode: false }),
          clickhouse_settings: { ...insertSettings, insert_deduplication_token: token },
        });
        await finished(stream.resume());
      });
    },
    async command(sql) {
      await told(firstWords(sql), () => client.command({ query: sql }));
    },
    rows,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** @throws SpoolError INVALID_CONFIG: a name is written into statements as it is. */
export function assertName(what: string, name: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name)) {
    throw new SpoolError('INVALID_CONFIG', `ClickHouse ${what} '${name}': a letter or _, then letters, digits or _, 64 at most`);
  }
}

/** Whatever ClickHouse answers, the log still has the records: the caller waits and tries again. */
async function told<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    const why = cause instanceof ClickHouseError ? `${cause.type ?? ''} (${cause.code}) ${cause.message}` : String(cause);
    throw new SpoolError('UNAVAILABLE', `ClickHouse, ${what}: ${why.slice(0, 1000)}`, { cause });
  }
}

const firstWords = (sql: string): string => sql.replace(/--.*$/gm, ' ').replace(/\s+/g, ' ').trim().slice(0, 60);
