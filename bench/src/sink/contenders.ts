import { setTimeout as sleep } from 'node:timers/promises';
import type { SpawnedClickHouse } from '@spool/embedded';
import { openClickHouse, type ClickHouse } from '@spool/services/telemetry';
import { offset, partitionKey, type Kafka, type Producer, type ProducerRecord, type TopicCatalogue } from '@spool/streams';
import { startSinkProcess } from '../chaos/sink/process.js';
import { once, usageOf } from '../engine/start.js';
import { quantile } from '../report.js';
import { kafkaEngineStatements } from './kafka-engine.js';

export const contenders = ['spool', 'kafka engine'] as const;
export type ContenderName = (typeof contenders)[number];

export interface Stage {
  readonly brokers: readonly string[];
  readonly kafka: Kafka;
  readonly producer: Producer;
  readonly topics: TopicCatalogue;
  readonly schemaRegistryUrl: string;
  readonly server: SpawnedClickHouse;
  readonly dataDir: string;
  readonly profileDir: string | undefined;
  /** The record of a span that is handled at a time, in milliseconds. */
  readonly record: (index: number, at: number) => ProducerRecord;
  readonly seconds: number;
}

export interface Measured {
  readonly perSecond: number;
  /** Of the sink and of ClickHouse, in seconds for a million rows. */
  readonly cpu: { readonly sink: number; readonly clickhouse: number };
  /** From the time at which a span was to be sent until it was seen, in milliseconds; undefined where nothing comes from Kafka. */
  readonly visible?: { readonly p50: number; readonly p99: number };
}

/** As the sink's defaults. */
const maxRows = 50_000;
const gatherMs = 500;
const quietMs = 60_000;

/** Drains the topic into a database, then follows spans that come at a rate. @param rateOf of what was drained in a second */
export async function run(name: ContenderName, stage: Stage, database: string, rateOf: (perSecond: number) => number): Promise<Measured> {
  const { kafka, topics, server } = stage;
  await using clickhouse = openClickHouse({ url: server.url, ...server.writer, database });
  const total = await endOf(stage);
  await using contender = name === 'spool' ? await startSpool(stage, database) : await startKafkaEngine(stage, clickhouse);
  // 1. What is in the topic, from the first rows that are seen.
  const first = await untilRows(clickhouse, 1);
  const before = await usages(stage, contender.pid);
  const last = await untilRows(clickhouse, total);
  const after = await usages(stage, contender.pid);
  const rows = last.rows - first.rows;
  const perSecond = rows / ((last.at - first.at) / 1000);
  const cpu = {
    sink: ((after.sink - before.sink) / rows) * 1e6,
    clickhouse: ((after.clickhouse - before.clickhouse) / rows) * 1e6,
  };
  // 2. What comes at a rate.
  await sleep(1000);
  const visible = await follow(stage, clickhouse, rateOf(perSecond));
  if (name === 'spool') {
    await contender[Symbol.asyncDispose]();
    // Its next round begins anew.
    const ends = await kafka.admin.offsets(topics.spans.name);
    await kafka.admin.commitOffsets(
      `${topics.namespace}spool.telemetry`,
      ends.map(({ topic, partition }) => ({ topic, partition, offset: offset(0) })),
    );
  }
  return { perSecond, cpu, visible };
}

interface Running extends AsyncDisposable {
  /** Of a process apart from ClickHouse. */
  readonly pid: number | undefined;
}

async function startSpool({ brokers, schemaRegistryUrl, topics, server, dataDir, profileDir }: Stage, database: string): Promise<Running> {
  const clickhouse = { url: server.url, ...server.writer, database };
  const child = await startSinkProcess(
    { instance: 'sink', brokers, schemaRegistryUrl, namespace: topics.namespace, dataDir, clickhouse },
    once,
    profileDir,
  );
  return { pid: child.pid, [Symbol.asyncDispose]: () => child.close() };
}

