import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnClickHouse, type SpawnedClickHouse } from '@spool/embedded';
import { createCodec, createMemoryRegistry, SpanSchema, type Span } from '@spool/schemas';
import { offset, type ConsumedRecord } from '@spool/streams';
import { startTestServer, type TestServer } from '../http/testing.js';
import { cutBlocks } from '../telemetry/block.js';
import { figures, migrate, openClickHouse, type ClickHouse } from '../telemetry/index.js';
import { spanRows } from '../telemetry/rows.js';
import { spanOf } from '../telemetry/testing.js';
import { telemetryRoutes } from './telemetry-routes.js';

const start = Date.now() - 600_000;
const traceIdOf = (index: number): string => (index + 1).toString(16).padStart(32, '0');

/** A hundred transfers, one a second; each second one deposits. Every span stands for two. */
const spans = Array.from({ length: 100 }, (_, index): Span[] => {
  const at = (start + index * 1000) * 1000;
  const shared = { traceId: traceIdOf(index), weight: 2, queueUs: 1000, handleUs: 4000, commitUs: 5000, totalUs: 10_000, errorClass: null };
  const one = (nr: number, component: string, type: string, more: Partial<Span>): Span => ({
    ...{
      ...spanOf(index * 10 + nr),
      ...shared,
      startedAt: at + nr * 20_000,
      component,
      handler: `${component}.${type}`,
      payloadType: type,
    },
    ...{ status: 'ok', ...more },
  });
  const failed = index % 10 === 0 ? ({ status: 'error', errorClass: 'REJECTED' } as const) : {};
  return [
    one(0, 'Account', 'Withdraw', { messageId: `w${index}`, ...failed }),
    one(1, 'Transfer', 'Withdrawn', { messageId: `e${index}`, causationId: `w${index}`, source: 'test/Account', messageKind: 'event' }),
    ...(index % 2 === 0
      ? [one(2, 'Account', 'Deposit', { messageId: `d${index}`, causationId: `e${index}`, source: 'test/Transfer' })]
      : []),
  ];
}).flat();

