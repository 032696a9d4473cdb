import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnClickHouse } from '@spool/embedded';
import { createCodec, createHttpRegistry, SpanSchema } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { migrate, openClickHouse } from '@spool/services/telemetry';
import { connectKafka, platformTopics, topicCatalogue, type ProducerRecord } from '@spool/streams';
import { spanOf } from '../chaos/sink/workload.js';
import { hottest } from '../engine/profile.js';
import { median, type Row, type Table } from '../report.js';
import { contenders, run, type Measured, type Stage } from './contenders.js';
import { formats, insertAgain } from './floor.js';

export interface SinkBenchOptions {
  readonly brokers: readonly string[];
  /** Spans to drain. */
  readonly records: number;
  /** How long spans come at a tenth of the rate at which Spool drained them, in seconds. */
  readonly seconds: number;
  /** The contenders take turns so often; medians are quoted. */
  readonly rounds: number;
  /** Also says where the sink's time goes. */
  readonly profile: boolean;
  readonly progress: (line: string) => void;
}

/**
 * From a topic of spans to rows that can be seen, with all rollups: Spool's sink in one process and ClickHouse's own Kafka engine, against plain
 * inserts of the same rows, made before, in the sink's blocks and as many at a time. In turns, each into a database of its own.
 */
export async function benchSink(options: SinkBenchOptions): Promise<readonly Table[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-sink-'));
  const namespace = `s${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers: options.brokers, clientId: 'bench' });
  await using server = await spawnClickHouse({ dataDir: join(dataDir, 'clickhouse') });
  await using producer = await kafka.producer();
  const profileDir = options.profile ? join(dataDir, 'profile') : undefined;
  const results = new Map<string, Measured[]>();
  const take = (name: string, measured: Measured): void => {
    results.set(name, [...(results.get(name) ?? []), measured]);
    const { perSecond, cpu, visible } = measured;
    const seen = visible === undefined ? '' : `, visible after ${visible.p50.toFixed(0)} ms (p50), ${visible.p99.toFixed(0)} ms (p99)`;
    const seconds = `${cpu.sink.toFixed(1)} s + ${cpu.clickhouse.toFixed(1)} s of CPU in ClickHouse for a million rows`;
    options.progress(`${name}: ${Math.round(perSecond)} rows/s${seen}, ${seconds}`);
  };
  try {
    // 1. What is to be drained.
    await kafka.admin.ensureTopics(platformTopics(topics));
    const encoder = await createCodec({ registry: createHttpRegistry({ url: schemas.url }) }).encoder(topics.spans.name, SpanSchema);
    const record = (index: number, at: number): ProducerRecord => ({
      topic: topics.spans.name,
      key: `key-${index % 10_007}`,
      value: encoder.encode(spanOf(index, at * 1000)),
    });
    const perCall = 10_000;
    for (let from = 0; from < options.records; from += perCall) {
      const count = Math.min(perCall, options.records - from);
      await producer.sendAll(Array.from({ length: count }, (_, at) => record(from + at, Date.now())));
    }
    const common = { ...options, kafka, producer, topics, schemaRegistryUrl: schemas.url, server, dataDir };
    const stage: Stage = { ...common, profileDir, record };
    // 2. Turns. Both follow spans at the same rate.
    let rate: number | undefined;
    const rateOf = (perSecond: number): number => (rate ??= Math.round(perSecond / 10));
    for (let round = 0; round < options.rounds; round++) {
      await inDatabase(stage, `spool_${round}`, async (filled) => {
        take('spool', await run('spool', stage, filled, rateOf));
        for (const format of formats) {
          await inDatabase(stage, `${format}_${round}`, async (copy) => take(format, await insertAgain(stage, format, filled, copy)));
        }
      });
      await inDatabase(stage, `engine_${round}`, async (filled) => take('kafka engine', await run('kafka engine', stage, filled, rateOf)));
    }
    if (profileDir !== undefined) options.progress(await hottest(profileDir));
  } finally {
    await server.close();
    await rm(dataDir, { recursive: true, force: true });
  }
  return [table(results)];
}

/** A database of its own, with all tables and rollups, for as long as it is used: merges of one do not slow the next. */
async function inDatabase(stage: Stage, database: string, use: (database: string) => Promise<void>): Promise<void> {
  await using clickhouse = openClickHouse({ url: stage.server.url, ...stage.server.writer, database });
  await migrate({ clickhouse, owner: 'bench' });
  try {
    await use(database);
  } finally {
    await clickhouse.command(`DROP DATABASE ${database} SYNC`);
  }
}

function table(results: ReadonlyMap<string, readonly Measured[]>): Table {
  const of = (name: string, take: (measured: Measured) => number | undefined): number =>
    median((results.get(name) ?? []).map((measured) => take(measured) ?? Number.NaN));
  const perSecond = ({ perSecond: rows }: Measured): number => rows;
  const floor = Math.max(...formats.map((format) => of(format, perSecond)));
  const rows: Row[] = [];
  const add = (label: string, metric: string, value: number, unit: string, ratio: number | null = null): void => {
    if (!Number.isNaN(value)) rows.push({ label, metric, value, unit, ratio });
  };
  for (const format of formats) add(`plain inserts, ${format}`, 'rows', of(format, perSecond), '1/s', of(format, perSecond) / floor);
  for (const name of contenders) add(name, 'topic to visible', of(name, perSecond), '1/s', of(name, perSecond) / floor);
  for (const name of contenders) {
    add(
      name,
      'visible p50',
      of(name, ({ visible }) => visible?.p50),
      'ms',
    );
    add(
      name,
      'visible p99',
      of(name, ({ visible }) => visible?.p99),
      'ms',
    );
  }
  for (const name of [...contenders, ...formats]) {
    add(
      name,
      'CPU for a million rows',
      of(name, ({ cpu }) => cpu.sink + cpu.clickhouse),
      's',
    );
  }
  add(
    'spool',
    'of which the sink',
    of('spool', ({ cpu }) => cpu.sink),
    's',
  );
  return { name: 'Spans from Kafka to ClickHouse', rows };
}
