import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectKafka, type Kafka, type Producer } from '@spool/streams';
import { median, quantile, type Row, type Table } from '../report.js';
import { observe } from './observe.js';
import { hottest } from './profile.js';
import { contenders, startContender, usageOf, type ContenderName, type Usage } from './start.js';
import { createAnswers, inputRecord, keyOf, partitions, tableRecord, workloads, type EngineTopics, type Workload } from './workload.js';

export interface EngineOptions {
  readonly brokers: readonly string[];
  /** Records to drain. */
  readonly records: number;
  readonly keys: number;
  /** Records a second, and for how long, where latency is measured. */
  readonly rate: number;
  readonly seconds: number;
  /** The contenders take turns so often; medians are quoted. */
  readonly rounds: number;
  /** @default all */
  readonly only?: readonly ContenderName[];
  /** Also says where Spool's time goes. */
  readonly profile: boolean;
  readonly progress: (line: string) => void;
}

interface Measured {
  readonly perSecond: number;
  /** Milliseconds from the intended time of sending. */
  readonly p50: number;
  readonly p99: number;
  /** When all was drained. */
  readonly usage: Usage | undefined;
}

/** A drain may take its time to begin: groups are joined, a JVM starts. */
const quietMs = 60_000;

/**
 * Keyed count and table join, exactly-once, on the same topics of one broker, in turns. Each contender drains what is in the topic and then answers
 * records that come at a fixed rate. Every input must have its one right result, or the run fails.
 */
export async function benchEngine(options: EngineOptions): Promise<readonly Table[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-engine-'));
  const id = `e${Date.now().toString(36)}`;
  const kafka = await connectKafka({ brokers: options.brokers, clientId: 'bench' });
  const results = new Map<string, Measured[]>();
  try {
    const input = `${id}-input`;
    const table = `${id}-table`;
    await kafka.admin.ensureTopics([
      { name: input, partitions, cleanup: 'delete', retentionMs: -1 },
      { name: table, partitions, cleanup: 'compact', retentionMs: -1 },
    ]);
    const producer = await kafka.producer();
    await fill(producer, options.keys, (key) => tableRecord(table, key));
    await fill(producer, options.records, (index) => inputRecord(input, index, options.keys));
    let sent = options.records;
    for (let round = 0; round < options.rounds; round++) {
      for (const workload of workloads) {
        const names = contendersFor(workload, options.only);
        // Who goes first changes, so that nobody has the warmer broker.
        for (const name of [...names.slice(round % names.length), ...names.slice(0, round % names.length)]) {
          const output = `${id}-${workload}-${name}-${round}`;
          await kafka.admin.ensureTopics([{ name: output, partitions, cleanup: 'delete', retentionMs: -1 }]);
          const measured = await run({
            ...options,
            name,
            workload,
            topics: { input, table, output },
            id: output,
            dataDir,
            kafka,
            producer,
            sent,
          });
          sent += options.rate * options.seconds;
          results.set(`${workload}/${name}`, [...(results.get(`${workload}/${name}`) ?? []), measured]);
          options.progress(
            `round ${round + 1}: ${workload} ${name} ${Math.round(measured.perSecond)}/s, p50 ${measured.p50.toFixed(1)} ms, p99 ${measured.p99.toFixed(1)} ms, ` +
              `${measured.usage?.peakRssMb.toFixed(0) ?? '?'} MiB, ${measured.usage?.cpuSeconds.toFixed(1) ?? '?'} s of CPU`,
          );
        }
      }
    }
    if (options.profile) options.progress(await hottest(join(dataDir, 'profile')));
  } finally {
    await kafka.close();
    await rm(dataDir, { recursive: true, force: true });
  }
  return tables(results, options.only).filter(({ rows }) => rows.length > 0);
}

const contendersFor = (workload: Workload, only: readonly ContenderName[] = contenders): readonly ContenderName[] =>
  // A join has nothing to cache: each result differs.
  only.filter((name) => workload === 'count' || name !== 'kafka-streams-cached');

async function fill(producer: Producer, count: number, record: (index: number) => Parameters<Producer['send']>[0]): Promise<void> {
  const perCall = 10_000;
  for (let from = 0; from < count; from += perCall) {
    await producer.sendAll(Array.from({ length: Math.min(perCall, count - from) }, (_, index) => record(from + index)));
  }
}

interface Run extends EngineOptions {
  readonly name: ContenderName;
  readonly workload: Workload;
  readonly topics: EngineTopics;
  readonly id: string;
  readonly dataDir: string;
  readonly kafka: Kafka;
  readonly producer: Producer;
  /** Records in the input. */
  readonly sent: number;
}

