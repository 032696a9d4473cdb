import { ClickHouseError, ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { spawnClickHouse, type SpawnedClickHouse } from './spawn.js';

const log = { level: ClickHouseLogLevel.OFF };

let folder: string;
let server: SpawnedClickHouse;
let writer: ClickHouseClient;
let reader: ClickHouseClient;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spool-clickhouse-'));
  server = await spawnClickHouse({ dataDir: join(folder, "it's é") });
  writer = createClient({ log, url: server.url, ...server.writer });
  reader = createClient({ log, url: server.url, ...server.reader });
  await writer.command({ query: 'CREATE DATABASE spool' });
  await writer.command({
    query:
      "CREATE TABLE spool.people (id UInt64, name String, born Nullable(Date), note String DEFAULT 'none') ENGINE = MergeTree ORDER BY id",
  });
});

afterAll(async () => {
  await Promise.all([writer, reader].map((client) => client.close()));
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => writer.command({ query: 'TRUNCATE TABLE spool.people' }));

const rowsOf = async (query: string, client = reader): Promise<unknown> => (await client.query({ query, format: 'JSONEachRow' })).json();

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** Plain HTTP, for what the client does not do. */
function send(
  path: string,
  options: { readonly method?: string; readonly body?: string | Buffer; readonly headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(new URL(path, server.url), { method: options.method ?? 'GET', headers: options.headers ?? {} }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => resolve({ status: incoming.statusCode!, headers: incoming.headers, body: Buffer.concat(chunks) }));
      incoming.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(options.body);
  });
}

/** What no HTTP client would send. */
async function sendRaw(bytes: string): Promise<string> {
  const socket = connect(server.port, '127.0.0.1');
  socket.end(bytes);
  return text(socket);
}

const basic = ({ username, password }: SpawnedClickHouse['writer']): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
});