describe('the figures for the console', () => {
  let folder: string;
  let clickhouse: SpawnedClickHouse;
  let store: ClickHouse;
  let server: TestServer;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-figures-'));
    clickhouse = await spawnClickHouse({ dataDir: join(folder, 'clickhouse') });
    store = openClickHouse({ url: clickhouse.url, ...clickhouse.writer });
    await migrate({ clickhouse: store, owner: 'test' });
    const codec = createCodec({ registry: createMemoryRegistry() });
    const encoder = await codec.encoder('spans', SpanSchema);
    const partition = { topic: 'spans', partition: 0 };
    const records = spans.map((span, at): ConsumedRecord => ({
      ...partition,
      offset: offset(at),
      key: null,
      headers: {},
      timestamp: start,
      value: encoder.encode(span),
    }));
    const request = { partition, shape: spanRows(codec), records, from: offset(0), to: offset(spans.length) };
    for (const { inserts } of await cutBlocks(request)) for (const insert of inserts) await store.insert(insert);
    server = await startTestServer({ routes: telemetryRoutes({ figures: figures(store), now: Date.now }) });
  });
  afterAll(async () => {
    await server.close();
    await store.close();
    await clickhouse.close();
    await rm(folder, { recursive: true, force: true });
  });

  const get = async <T>(path: string): Promise<T> => {
    const response = await server.send({ path: `/api/v1/telemetry/${path}` });
    if (response.status !== 200) throw new Error(response.text);
    return response.json() as T;
  };
  interface Points {
    readonly step: number;
    readonly points: readonly (Record<'messages' | 'errors' | 'p50' | 'p99' | 'mean' | 'perSecond', number> & {
      readonly handler: string;
    })[];
  }

  it('tell throughput, latency and errors by the weight of the spans, at any step', async () => {
    for (const step of [10, 20, 60, 120, 3600]) {
      const { points, step: used } = await get<Points>(`throughput?handler=Account.Withdraw&step=${step}`);
      expect([used, points.reduce((sum, { messages }) => sum + messages, 0)]).toEqual([step, 200]);
    }
    const { points } = await get<Points>('latency?component=Account&step=3600');
    for (const { p50, p99, mean } of points) expect([p50, p99, mean]).toEqual([10, 10, 10]);
    const errors = await get<Points & { classes: readonly Record<string, unknown>[] }>('errors?step=3600');
    const withdraws = errors.points.filter(({ handler }) => handler === 'Account.Withdraw');
    expect(withdraws.reduce((sum, each) => sum + each.errors, 0)).toBe(20);
    expect(errors.classes).toMatchObject([{ handler: 'Account.Withdraw', errorClass: 'REJECTED', errors: 20, lastTraceId: traceIdOf(90) }]);
    expect(
      (await get<Points>(`throughput?from=${new Date(start - 7_200_000).toISOString()}&to=${new Date(start - 3_600_000).toISOString()}`))
        .points,
    ).toEqual([]);
  });

  it('find the slowest traces, and show one as a tree', async () => {
    const { items } = await get<{ items: readonly Record<string, unknown>[] }>('traces?handler=Account.Deposit&limit=5');
    expect(items).toHaveLength(5);
    expect(items[0]).toMatchObject({ durationMs: 49, spans: 3, firstHandler: 'Account.Withdraw' });
    const tree = await get<{ spans: readonly { depth: number; handler: string; startUs: number }[] }>(`traces/${traceIdOf(2)}`);
    expect(tree.spans.map(({ depth, handler, startUs }) => [depth, handler, startUs])).toEqual([
      [0, 'Account.Withdraw', 0],
      [1, 'Transfer.Withdrawn', 20_000],
      [2, 'Account.Deposit', 40_000],
    ]);
  });

  it('lay the traces on one another as a flow, and reckon what other rates would come to', async () => {
    const { paths } = await get<{ paths: readonly { path: readonly string[]; probability: number; messages: number }[] }>('flow');
    expect(paths.map(({ path, probability, messages }) => [path.at(-1), probability, messages])).toEqual([
      ['Account.Withdraw', 1, 200],
      ['Transfer.Withdrawn', 1, 200],
      ['Account.Deposit', 0.5, 100],
    ]);
    const body = { arrivals: { 'Account.Withdraw': 100 }, servers: { Account: 2 } };
    const response = await server.send({ method: 'POST', path: '/api/v1/telemetry/capacity', body });
    // 100 withdrawals and 50 deposits of 4 ms each for two servers; 100 events of 4 ms for one.
    expect(response.json()).toMatchObject({
      bottleneck: 'Transfer',
      headroom: expect.closeTo(2.5, 6) as number,
      components: [
        { component: 'Transfer', servers: 1, perSecond: 100, utilisation: expect.closeTo(0.4, 6) as number, highestPerSecond: 250 },
        { component: 'Account', servers: 2, perSecond: 150, utilisation: expect.closeTo(0.3, 6) as number, serviceMs: 4 },
      ],
    });
  });

  it.each([
    ['throughput?step=7', 400],
    ['throughput?from=yesterday', 400],
    ['throughput?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', 400],
    ['traces?limit=100000', 400],
    ['traces/not-a-trace', 400],
    [`traces/${'f'.repeat(32)}`, 404],
    ['latency?unknown=1', 400],
  ])('refuse %s', async (path, status) => {
    expect((await server.send({ path: `/api/v1/telemetry/${path}` })).status).toBe(status);
  });

  it('take whatever a caller says for a value, never for a part of a statement', async () => {
    for (const text of ["' OR 1=1 --", "x'); DROP TABLE spool.spans; --", '\\', '{component:String}']) {
      expect((await get<Points>(`throughput?component=${encodeURIComponent(text)}`)).points).toEqual([]);
    }
    const body = { arrivals: { "nobody' OR 1=1": 5 } };
    const refused = await server.send({ method: 'POST', path: '/api/v1/telemetry/capacity', body });
    expect([refused.status, refused.problem().code]).toEqual([400, 'INVALID_REQUEST']);
  });
});
