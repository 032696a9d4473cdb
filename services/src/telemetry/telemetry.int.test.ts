import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnClickHouse, testKafka, type SpawnedClickHouse } from '@spool/embedded';
import { createCodec, createMemoryRegistry, doc, messageHeaders, MetricSchema, record, SpanSchema, SpoolError } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import { connectKafka, openInstance, topicCatalogue, type Instance, type Kafka, type ProducerRecord } from '@spool/streams';
import { noEvents, openReplayService, replayRequest, type ReplayRequest, type ReplayView } from '../replay/index.js';
import { openClickHouse, type ClickHouse } from './clickhouse.js';
import { migrate } from './migrate.js';
import { startSink, startTelemetry } from './start.js';
import { metricOf, spanOf } from './testing.js';
import type { BlockStore } from './sink-work.js';

const noRegistry = { onChange: () => () => undefined };
const ThingMade = record('acme.ThingMade', { size: 'int', labels: doc('Any labels.', 'string') }, { doc: 'A thing was made.' });

describe('telemetry in ClickHouse', () => {
  let folder: string;
  let server: SpawnedClickHouse;
  let clickhouse: ClickHouse;
  let kafka: Kafka;
  const closing: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-telemetry-'));
    server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse') });
    kafka = await connectKafka({ brokers: testKafka(), clientId: 'telemetry-test' });
  });
  afterAll(async () => {
    await kafka.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  /** A platform of its own: topics, instance, database. */
  const platform = async (): Promise<Instance> => {
    const namespace = `t${randomUUID().slice(0, 8)}.`;
    const instance = await openInstance({
      kafka,
      codec: createCodec({ registry: createMemoryRegistry() }),
      topics: topicCatalogue({ namespace }),
      bundle: 'test',
      version: '1.0.0',
      instance: 'test-0',
      dataDir: join(folder, namespace),
      log: () => undefined,
      now: Date.now,
    });
    closing.push(() => instance.close());
    return instance;
  };
  const database = async (name: string): Promise<ClickHouse> => {
    clickhouse = openClickHouse({ url: server.url, ...server.writer, database: name });
    closing.push(() => clickhouse.close());
    await migrate({ clickhouse, owner: 'test' });
    return clickhouse;
  };

  it('stores every record of every topic once, whatever dies meanwhile', async () => {
    const instance = await platform();
    const { topics, producer, codec } = instance;
    const store = await database('chaos');
    const eventTopic = topics.events('Thing');
    await kafka.admin.ensureTopics([eventTopic]);

    // 1. What goes in: spans over three partitions, now and then a record that cannot be read; events in transactions.
    const spanEncoder = await codec.encoder(topics.spans.name, SpanSchema);
    const thingEncoder = await codec.encoder(eventTopic.name, ThingMade);
    const total = 20_000;
    const poison: readonly (Buffer | null)[] = [
      Buffer.from('no Avro at all'),
      Buffer.from([0, 0, 0, 99, 99, 1, 2]),
      null,
      Buffer.from([0, 0, 0, 0, 1]),
    ];
    const weightOf = (index: number): number => 1 + (index % 3);
    const spanRecord = (index: number): ProducerRecord => {
      const bad = index % 1000 === 999;
      const value = bad
        ? poison[Math.floor(index / 1000) % poison.length]!
        : spanEncoder.encode({ ...spanOf(index), weight: weightOf(index) });
      return { topic: topics.spans.name, key: null, partition: index % 3, value, headers: { n: String(index) } };
    };
    const thing = (index: number): ProducerRecord => ({
      topic: eventTopic.name,
      key: `thing-${index % 50}`,
      value: index === 77 ? Buffer.from('poison') : thingEncoder.encode({ size: index, labels: 'red "green" ä' }),
      headers: messageHeaders({
        id: `e-${index}`,
        type: 'ThingMade',
        aggregateVersion: Math.floor(index / 50) + 1,
        correlationId: `c-${index}`,
      }),
    });
    const transactional = await kafka.transactionalProducer({ transactionalId: `${topics.namespace}feeder` });
    closing.push(() => transactional.close());
    const feed = async (from: number, to: number): Promise<void> => {
      for (let at = from; at < to; at += 500) {
        await producer.sendAll(Array.from({ length: 500 }, (_, index) => spanRecord(at + index)));
        if (at % 1000 === 0) await transactional.commit(Array.from({ length: 25 }, (_, index) => thing(at / 40 + index)));
        await sleep(50);
      }
    };

    // 2. A sink whose work is dropped at many points, before an insert and after it.
    let inserts = 0;
    const dies = { before: 0, after: 0 };
    const dying: BlockStore = {
      stored: (stretch) => store.stored(stretch),
      holds: (of) => store.holds(of),
      async insert(insert) {
        inserts += 1;
        const death = inserts % 5 === 2 ? 'before' : inserts % 5 === 4 ? 'after' : undefined;
        if (death !== 'before') await store.insert(insert);
        if (death === undefined) return;
        dies[death] += 1;
        throw new SpoolError('INTERNAL', `dies ${death} the insert`);
      },
    };
    const mortal = await startSink({ instance, registry: noRegistry, store: dying, gatherMs: 50, maxRows: 700, discoverMs: 200 });
    const firstHalf = feed(0, 10_000);
    const restart = async (): Promise<void> => {
      const { port } = server;
      await server.kill9();
      await sleep(200);
      server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse'), port });
    };
    await until(() => Promise.resolve(dies.before > 1 && dies.after > 1), 20_000);
    await restart();
    await firstHalf;
    await mortal.close();

    // 3. Processes that are killed while they insert, ClickHouse too.
    for (const [from, maxRows] of [
      [10_000, 400],
      [14_000, 900],
    ] as const) {
      const child = startChild(topics.namespace, maxRows);
      const fed = feed(from, from + 4000);
      await until(async () => (await countOf(store, topics.spans.name)) > from, 40_000);
      await sleep(100);
      child.kill('SIGKILL');
      await once(child, 'exit');
      await fed;
    }
    const sink = await startSink({ instance, registry: noRegistry, store, gatherMs: 50, maxRows: 3000, discoverMs: 200 });
    closing.push(() => sink.close());
    await feed(18_000, total);
    await restart();
    const rows = <T>(sql: string): Promise<readonly T[]> => store.rows<T>(sql);
    await until(async () => (await countOf(store, eventTopic.name)) >= 500 && (await countOf(store, topics.spans.name)) >= total, 60_000);
    await sleep(1000); // a repetition would come now

    // 4. Each once: raw, quarantined, and in each rollup.
    const audit = await rows<Audit>(
      `SELECT topic, sum(rows) AS rows, sum(offsets) AS offsets, sum(quarantined) AS quarantined FROM chaos.audit_offsets GROUP BY topic`,
    );
    const of = (topic: string): Record<string, number> => {
      const { rows: stored, offsets, quarantined } = audit.find((row) => row.topic === topic)!;
      return { rows: Number(stored), offsets: Number(offsets), quarantined: Number(quarantined) };
    };
    expect(of(topics.spans.name)).toEqual({ rows: total, offsets: total, quarantined: 20 });
    expect(of(eventTopic.name)).toEqual({ rows: 500, offsets: 500, quarantined: 1 });
    for (const row of audit) expect(row.rows).toBe(row.offsets);
    const [rollups] = await rows<Record<string, string>>(
      `SELECT sum(spans) AS raw, sum(spans_10s) AS s, sum(spans_1m) AS m, sum(spans_1h) AS h, sum(errors) AS errors, sum(errors_1m) AS errors_m,
         sum(live) AS live, sum(traces) AS traced FROM chaos.audit_rollups`,
    );
    const expected = Array.from({ length: total }, (_, index) => index).filter((index) => index % 1000 !== 999);
    const weight = String(expected.reduce((all, index) => all + weightOf(index), 0));
    const failing = expected.filter((index) => spanOf(index).status === 'error');
    const errors = String(failing.reduce((all, index) => all + weightOf(index), 0));
    const live = String(expected.length);
    expect(rollups).toEqual({ raw: weight, s: weight, m: weight, h: weight, errors, errors_m: errors, live, traced: live });
    const sum = String(expected.reduce((all, index) => all + spanOf(index).totalUs * weightOf(index), 0));
    for (const table of ['spans_10s', 'spans_1m', 'spans_1h']) {
      expect(await rows(`SELECT toString(sum(total_us_sum)) AS sum FROM chaos.${table}`)).toEqual([{ sum }]);
    }
    expect(await rows(`SELECT toString(sum(errors)) AS failed FROM chaos.traces`)).toEqual([{ failed: String(failing.length) }]);

    // 5. What was refused is there byte by byte; what was read is as it was sent.
    const refused = await rows<{ n: string; bytes: string; code: string; destination: string }>(
      `SELECT headers['n'] AS n, hex(value) AS bytes, code, destination FROM chaos.quarantine WHERE topic = '${topics.spans.name}' ORDER BY toInt32(n)`,
    );
    expect(refused.map(({ n }) => Number(n))).toEqual(Array.from({ length: 20 }, (_, index) => index * 1000 + 999));
    expect(refused.slice(0, 4).map(({ bytes }) => bytes.toLowerCase())).toEqual(poison.map((bytes) => bytes?.toString('hex') ?? ''));
    expect(refused.map(({ code }) => code).slice(0, 2)).toEqual(['RECORD_UNREADABLE', 'SCHEMA_UNKNOWN']);
    const [event] = await rows<Record<string, unknown>>(
      `SELECT * EXCEPT (time, topic, partition, offset, schema_id) FROM chaos.events_index WHERE event_id = 'e-120'`,
    );
    expect(event).toMatchObject({
      aggregate_type: 'Thing',
      aggregate_id: 'thing-20',
      version: '3',
      event_type: 'ThingMade',
      payload_type: 'acme.ThingMade',
      payload: JSON.stringify({ size: 120, labels: 'red "green" ä' }),
      correlation_id: 'c-120',
    });
    const [stored] = await rows<Record<string, unknown>>(`SELECT * FROM chaos.spans WHERE span_id = '${spanOf(4321).spanId}'`);
    expect(stored).toMatchObject({
      trace_id: spanOf(4321).traceId,
      handler: 'Thing.Make1',
      status: 'ok',
      queue_us: '21',
      log_partition: 4321 % 3,
    });
  }, 180_000);

  /** A sink in a process of its own. Its registry gives out the same ids, since the same schemas come in the same order. */
  const startChild = (namespace: string, maxRows: number): ChildProcess => {
    const from = (specifier: string): string => JSON.stringify(import.meta.resolve(specifier));
    const script = `
      const { connectKafka, openInstance, topicCatalogue } = await import(${from('@spool/streams')});
      const { createCodec, createMemoryRegistry, record, doc } = await import(${from('@spool/schemas')});
      const { openClickHouse } = await import(${from('./clickhouse.js')});
      const { startSink } = await import(${from('./start.js')});
      const codec = createCodec({ registry: createMemoryRegistry() });
      const topics = topicCatalogue({ namespace: ${JSON.stringify(namespace)} });
      const kafka = await connectKafka({ brokers: ${JSON.stringify(testKafka())}, clientId: 'child' });
      const instance = await openInstance({ kafka, codec, topics, bundle: 'test', version: '1.0.0', instance: 'child-1',
        dataDir: ${JSON.stringify(join(folder, 'child'))}, log: () => undefined, now: Date.now });
      await codec.encoder(topics.events('Thing').name, ${JSON.stringify(ThingMade)});
      const store = openClickHouse(${JSON.stringify({ url: server.url, ...server.writer, database: 'chaos' })});
      await startSink({ instance, registry: { onChange: () => () => undefined }, store, gatherMs: 20, maxRows: ${maxRows}, discoverMs: 200 });`;
    return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'inherit', 'inherit'] });
  };
  const countOf = async (store: ClickHouse, topic: string): Promise<number> => {
    const [row] = await store.rows<{ n: string }>(`SELECT sum(rows) AS n FROM ${store.database}.audit_offsets WHERE topic = '${topic}'`);
    return Number(row?.n);
  };

  it('takes records with values at the ends of their ranges', async () => {
    const instance = await platform();
    const store = await database('extremes');
    const { codec } = instance;
    const { spans, metrics } = instance.topics;
    const encoder = await codec.encoder(spans.name, SpanSchema);
    const metricEncoder = await codec.encoder(metrics.name, MetricSchema);
    const sink = await startSink({ instance, registry: noRegistry, store, gatherMs: 10 });
    closing.push(() => sink.close());
    const ends = [0, -1, 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 4_102_444_800_000_000];
    await instance.producer.sendAll(
      ends.map((end, index) => ({
        topic: spans.name,
        key: 'one partition',
        value: encoder.encode({ ...spanOf(index), startedAt: end, totalUs: end, queueUs: -end, handler: 'ä\0"\\\'\n'.repeat(40) }),
      })),
    );
    // More words of a column in one block than fit into a byte.
    await instance.producer.sendAll(
      Array.from({ length: 300 }, (_, index) => ({
        topic: spans.name,
        key: 'one partition',
        value: encoder.encode({ ...spanOf(index), component: 'Words', handler: `handler ${index}` }),
      })),
    );
    // More days in one block than ClickHouse takes by default.
    await instance.producer.sendAll(
      Array.from({ length: 110 }, (_, index) => ({
        topic: metrics.name,
        key: 'one partition',
        value: metricEncoder.encode({
          ...metricOf(index),
          value: [Number.NaN, Number.POSITIVE_INFINITY, -0][index % 3]!,
          at: Date.now() - index * 86_400_000,
        }),
      })),
    );
    // What is older than its table keeps goes away with the next merge, so only that the sink goes on can be counted on.
    for (const processor of sink.processors.values()) await processor.caughtUp(AbortSignal.timeout(40_000));
    const kept = await store.rows<{ time: string; attributes: unknown }>(
      `SELECT time, attributes FROM extremes.metrics WHERE name = '${metricOf(0).name}' AND time > now() - INTERVAL 6 DAY`,
    );
    const words = await store.rows<{ handler: string; aggregate_id: string }>(
      `SELECT handler, aggregate_id FROM extremes.spans WHERE component = 'Words' ORDER BY log_offset`,
    );
    expect(words).toEqual(Array.from({ length: 300 }, (_, index) => ({ handler: `handler ${index}`, aggregate_id: `thing-${index}` })));
    expect(kept.map(({ attributes }) => attributes)).toEqual(Array.from({ length: 6 }, () => metricOf(0).attributes));
    expect([...sink.processors.values()].map((processor) => processor.status().error)).toEqual([undefined]);
  }, 60_000);

  it('stores again what was lost when it is replayed, and nothing twice, while new records come', async () => {
    const instance = await platform();
    const store = await database('restored');
    const { topics, producer, codec } = instance;
    const encoder = await codec.encoder(topics.spans.name, SpanSchema);
    const feed = (from: number, to: number) =>
      producer.sendAll(
        Array.from({ length: to - from }, (_, index) => ({
          topic: topics.spans.name,
          key: null,
          partition: index % 3,
          value: (from + index) % 1000 === 999 ? Buffer.from('no Avro') : encoder.encode(spanOf(from + index)),
        })),
      );
    const sink = await startSink({ instance, registry: noRegistry, store, gatherMs: 10 });
    closing.push(() => sink.close());
    const registry = { component: () => undefined, components: () => [], bundles: () => [] } as unknown as Registry;
    const replays = await openReplayService({ instance, registry, ...noEvents, own: () => sink.targets() });
    closing.push(() => replays.close());
    const counts = async () => {
      const [row] = await store.rows(`SELECT sum(rows) AS rows, sum(offsets) AS offsets, sum(quarantined) AS bad FROM restored.audit_offsets
        WHERE topic = '${topics.spans.name}'`);
      const [rollups] = await store.rows('SELECT sum(spans) AS s, sum(spans_1h) AS h, sum(traces) AS t FROM restored.audit_rollups');
      return { ...(row as object), ...(rollups as object) };
    };
    await feed(0, 6000);
    for (const processor of sink.processors.values()) await processor.caughtUp(AbortSignal.timeout(20_000));
    const whole = { rows: '6000', offsets: '6000', bad: '6', s: '5994', h: '5994', t: '5994' };
    expect(await counts()).toEqual(whole);
    const actor = { name: 'ada', roles: [] };
    const target = `${topics.namespace}spool.telemetry`;
    const replay = async (from: ReplayRequest['from']): Promise<ReplayView> => {
      const { id } = await replays.start(replayRequest.parse({ target, mode: 'rewind', from, reason: 'rows were lost' }), actor);
      await until(async () => Promise.resolve(replays.get(id).state === 'completed'), 30_000);
      return replays.get(id);
    };
    // 1. All is there: nothing is stored. 2. All is gone, and new records come meanwhile.
    const idle = await replay('earliest');
    expect([idle.progress, idle.skipped >= 6000, idle.records < 1000]).toEqual([1, true, true]);
    expect(await counts()).toEqual(whole);
    for (const table of ['spans', 'spans_10s', 'spans_1m', 'spans_1h', 'errors_1m', 'traces', 'quarantine'])
      await store.command(`TRUNCATE TABLE restored.${table}`);
    const fed = feed(6000, 9000);
    expect(await replay('earliest')).toMatchObject({ progress: 1 });
    await fed;
    for (const processor of sink.processors.values()) await processor.caughtUp(AbortSignal.timeout(20_000));
    expect(await counts()).toEqual({ rows: '9000', offsets: '9000', bad: '9', s: '8991', h: '8991', t: '8991' });
    // 3. The disk is gone: the next start stores the log again by itself.
    await sink.close();
    await store.command('DROP DATABASE restored');
    await migrate({ clickhouse: store, owner: 'test' });
    const fresh = await startSink({ instance, registry: noRegistry, store, gatherMs: 10 });
    closing.push(() => fresh.close());
    for (const processor of fresh.processors.values()) await processor.caughtUp(AbortSignal.timeout(20_000));
    expect(await counts()).toEqual({ rows: '9000', offsets: '9000', bad: '9', s: '8991', h: '8991', t: '8991' });
    for (const more of [{ resetState: true }, { keys: { skip: ['a'] } }, { mode: 'shadow' as const }])
      await expect(replays.start(replayRequest.parse({ target, mode: 'rewind', reason: 'no', ...more }), actor)).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
      });
  }, 120_000);

  it('makes its tables, fills the views from a running instance, and says when ClickHouse is away', async () => {
    const instance = await platform();
    const { topics } = instance;
    const listeners: (() => void)[] = [];
    const service = await startTelemetry({
      instance,
      registry: { onChange: (listener) => (listeners.push(listener), () => undefined) },
      discoverMs: 600_000,
      clickhouse: { url: server.url, ...server.writer, database: 'whole' },
    });
    closing.push(() => service.close());
    for (let index = 0; index < 100; index++) instance.telemetry.span(spanOf(index));
    const whole = openClickHouse({ url: server.url, ...server.writer, database: 'whole' });
    closing.push(() => whole.close());
    await until(async () => (await whole.rows('SELECT * FROM whole.latency_by_handler')).length === 2, 20_000);
    const [latency] = await whole.rows<{ p50_ms: number; p99_ms: number; messages: string }>(
      `SELECT messages, p50_ms, p99_ms FROM whole.latency_by_handler WHERE handler = 'Thing.Make0'`,
    );
    expect(latency).toMatchObject({ messages: '50' });
    expect(latency!.p50_ms).toBeCloseTo(0.051, 2);
    expect(latency!.p99_ms).toBeGreaterThanOrEqual(latency!.p50_ms);
    await until(
      async () => (await whole.rows(`SELECT * FROM whole.consumer_lag WHERE consumer = '${topics.namespace}spool.telemetry'`)).length > 0,
      20_000,
    );
    // A bundle announces itself: its topic of events is found at once.
    await kafka.admin.ensureTopics([topics.events('Late')]);
    const encoder = await instance.codec.encoder(topics.events('Late').name, ThingMade);
    await instance.producer.send({ topic: topics.events('Late').name, key: 'late-1', value: encoder.encode({ size: 1, labels: '' }) });
    for (const listener of listeners) listener();
    await until(
      async () =>
        (await whole.rows(`SELECT * FROM whole.events_index WHERE aggregate_type = 'Late' AND aggregate_id = 'late-1'`)).length === 1,
      20_000,
    );
    expect(await service.problem()).toBeUndefined();
    const { port } = server;
    await server.kill9();
    expect(await service.problem()).toContain('ClickHouse');
    server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse'), port });
    await until(async () => (await service.problem()) === undefined, 40_000);
  }, 120_000);
});

interface Audit {
  readonly topic: string;
  readonly rows: string;
  readonly offsets: string;
  readonly quarantined: string;
}

async function until(condition: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; Date.now() < deadline;) {
    if (await condition().catch(() => false)) return;
    await sleep(100);
  }
  throw new Error(`not within ${timeoutMs} ms`);
}