describe('the official client', () => {
  it('pings', async () => {
    expect(await writer.ping()).toEqual({ success: true });
    expect(await writer.ping({ select: true })).toEqual({ success: true });
  });

  it('queries in JSON, as a stream of rows, CSV and Parquet', async () => {
    const query = "SELECT number AS n, 'é' AS s FROM numbers(3)";
    const json = await reader.query({ query, format: 'JSON' });
    expect(await json.json()).toMatchObject({ rows: 3, data: [{ n: 0, s: 'é' }, { n: 1 }, { n: 2 }] });
    const streamed: unknown[] = [];
    const stream = (await reader.query({ query: 'SELECT number AS n FROM numbers(100000)', format: 'JSONEachRow' })).stream<{
      n: number;
    }>();
    for await (const rows of stream) streamed.push(...rows.map((row) => row.json().n));
    expect(streamed).toEqual(Array.from({ length: 100_000 }, (_, n) => n));
    expect(await (await reader.query({ query, format: 'CSVWithNames' })).text()).toBe('"n","s"\n0,"é"\n1,"é"\n2,"é"\n');
    const parquet = await reader.exec({ query: `${query} FORMAT Parquet` });
    const bytes = await bytesOf(parquet.stream);
    expect([bytes.subarray(0, 4).toString(), bytes.subarray(-4).toString()]).toEqual(['PAR1', 'PAR1']);
    expect(parquet.response_headers).toMatchObject({ 'content-type': 'application/octet-stream', 'x-clickhouse-format': 'Parquet' });
  });

  it('binds parameters of every kind', async () => {
    const query_params = {
      n: 7,
      s: "it's\ta\n\\ test",
      list: ['a', "b'"],
      day: new Date('2026-01-02T03:04:05Z'),
      none: null,
      map: new Map([['k', 1]]),
      table: 'people',
    };
    const query =
      "SELECT {n:UInt8} + 1 AS n, {s:String} AS s, {list:Array(String)} AS list, toString({day:DateTime('UTC')}) AS day, {none:Nullable(String)} AS none, {map:Map(String, UInt8)} AS map, count() AS c FROM spool.{table:Identifier}";
    const expected = [{ n: 8, s: "it's\ta\n\\ test", list: ['a', "b'"], day: '2026-01-02 03:04:05', none: null, map: { k: 1 }, c: 0 }];
    for (const use_multipart_params of [false, true]) {
      expect(await (await reader.query({ query, query_params, format: 'JSONEachRow', use_multipart_params })).json()).toEqual(expected);
    }
  });

  it('inserts arrays and streams, and tells how much', async () => {
    const { summary } = await writer.insert({
      table: 'spool.people',
      values: [
        { id: 1, name: 'Ada', born: '1815-12-10' },
        { id: 2, name: 'é\n\n; DROP' },
      ],
      format: 'JSONEachRow',
    });
    expect(summary).toMatchObject({ written_rows: '2' });
    await writer.insert({
      table: 'spool.people',
      values: Readable.from([
        [3, 'a', null, 'x'],
        [4, 'b', null, 'y'],
      ]),
      format: 'JSONCompactEachRow',
    });
    await writer.insert({
      table: 'spool.people',
      values: Readable.from(['5,"c\n\n"\n', '6,d\n'], { objectMode: false }),
      format: 'CSV',
      columns: ['id', 'name'],
    });
    expect(await rowsOf('SELECT id, name, note FROM spool.people ORDER BY id')).toEqual([
      { id: 1, name: 'Ada', note: 'none' },
      { id: 2, name: 'é\n\n; DROP', note: 'none' },
      { id: 3, name: 'a', note: 'x' },
      { id: 4, name: 'b', note: 'y' },
      { id: 5, name: 'c\n\n', note: 'none' },
      { id: 6, name: 'd', note: 'none' },
    ]);
  });

  it('inserts a long stream and reads it back, compressed both ways', async () => {
    const client = createClient({ log, url: server.url, ...server.writer, compression: { request: true, response: true } });
    const lines = function* (): Generator<{ id: number; name: string }> {
      for (let id = 0; id < 20_000; id += 1) yield { id, name: `name ${id} ${'x'.repeat(50)}` };
    };
    await client.insert({ table: 'spool.people', values: Readable.from(lines()), format: 'JSONEachRow' });
    const rows = await rowsOf('SELECT id, name FROM spool.people ORDER BY id', client);
    expect(rows).toEqual([...lines()]);
    await client.close();
  });

  it('runs commands and statements with data of their own', async () => {
    await writer.command({
      query: "INSERT INTO spool.people (id, name) VALUES (1, 'a'), ({id:UInt8}, concat('b', 'c'));",
      query_params: { id: 2 },
    });
    const { stream } = await writer.exec({ query: 'INSERT INTO spool.people FORMAT TSV', values: Readable.from(['3\tz\t\\N\tn\n']) });
    await text(stream);
    await writer.command({ query: 'INSERT INTO spool.people (id, name) SELECT id + 10, name FROM spool.people' });
    expect(await rowsOf('SELECT id, name FROM spool.people ORDER BY id LIMIT 4')).toEqual([
      { id: 1, name: 'a' },
      { id: 2, name: 'bc' },
      { id: 3, name: 'z' },
      { id: 11, name: 'a' },
    ]);
  });

  it('takes settings and a database, for one request alone', async () => {
    const client = createClient({ log, url: server.url, ...server.writer, database: 'spool' });
    const query = "SELECT currentDatabase() AS db, getSetting('max_threads') AS threads";
    const settled = await client.query({ query, format: 'JSONEachRow', clickhouse_settings: { max_threads: 3 } });
    expect(await settled.json()).toEqual([{ db: 'spool', threads: 3 }]);
    expect(await rowsOf("SELECT currentDatabase() AS db, getSetting('max_threads') = 3 AS same", writer)).toEqual([
      { db: 'default', same: 0 },
    ]);
    await client.close();
  });

  it('gets errors with code and type', async () => {
    const fails = async (query: string, client = writer): Promise<unknown> =>
      client.command({ query }).then(
        () => 'no error',
        (error: unknown) => error,
      );
    expect(await fails('SELECT * FROM nope')).toBeInstanceOf(ClickHouseError);
    expect(await fails('SELECT * FROM nope')).toMatchObject({
      code: '60',
      type: 'UNKNOWN_TABLE',
      message: expect.stringContaining('nope') as string,
    });
    expect(await fails('SELEC 1')).toMatchObject({ code: '62', type: 'SYNTAX_ERROR' });
    expect(await fails('SELEC 1', reader)).toMatchObject({
      code: '62',
      type: 'SYNTAX_ERROR',
      message: expect.not.stringContaining('formatQuery') as string,
    });
    expect(await fails('SELECT 1; SELECT 2')).toMatchObject({ code: '62' });
    expect(await fails('')).toMatchObject({ code: '62' });
    expect(await fails("SELECT throwIf(number = 3, 'three') FROM numbers(5)", reader)).toMatchObject({
      code: '395',
      message: expect.stringContaining('three') as string,
    });
    await expect(writer.insert({ table: 'spool.people', values: [{ id: 'x' }], format: 'JSONEachRow' })).rejects.toMatchObject({
      message: expect.not.stringContaining('uploads') as string,
    });
    await expect(
      createClient({ log, url: server.url, ...server.writer, database: 'nope' }).query({ query: 'SELECT 1' }),
    ).rejects.toMatchObject({
      code: '81',
    });
    await expect(writer.query({ query: 'SELECT 1', clickhouse_settings: { nope: '1' } })).rejects.toMatchObject({ code: '115' });
  });

  it('keeps what a session sets, and nothing of one request in it', async () => {
    const session = createClient({ log, url: server.url, ...server.writer, session_id: 'one' });
    await session.command({ query: 'CREATE TEMPORARY TABLE mine (a UInt8)' });
    await session.insert({ table: 'mine', values: [{ a: 1 }], format: 'JSONEachRow', clickhouse_settings: { max_threads: 5 } });
    await session.command({ query: 'SET max_block_size = 123' });
    await session.command({ query: 'USE spool' });
    expect(await rowsOf('SELECT count() AS n FROM people', session)).toEqual([{ n: 0 }]);
    expect(
      await rowsOf("SELECT a, getSetting('max_block_size') AS block, getSetting('max_threads') = 5 AS leaked FROM mine", session),
    ).toEqual([{ a: 1, block: 123, leaked: 0 }]);
    const slow = rowsOf('SELECT sleep(0.5)', session);
    await sleep(100);
    await expect(rowsOf('SELECT 1', session)).rejects.toMatchObject({ code: '373' });
    await slow;
    const other = createClient({ log, url: server.url, ...server.writer, session_id: 'two' });
    await expect(rowsOf('SELECT * FROM mine', other)).rejects.toMatchObject({ code: '60' });
    await Promise.all([session.close(), other.close()]);
  });

  it('cancels a query by going away', async () => {
    const abort = new AbortController();
    const marker = 'SELECT max(sipHash64(number)) AS cancelled_one FROM numbers(1000000000000)';
    const running = reader.query({ query: marker, abort_signal: abort.signal });
    running.catch(() => undefined);
    const isRunning = async (): Promise<boolean> =>
      JSON.stringify(
        await rowsOf("SELECT query FROM system.processes WHERE query LIKE '%cancelled_one%' AND query NOT LIKE '%processes%'"),
      ) !== '[]';
    await until(isRunning);
    abort.abort();
    await expect(running).rejects.toThrow();
    await until(async () => !(await isRunning()));
  });

  it('answers others, and pings, while many queries run', async () => {
    const slow = Array.from({ length: 6 }, () => rowsOf('SELECT sleep(0.5), 1 AS slow'));
    expect(await reader.ping()).toEqual({ success: true });
    const quick = Array.from({ length: 40 }, async (_, n) =>
      (await reader.query({ query: 'SELECT {n:UInt32} AS n', query_params: { n }, format: 'JSONEachRow' })).json(),
    );
    expect(await Promise.all(quick)).toEqual(Array.from({ length: 40 }, (_, n) => [{ n }]));
    expect(await Promise.all(slow)).toHaveLength(6);
    await writer.insert({ table: 'spool.people', values: [{ id: 1 }], format: 'JSONEachRow' });
  });
});