async function run(of: Run): Promise<Measured> {
  const { name, workload, topics, kafka, keys, producer, sent } = of;
  const answers = createAnswers(workload, name === 'kafka-streams-cached');
  for (let index = 0; index < sent; index++) answers.expect(keyOf(index, keys));
  const dataDir = join(of.dataDir, of.id);
  await mkdir(dataDir);
  await using observer = await observe(kafka, topics.output, answers);
  const profileDir = of.profile && name === 'spool' ? join(of.dataDir, 'profile') : undefined;
  await using child = await startContender(name, { workload, brokers: of.brokers, id: of.id, topics, dataDir }, profileDir);
  const died = child.ended.then((error) => {
    throw error ?? new Error(`${name} ended early`);
  });
  died.catch(() => undefined);

  // 1. What is in the topic.
  await Promise.race([observer.untilAnswered(quietMs), died]);
  const { at, count } = observer.first!;
  const perSecond = (sent - count) / ((observer.lastAt - at) / 1000);
  const usage = await usageOf(child.pid!);

  // 2. What comes at a fixed rate, be the answers late or not. A record's time starts when it is to be sent.
  await sleep(500);
  const total = of.rate * of.seconds;
  const warm = Math.floor(total / 5);
  const latencies: number[] = [];
  const began = performance.now();
  observer.onAnswer = (number, seenAt) => {
    const index = number - sent;
    if (index >= warm) latencies.push(seenAt - began - (index * 1000) / of.rate);
  };
  const sends: Promise<unknown>[] = [];
  for (let index = 0; index < total;) {
    for (const due = Math.min(total, ((performance.now() - began) * of.rate) / 1000); index < due; index++) {
      const record = inputRecord(topics.input, sent + index, keys);
      answers.expect(keyOf(sent + index, keys));
      sends.push(producer.send(record));
    }
    await sleep(1);
  }
  await Promise.all(sends);
  await Promise.race([observer.untilAnswered(quietMs), died]);
  const sorted = latencies.sort((a, b) => a - b);
  return { perSecond, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), usage };
}

function tables(results: ReadonlyMap<string, readonly Measured[]>, only?: readonly ContenderName[]): readonly Table[] {
  const of = (workload: Workload, name: ContenderName, take: (measured: Measured) => number): number =>
    median((results.get(`${workload}/${name}`) ?? []).map(take));
  const metrics: readonly (readonly [metric: string, unit: string, take: (measured: Measured) => number])[] = [
    ['drained', '1/s', ({ perSecond }) => perSecond],
    ['p50', 'ms', ({ p50 }) => p50],
    ['p99', 'ms', ({ p99 }) => p99],
    ['peak memory', 'MiB', ({ usage }) => usage?.peakRssMb ?? Number.NaN],
    ['CPU to drain', 's', ({ usage }) => usage?.cpuSeconds ?? Number.NaN],
  ];
  const [drained, p50, p99] = metrics.map(([, , take]) => take) as [
    (m: Measured) => number,
    (m: Measured) => number,
    (m: Measured) => number,
  ];
  const ratio = (label: string, metric: string, value: number): Row => ({ label, metric, value, unit: 'x', ratio: null });
  return workloads.flatMap((workload) => {
    const names = contendersFor(workload, only);
    const rows = metrics.flatMap(([metric, unit, take]) =>
      names.map((label): Row => {
        const value = of(workload, label, take);
        return { label, metric, value, unit, ratio: label === 'kafkajs' ? null : value / of(workload, 'kafkajs', take) };
      }),
    );
    const versus = (over: ContenderName, under: ContenderName, take: (m: Measured) => number): number =>
      of(workload, over, take) / of(workload, under, take);
    const ratios = [
      ratio('spool / kafkajs', 'throughput', versus('spool', 'kafkajs', drained)),
      ratio('spool / kafka-streams', 'throughput', versus('spool', 'kafka-streams', drained)),
      ratio('kafka-streams / spool', 'p50', versus('kafka-streams', 'spool', p50)),
      ratio('kafka-streams / spool', 'p99', versus('kafka-streams', 'spool', p99)),
    ].filter(({ value }) => !Number.isNaN(value));
    const title = workload === 'count' ? 'Keyed count' : 'Stream-table join';
    return [
      { name: `${title}, exactly-once`, rows: rows.filter(({ value }) => !Number.isNaN(value)).map(withoutNaN) },
      { name: `${title}, ratios`, rows: ratios },
    ];
  });
}

const withoutNaN = (row: Row): Row => ({ ...row, ratio: row.ratio === null || Number.isNaN(row.ratio) ? null : row.ratio });
