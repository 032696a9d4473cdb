import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@clickhouse/client';
import { spawnClickHouse, type SpawnedClickHouse } from '@spool/embedded';
import { createCodec, createMemoryRegistry, LagSchema, messageHeaders, MetricSchema, record, SpanSchema } from '@spool/schemas';
import { offset, type ConsumedRecord } from '@spool/streams';
import { cutBlocks } from './block.js';
import { openClickHouse } from './clickhouse.js';
import { migrate } from './migrate.js';
import { eventRows, lagRows, metricRows, spanRows, type RowShape } from './rows.js';
import { lagOf, metricOf, spanOf } from './testing.js';

/** The views as docs/telemetry.md describes them: columns and an example each. */
const guide = await readFile(new URL('../../../docs/telemetry.md', import.meta.url), 'utf8');
const sections = guide.split(/^##+ /m).slice(1);
const documented = sections
  .filter((section) => section.startsWith('`'))
  .map((section) => ({
    view: /^`(\w+)`/.exec(section)![1]!,
    columns: [...section.matchAll(/^\| ([\w, ]+) \|/gm)].flatMap(([, names]) => names!.split(', ')).filter((name) => name !== 'column'),
  }));
const examples = [...guide.matchAll(/^```sql\n([^]*?)^```/gm)].map(([, sql]) => sql!.trim());

const dashboard = JSON.parse(await readFile(new URL('../../../infra/grafana/clickhouse.json', import.meta.url), 'utf8')) as {
  readonly panels: readonly { readonly targets: readonly { readonly rawSql: string }[] }[];
};
const dashboardQueries = dashboard.panels.flatMap(({ targets }) => targets.map(({ rawSql }) => rawSql));

const Flight = record('acme.FlightArrived', { delayMinutes: 'int' }, { doc: 'A flight arrived.' });

describe('docs/telemetry.md', () => {
  let folder: string;
  let server: SpawnedClickHouse;
  let analyst: ReturnType<typeof createClient>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-views-'));
    server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse') });
    const clickhouse = openClickHouse({ url: server.url, ...server.writer });
    await migrate({ clickhouse, owner: 'test' });
    const codec = createCodec({ registry: createMemoryRegistry() });
    const put = async (topic: string, shape: RowShape, values: readonly (Partial<ConsumedRecord> & { value: Buffer })[]): Promise<void> => {
      const records = values.map((value, at) => ({
        ...{ topic, partition: 0, offset: offset(at), key: Buffer.from('key'), headers: {}, timestamp: Date.now() },
        ...value,
      }));
      const blocks = await cutBlocks({ partition: { topic, partition: 0 }, shape, records, from: offset(0), to: offset(values.length) });
      for (const insert of blocks.flatMap(({ inserts }) => inserts)) await clickhouse.insert(insert);
    };
    const spans = await codec.encoder('spans', SpanSchema);
    // Those of the second half of the digest weigh nine times as much.
    const traced = Array.from({ length: 200 }, (_, index) => ({
      ...spanOf(index),
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      weight: index % 100 < 50 ? 1 : 9,
    }));
    await put('spans', spanRows(codec), [...traced.map((value) => ({ value: spans.encode(value) })), { value: Buffer.from('poison') }]);
    const lag = await codec.encoder('lag', LagSchema);
    await put('lag', lagRows(codec), [{ value: lag.encode(lagOf(0)) }, { value: lag.encode(lagOf(1)) }]);
    const metrics = await codec.encoder('metrics', MetricSchema);
    // A process that counts to 10, then 25, and starts again.
    const counted = [10, 25, 4].map((value, index) => ({
      ...metricOf(index),
      name: 'spool.telemetry.left_out',
      value,
      at: Date.now() - 3000 + index * 1000,
    }));
    await put(
      'metrics',
      metricRows(codec),
      [metricOf(0), ...counted].map((metric) => ({ value: metrics.encode(metric) })),
    );
    const flights = await codec.encoder('evt.Flight', Flight);
    const headers = Object.entries(messageHeaders({ type: 'FlightArrived', correlationId: 'c-1', aggregateVersion: 3 }));
    await put('evt.Flight', eventRows(codec, 'Flight'), [
      { value: flights.encode({ delayMinutes: 7 }), headers: Object.fromEntries(headers.map(([name, text]) => [name, Buffer.from(text)])) },
    ]);
    await clickhouse.close();
    analyst = createClient({ url: server.url, ...server.reader });
  });
  afterAll(async () => {
    await analyst.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  const rows = async <T>(query: string): Promise<readonly T[]> => (await analyst.query({ query, format: 'JSONEachRow' })).json<T>();

  it('describes every view, with all its columns', async () => {
    const there = await rows<{ view: string; columns: string[] }>(
      `SELECT table AS view, groupArray(name) AS columns FROM (SELECT table, name FROM system.columns WHERE database = 'spool' ORDER BY table, position)
       WHERE table IN (SELECT name FROM system.tables WHERE database = 'spool' AND engine = 'View') GROUP BY table ORDER BY table`,
    );
    const sorted = documented.toSorted((a, b) => (a.view < b.view ? -1 : 1));
    expect(sorted.map(({ view, columns }) => [view, columns.toSorted()])).toEqual(
      there.map(({ view, columns }) => [view, columns.toSorted()]),
    );
  });

  it('has more examples than views', () => {
    expect(examples.length).toBeGreaterThan(documented.length);
    for (const { view } of documented) expect(examples.some((sql) => sql.includes(`spool.${view}`))).toBe(true);
  });

  it.each(examples)('gives an example that runs as printed and finds something: %s', async (sql) => {
    expect((await rows(sql)).length).toBeGreaterThan(0);
  });

  it.each(dashboardQueries)('has a dashboard for Grafana whose query runs: %s', async (sql) => {
    const columns = await analyst.query({
      query: sql.replaceAll('$__timeFilter(time)', 'time >= now() - INTERVAL 1 HOUR AND time <= now()'),
    });
    await columns.json();
  });

  it('gives the figures that the rows have', async () => {
    const [latency] = await rows<Record<string, number>>(`SELECT * FROM spool.latency_by_handler WHERE handler = 'Thing.Make0'`);
    // 25 values below 50 µs weigh 1 and 25 above weigh 9, twice: half of the weight lies below 72 µs.
    expect(latency).toMatchObject({ messages: 500, max_ms: 0.103, handle_p99_ms: 0.002 });
    expect(latency!.queue_p50_ms).toBeCloseTo(0.072, 2);
    const [sums] = await rows<Record<string, string>>(
      `SELECT sum(total_us_sum) AS total, sum(messages) AS messages FROM spool.spans_1h WHERE handler = 'Thing.Make0'`,
    );
    const even = Array.from({ length: 50 }, (_, index) => index * 2);
    const total = 2 * even.reduce((sum, us) => sum + (us + 5) * (us < 50 ? 1 : 9), 0);
    expect(sums).toEqual({ total, messages: 500 });
    const [losses] = await rows<Record<string, number>>(
      `SELECT sum(spans) AS spans, sum(left_out) AS left_out, sum(dropped) AS dropped FROM spool.telemetry_losses`,
    );
    expect(losses).toEqual({ spans: 0, left_out: 19, dropped: 0 });
    const [errors] = await rows<Record<string, number>>(`SELECT * FROM spool.error_rate WHERE handler = 'Thing.Make1'`);
    expect(errors).toMatchObject({ messages: 500, errors: 20, error_rate: 0.04 });
    const [lag] = await rows<Record<string, number>>('SELECT * FROM spool.consumer_lag');
    expect(lag).toMatchObject({ consumer: 'test.consumer', position: 11, records: 89 });
    const [trace] = await rows<Record<string, number>>('SELECT * FROM spool.slowest_traces');
    expect(trace).toMatchObject({ spans: 200, errors: 4, duration_ms: expect.closeTo(0.204, 6) as number });
  });

  // Wherever `pip install clickhouse-connect` was done.
  const python = spawnSync('python3', ['-c', 'import clickhouse_connect']).status === 0 ? it : it.skip;
  python('is read by clickhouse-connect, which may not write', () => {
    const { hostname, port } = new URL(server.url);
    const script = [
      'import clickhouse_connect, sys',
      `client = clickhouse_connect.get_client(host='${hostname}', port=${port}, username='${server.reader.username}', password='${server.reader.password}')`,
      'rows = client.query("SELECT handler, messages FROM spool.latency_by_handler WHERE handler = {h:String}", parameters={"h": "Thing.Make0"}).result_rows',
      'print(rows)',
      'try:',
      '  client.command("TRUNCATE TABLE spool.spans")',
      'except Exception as error:',
      '  print("refused" if "164" in str(error) or "READONLY" in str(error) or "ACCESS" in str(error) else error)',
    ].join('\n');
    const { stdout, stderr } = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
    expect([stderr, stdout.trim().split('\n')]).toEqual(['', ["[('Thing.Make0', 500)]", 'refused']]);
  });

  it('is read by curl as the guide says', () => {
    const [, text] = /^```sh\n(curl [^]*?)^```/m.exec(guide)!;
    const { stdout, stderr, status } = spawnSync(
      'sh',
      ['-c', text!.replace('http://127.0.0.1:8123', server.url).replace('curl', 'curl -sS')],
      {
        encoding: 'utf8',
      },
    );
    expect([stderr, status]).toEqual(['', 0]);
    expect(stdout).toContain('Thing.Make0');
  });
});