describe('the read-only user', () => {
  const refusal = async (query: string, settings = {}): Promise<string> =>
    reader.command({ query, clickhouse_settings: settings }).then(
      () => 'allowed',
      (error: unknown) => (error as ClickHouseError).type ?? String(error),
    );

  it.each([
    'INSERT INTO spool.people (id) VALUES (1)',
    'INSERT INTO spool.people SELECT * FROM spool.people',
    'CREATE TABLE spool.x (a UInt8) ENGINE = Memory',
    'CREATE TEMPORARY TABLE x (a UInt8)',
    'DROP TABLE spool.people',
    'TRUNCATE TABLE spool.people',
    'ALTER TABLE spool.people DELETE WHERE 1',
    'SYSTEM SHUTDOWN',
    'KILL QUERY WHERE 1',
    'SET readonly = 0',
    'SET ROLE writer',
    'SELECT 1 SETTINGS readonly = 0',
    'SELECT 1 SETTINGS max_execution_time = 0',
    "SELECT file('/etc/passwd')",
    "SELECT `\\x66ile`('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
  ])('cannot %s', async (query) => {
    expect(await refusal(query)).toBe('READONLY');
  });

  it.each([
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    // The engine's readonly setting lets these pass; its grants do not.
    "SELECT * FROM (SELECT * FROM file('/etc/passwd', 'LineAsString') SETTINGS readonly = 0)",
    "SELECT * FROM (SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString') SETTINGS readonly = 0)",
    "DESCRIBE TABLE file('/etc/passwd', 'LineAsString')",
    "DESCRIBE TABLE url('http://127.0.0.1:1/x.csv')",
    'SELECT * FROM `/etc/passwd`',
  ])('is not granted %s', async (query) => {
    expect(['ACCESS_DENIED', 'READONLY']).toContain(await refusal(query));
  });

  it('writes no file', async () => {
    const file = join(folder, 'out.txt');
    expect(await refusal(`SELECT 1 INTO OUTFILE '${file}'`)).toBe('INTO_OUTFILE_NOT_ALLOWED');
    expect(await refusal(`SELECT 1 /* */ into/**/outfile '${file}' TRUNCATE`)).toBe('INTO_OUTFILE_NOT_ALLOWED');
    await expect(writer.command({ query: `SELECT 1 INTO OUTFILE '${file}'` })).rejects.toMatchObject({ type: 'INTO_OUTFILE_NOT_ALLOWED' });
    await expect(writer.command({ query: "INSERT INTO spool.people FROM INFILE '/etc/passwd' FORMAT CSV" })).rejects.toMatchObject({
      code: '48',
    });
    expect(existsSync(file)).toBe(false);
  });

  it('is told so, however much it sends', async () => {
    const values = Array.from({ length: 50_000 }, (_, id) => ({ id, name: `name ${id} ${'x'.repeat(100)}` }));
    for (const compression of [{}, { request: true }]) {
      const client = createClient({ log, url: server.url, ...server.reader, compression });
      await expect(client.insert({ table: 'spool.people', values, format: 'JSONEachRow' })).rejects.toMatchObject({ type: 'READONLY' });
      expect(await client.ping()).toEqual({ success: true });
      await client.close();
    }
  });

  it('names file() in no parameter', async () => {
    const query = "SELECT arrayMap({f:Identifier}, ['/etc/passwd']) AS x";
    await expect(reader.query({ query, query_params: { f: 'file' } })).rejects.toMatchObject({ type: 'READONLY' });
  });

  it('reads, shows and explains, and may shape its results and lower its bounds', async () => {
    await writer.insert({ table: 'spool.people', values: [{ id: 1, name: 'file' }], format: 'JSONEachRow' });
    expect(await rowsOf("SELECT name FROM spool.people WHERE name = 'file'")).toEqual([{ name: 'file' }]);
    expect(await rowsOf('SHOW TABLES FROM spool')).toEqual([{ name: 'people' }]);
    expect(await rowsOf('EXPLAIN SELECT 1')).not.toEqual([]);
    expect(await rowsOf('DESCRIBE TABLE spool.people')).toHaveLength(4);
    expect(await rowsOf('WITH 1 AS x SELECT x')).toEqual([{ x: 1 }]);
    const quoted = await reader.query({
      query: 'SELECT toUInt64(1) AS n',
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
    });
    expect(await quoted.json()).toEqual([{ n: '1' }]);
    expect(await refusal('SELECT number FROM numbers(10)', { max_result_rows: '5' })).toBe('TOO_MANY_ROWS_OR_BYTES');
    expect(await refusal('SELECT max(sipHash64(number)) FROM numbers(1000000000000)', { max_execution_time: 1 })).toBe('TIMEOUT_EXCEEDED');
    expect(await refusal('SELECT 1', { allow_ddl: 1 })).toBe('READONLY');
  });

  it('keeps its bounds', async () => {
    const bounds =
      "SELECT name, value FROM system.settings WHERE name IN ('max_execution_time', 'max_memory_usage', 'readonly', 'max_result_rows') ORDER BY name";
    const asked = await reader.query({
      query: bounds,
      format: 'JSONCompactEachRow',
      clickhouse_settings: { max_execution_time: 0, max_result_rows: '999999999' },
    });
    expect(await asked.json()).toEqual([
      ['max_execution_time', '60'],
      ['max_memory_usage', '2147483648'],
      ['max_result_rows', '5000000'],
      ['readonly', '1'],
    ]);
  });
});