async function startKafkaEngine({ brokers, schemaRegistryUrl, topics }: Stage, clickhouse: ClickHouse): Promise<Running> {
  const { database } = clickhouse;
  const columns = await clickhouse.rows<{ name: string }>(
    `SELECT name FROM system.columns WHERE database = '${database}' AND table = 'spans' ORDER BY position`,
  );
  const topic = topics.spans.name;
  const of = {
    database,
    brokers,
    schemaRegistryUrl,
    topic,
    group: `${topic}.${database}`,
    consumers: topics.spans.partitions,
    maxRows,
    gatherMs,
  };
  for (const statement of kafkaEngineStatements(
    of,
    columns.map(({ name }) => name),
  ))
    await clickhouse.command(statement);
  return {
    pid: undefined,
    async [Symbol.asyncDispose]() {
      for (const table of ['spans_queue_fill', 'spans_queue']) await clickhouse.command(`DROP TABLE ${database}.${table} SYNC`);
    },
  };
}

const endOf = async ({ kafka, topics }: Stage): Promise<number> =>
  (await kafka.admin.offsets(topics.spans.name)).reduce((sum, { latest }) => sum + Number(latest), 0);

/** CPU so far, in seconds. */
export async function usages({ server }: Stage, pid: number | undefined): Promise<{ readonly sink: number; readonly clickhouse: number }> {
  const [sink, clickhouse] = await Promise.all([pid === undefined ? undefined : usageOf(pid), usageOf(server.pid)]);
  return { sink: sink?.cpuSeconds ?? 0, clickhouse: clickhouse?.cpuSeconds ?? Number.NaN };
}

async function untilRows(clickhouse: ClickHouse, wanted: number): Promise<{ readonly rows: number; readonly at: number }> {
  for (let seen = 0, since = performance.now(); ;) {
    const [row] = await clickhouse.rows<{ n: string }>(`SELECT count() AS n FROM ${clickhouse.database}.spans`);
    const [rows, at] = [Number(row!.n), performance.now()];
    if (rows >= wanted) return { rows, at };
    if (rows > seen) since = at;
    seen = rows;
    if (at - since > quietMs) throw new Error(`${clickhouse.database}: ${rows} of ${wanted} rows are visible, and no more come`);
    await sleep(50);
  }
}

/** Sends spans at a rate, whatever becomes of them, and looks when each is there. */
async function follow(
  { producer, record, seconds, ...stage }: Stage,
  clickhouse: ClickHouse,
  rate: number,
): Promise<NonNullable<Measured['visible']>> {
  const ends = await stage.kafka.admin.offsets(stage.topics.spans.name);
  const sentAt = new Map(ends.map((end) => [partitionKey(end), { from: Number(end.latest), at: [] as number[], seen: 0 }]));
  const total = Math.floor(rate * seconds);
  const warm = total / 5;
  const latencies: number[] = [];
  let seen = 0;
  let deadline = Number.POSITIVE_INFINITY;
  const looking = (async () => {
    const least = Math.min(...ends.map(({ latest }) => Number(latest)));
    while (seen < total && performance.now() < deadline) {
      const tops = await clickhouse.rows<{ partition: number; top: string }>(
        `SELECT log_partition AS partition, max(log_offset) AS top FROM ${clickhouse.database}.spans WHERE log_offset >= ${least} GROUP BY partition`,
      );
      const now = performance.now();
      for (const { partition, top } of tops) {
        const lane = sentAt.get(partitionKey({ topic: stage.topics.spans.name, partition }))!;
        for (; lane.seen < lane.at.length && lane.from + lane.seen <= Number(top); lane.seen++) {
          if (++seen > warm) latencies.push(now - lane.at[lane.seen]!);
        }
      }
      await sleep(20);
    }
  })();
  const began = performance.now();
  const sends: Promise<void>[] = [];
  for (let index = 0; index < total;) {
    const due = Math.min(total, Math.ceil(((performance.now() - began) * rate) / 1000));
    const group = Array.from({ length: due - index }, (_, at) => index + at);
    const sent = producer.sendAll(group.map((each) => record(each, Date.now()))).then((positions) => {
      positions.forEach((at, number) => {
        const lane = sentAt.get(partitionKey(at))!;
        lane.at[Number(at.offset) - lane.from] = began + (group[number]! * 1000) / rate;
      });
    });
    sends.push(sent);
    index = due;
    await sleep(5);
  }
  await Promise.all(sends);
  deadline = performance.now() + quietMs;
  await looking;
  if (seen < total) throw new Error(`${clickhouse.database}: ${total - seen} of ${total} spans are not visible after ${quietMs / 1000} s`);
  const sorted = latencies.sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}