describe('the HTTP interface', () => {
  it('tells that it is there', async () => {
    for (const path of ['/ping', '/replicas_status', '/']) expect((await send(path)).body.toString()).toBe('Ok.\n');
    expect(await send('/nowhere')).toMatchObject({ status: 404 });
    expect(await sendRaw('GET // HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await send('/?query=SELECT+1', { method: 'PUT' })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD, POST' } });
  });

  it('takes the query from the URL, the body or both', async () => {
    const joined = await send('/?query=SELECT+1%2B', { method: 'POST', body: '2', headers: basic(server.reader) });
    expect(joined.body.toString()).toBe('3\n');
    const whole = await send('/', {
      method: 'POST',
      body: 'INSERT INTO spool.people (id, name) FORMAT JSONEachRow\n{"id":1,"name":"a"}\n\n{"id":2}\n',
      headers: basic(server.writer),
    });
    expect(whole).toMatchObject({
      status: 200,
      headers: { 'x-clickhouse-summary': expect.stringContaining('"written_rows":"2"') as string },
    });
    expect((await send('/?query=SELECT+count()+FROM+people&database=spool&default_format=JSONCompactEachRow')).body.toString()).toBe(
      '[2]\n',
    );
    const long = encodeURIComponent(`SELECT length('${'x'.repeat(200_000)}')`);
    expect((await send(`/?query=${long}`)).body.toString()).toBe('200000\n');
  });

  it('says what it sends', async () => {
    const { headers } = await send('/?query=SELECT+1+AS+x+FORMAT+JSONEachRow&query_id=mine');
    expect(headers).toMatchObject({
      'content-type': 'application/x-ndjson; charset=UTF-8',
      'x-clickhouse-format': 'JSONEachRow',
      'x-clickhouse-query-id': 'mine',
      'x-clickhouse-timezone': expect.stringMatching(/\w/) as string,
      'x-clickhouse-server-display-name': 'spool',
    });
    const error = await send('/?query=SELECT+nope');
    expect(error).toMatchObject({ status: 404, headers: { 'x-clickhouse-exception-code': '47' } });
    expect(error.body.toString()).toMatch(/^Code: 47\. DB::Exception: .*\(UNKNOWN_IDENTIFIER\) \(version [\d.]+\)\n$/);
  });

  it('compresses when it is asked to', async () => {
    const accepting = { headers: { 'accept-encoding': 'lz4, gzip;q=0.5' } };
    const plain = await send('/?query=SELECT+repeat(%27x%27,1000)', accepting);
    expect(plain.headers['content-encoding']).toBeUndefined();
    const packed = await send('/?query=SELECT+repeat(%27x%27,1000)&enable_http_compression=1', accepting);
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(packed.body)).toEqual(plain.body);
  });

  it.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
  ])('takes a body in %s', async (coding, pack) => {
    const headers = { ...basic(server.writer), 'content-encoding': coding };
    const body = pack('INSERT INTO spool.people (id) FORMAT TSV\n1\n2\n');
    expect(await send('/', { method: 'POST', body, headers })).toMatchObject({ status: 200 });
    expect(await rowsOf('SELECT count() AS n FROM spool.people')).toEqual([{ n: 2 }]);
    expect(await send('/', { method: 'POST', body: body.subarray(0, 20), headers })).toMatchObject({ status: 400 });
  });

  it('takes a body in the codings of the engine, and refuses unknown ones', async () => {
    const rows = Array.from({ length: 1000 }, (_, id) => `${id}\tx`).join('\n');
    const file = join(folder, 'rows.zst');
    // The engine packs what it has to unpack.
    await writer.command({ query: `INSERT INTO FUNCTION file('${file}', 'RawBLOB', 'x String', 'zstd') SELECT '${rows}'` });
    const headers = { ...basic(server.writer), 'content-encoding': 'zstd' };
    expect(
      await send('/?query=INSERT+INTO+spool.people+(id,name)+FORMAT+TSV', { method: 'POST', body: readFileSync(file), headers }),
    ).toMatchObject({ status: 200 });
    expect(await rowsOf('SELECT count() AS n, sum(id) AS s FROM spool.people')).toEqual([{ n: 1000, s: 499_500 }]);
    expect(await send('/', { method: 'POST', body: 'x', headers: { 'content-encoding': 'nope' } })).toMatchObject({ status: 415 });
  });

  it('inserts the binary formats that it gives', async () => {
    for (const format of ['Native', 'RowBinary', 'Parquet', 'Arrow', 'ORC', 'Avro']) {
      await writer.command({ query: 'TRUNCATE TABLE spool.people' });
      const { body } = await send(
        `/?query=SELECT+number+AS+id,+concat('%0A%0A;%0A',toString(number))+AS+name+FROM+numbers(5)&default_format=${format}`,
      );
      const insert = await send(`/?query=INSERT+INTO+spool.people+(id,name)+FORMAT+${format}`, {
        method: 'POST',
        body,
        headers: basic(server.writer),
      });
      expect([format, insert.status, insert.body.toString()]).toEqual([format, 200, '']);
      expect(await rowsOf('SELECT sum(id) AS s, max(name) AS name FROM spool.people')).toEqual([{ s: 10, name: '\n\n;\n4' }]);
    }
  });

  it('gives Native with block info and serialization to clients that name a revision', async () => {
    const columns = [
      'number',
      'toString(number)',
      'toLowCardinality(toString(number % 3))',
      'arrayMap(n -> toLowCardinality(toNullable(toString(n))), range(number % 4))',
      "nullIf(toString(number % 2), '0')",
      "map('k', [number], 'l', emptyArrayUInt64())",
      "CAST((1, [(2, 'x')]), 'Tuple(a UInt8, `b c` Array(Tuple(Int128, String)))')",
      "CAST('b,c)', 'Enum16(\\'a\\' = 1, \\'b,c)\\' = 2)')",
      'toDecimal64(1.5, 3)',
      'toDecimal256(1.5, 3)',
      "toFixedString('abc', 5)",
      "toDateTime64('2026-01-01', 6, 'Asia/Tokyo')",
      "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')",
      "CAST([(1, 2)], 'Ring')",
      "toIPv6('::1')",
      'toIntervalDay(number)',
    ];
    const native = async (selected: string, more = ''): Promise<Buffer> =>
      (await send(`/?query=${encodeURIComponent(`SELECT ${selected} FROM numbers(300) FORMAT Native`)}${more}`)).body;
    // What one column alone looks like tells where it begins among the others.
    const alone = await Promise.all(columns.map((column, n) => native(`${column} AS c${n}`)));
    const expected = alone.flatMap((bytes) => {
      const typeAt = 3 + 1 + bytes[3]!; // one column, 300 rows in two bytes, the name
      const dataAt = typeAt + 1 + bytes[typeAt]!;
      return [bytes.subarray(3, dataAt), Buffer.from([0]), bytes.subarray(dataAt)];
    });
    const head = Buffer.from([1, 0, 2, 255, 255, 255, 255, 0, columns.length, 0xac, 2]);
    const all = columns.map((column, n) => `${column} AS c${n}`).join(', ');
    expect(await native(all, '&client_protocol_version=54460')).toEqual(Buffer.concat([head, ...expected]));
    expect(await native('number AS c0', '&client_protocol_version=54405')).toEqual(Buffer.concat([head.subarray(0, 8), alone[0]!]));
    const refused = await send('/?query=SELECT+sumState(number)+FROM+numbers(3)+FORMAT+Native&client_protocol_version=54460');
    expect(refused).toMatchObject({ status: 501, headers: { 'x-clickhouse-exception-code': '48' } });
  });

  it('lets nobody in with a wrong password, and nobody write by GET', async () => {
    const wrong = await send('/?query=SELECT+1', { headers: basic({ username: 'spool', password: 'wrong' }) });
    expect(wrong).toMatchObject({ status: 403, headers: { 'x-clickhouse-exception-code': '516' } });
    const byHeaders = { 'x-clickhouse-user': server.writer.username, 'x-clickhouse-key': server.writer.password };
    expect((await send('/?query=SELECT+1', { headers: byHeaders })).body.toString()).toBe('1\n');
    expect((await send(`/?query=SELECT+1&user=${server.writer.username}&password=${server.writer.password}`)).body.toString()).toBe('1\n');
    for (const statement of ['DROP TABLE spool.people', 'INSERT INTO spool.people VALUES', 'SET max_threads=1']) {
      expect(await send(`/?query=${encodeURIComponent(statement)}`, { headers: byHeaders })).toMatchObject({
        headers: { 'x-clickhouse-exception-code': '164' },
      });
    }
    expect(await send('/?query=SELECT+1', { headers: { host: 'evil.example' } })).toMatchObject({ status: 403 });
  });

  it('says what it does not serve', async () => {
    for (const setting of ['compress=1', 'decompress=1', 'role=writer']) {
      expect(await send(`/?query=SELECT+1&${setting}`)).toMatchObject({ status: 501, headers: { 'x-clickhouse-exception-code': '48' } });
    }
    expect(await send('/?query=SELECT+1&session_id=x&session_timeout=99999')).toMatchObject({ status: 400 });
  });

  it('reads a body to its end though it refuses it, for clients that send before they read', async () => {
    for (const headers of [basic(server.reader), { ...basic(server.reader), 'content-encoding': 'gzip' }]) {
      const outgoing = request(new URL('/?query=INSERT+INTO+spool.people+(id)+FORMAT+TSV', server.url), { method: 'POST', headers });
      const answered = new Promise<number>((resolve, reject) => {
        outgoing.on('response', (incoming) => {
          incoming.resume();
          resolve(incoming.statusCode!);
        });
        outgoing.on('error', reject);
      });
      const sent = new Promise((resolve) => outgoing.once('finish', resolve));
      outgoing.end(Buffer.alloc(64 * 1024 * 1024, '1\n'));
      await sent;
      expect([400, 500]).toContain(await answered);
    }
  });

  it('inserts nothing of a body that breaks off, and leaves no file', async () => {
    const outgoing = request(new URL('/?query=INSERT+INTO+spool.people+(id)+FORMAT+TSV', server.url), {
      method: 'POST',
      headers: { ...basic(server.writer), 'content-length': '1000000' },
    });
    outgoing.on('error', () => undefined);
    outgoing.write('1\n'.repeat(200_000));
    await sleep(200);
    outgoing.destroy();
    const uploads = join(folder, "it's é", 'uploads');
    await until(() => Promise.resolve(readdirSync(uploads).length === 0));
    expect(await rowsOf('SELECT count() AS n FROM spool.people')).toEqual([{ n: 0 }]);
  });
});

it('drops a block that was inserted before by its token, in dependent rollups too', async () => {
  await writer.command({
    query:
      'CREATE TABLE spool.spans (at DateTime, ms UInt32) ENGINE = MergeTree ORDER BY at SETTINGS non_replicated_deduplication_window = 100',
  });
  await writer.command({
    query:
      'CREATE TABLE spool.minutes (at DateTime, n AggregateFunction(count), total AggregateFunction(sum, UInt32)) ENGINE = AggregatingMergeTree ORDER BY at SETTINGS non_replicated_deduplication_window = 100',
  });
  await writer.command({
    query:
      'CREATE MATERIALIZED VIEW spool.to_minutes TO spool.minutes AS SELECT toStartOfMinute(at) AS at, countState() AS n, sumState(ms) AS total FROM spool.spans GROUP BY at',
  });
  const block = (offset: number): { at: string; ms: number }[] =>
    Array.from({ length: 1000 }, (_, n) => ({ at: `2026-01-01 00:0${n % 3}:00`, ms: offset + n }));
  const insert = async (token: string, offset: number): Promise<unknown> =>
    writer.insert({
      table: 'spool.spans',
      values: block(offset),
      format: 'JSONEachRow',
      clickhouse_settings: { insert_deduplication_token: token, deduplicate_blocks_in_dependent_materialized_views: 1, async_insert: 0 },
    });
  await insert('topic:0:0-999', 0);
  await insert('topic:0:0-999', 0);
  await insert('topic:0:1000-1999', 1000);
  await insert('topic:0:1000-1999', 1000);
  const raw = await rowsOf('SELECT count() AS n, sum(ms) AS total FROM spool.spans');
  expect(raw).toEqual([{ n: 2000, total: 1_999_000 }]);
  expect(await rowsOf('SELECT countMerge(n) AS n, sumMerge(total) AS total FROM spool.minutes')).toEqual(raw);
});

async function bytesOf(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error('it did not come about within 10 s');
    await sleep(50);
  }
}
