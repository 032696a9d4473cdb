import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  HeartbeatSchema,
  ReplayProgressSchema,
  type Codec,
  type Heartbeat,
  type ProcessorStatus as StoredStatus,
  type ReplayProgress,
} from '@spool/schemas';
import { openControl } from '../engine/control.js';
import { runProcessor, type RunningProcessor } from '../engine/processor.js';
import type { ProcessorDefinition, ProcessorStatus, ReplayStatus } from '../engine/work.js';
import type { Kafka, Offset, Producer } from '../kafka/port.js';
import { openLmdbStore } from '../store/lmdb-store.js';
import { splitPartitionKey, type Store } from '../store/store.js';
import { openTelemetry, type Telemetry } from '../telemetry/emitter.js';
import { platformTopics, type TopicCatalogue } from '../topics/topics.js';
import { orderDecoder } from './orders.js';

export type Log = (level: 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface InstanceOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly bundle: string;
  readonly version: string;
  /** Stable over restarts, so that stores are found again; unique among the running ones. */
  readonly instance: string;
  /** Stores go to `<dataDir>/<instance>/<consumer>/<task>`. */
  readonly dataDir: string;
  readonly log: Log;
  readonly now: () => number;
  /** @default 2000 */
  readonly heartbeatMs?: number;
}

/** One running copy of a bundle, or of a part of the platform: what its processors share. */
export interface Instance extends AsyncDisposable {
  readonly id: string;
  readonly bundle: string;
  readonly version: string;
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly producer: Producer;
  readonly telemetry: Telemetry;
  readonly log: Log;
  readonly now: () => number;
  /** Counted by gateways and hosts; goes out with the heartbeat. */
  readonly load: { inFlight: number };
  /** Runs it, under the orders of `control`, with its state in the heartbeats. */
  run(definition: ProcessorDefinition): Promise<RunningProcessor>;
  /** Of each of its processors. */
  status(): readonly ProcessorStatus[];
  openStore(consumer: string, task: string, codeVersion?: string): Store;
  /** Stops the processors, the last started first, then disconnects what it opened; `kafka` stays open. */
  close(): Promise<void>;
}

const reportMs = 500;

export async function openInstance(options: InstanceOptions): Promise<Instance> {
  const { kafka, codec, topics, bundle, version, log, now } = options;
  const id = options.instance;
  await kafka.admin.ensureTopics(platformTopics(topics));
  const producer = await kafka.producer();
  const heartbeats = await codec.encoder(topics.heartbeats.name, HeartbeatSchema);
  const progress = await codec.encoder(topics.replayJobs.name, ReplayProgressSchema);
  const telemetry = await openTelemetry({
    codec,
    producer,
    topics: { spans: topics.spans.name, metrics: topics.metrics.name, lag: topics.lag.name },
    instance: id,
    bundle,
    version,
    now,
  });
  const onError = (error: unknown): void => log('warn', 'a platform record was passed over', { error: String(error) });
  const control = await openControl({ kafka, topic: topics.control.name, decode: orderDecoder(codec), onError });
  const processors: RunningProcessor[] = [];
  const load = { inFlight: 0 };
  const startedAt = now();
  const loop = monitorEventLoopDelay({ resolution: 20 });
  loop.enable();
  let cpu = process.cpuUsage();
  let beatAt = startedAt;

  // Beats and reports are advice: one that cannot be sent is followed by another.
  const send = (topic: string, key: string, value: Buffer): void => {
    producer.send({ topic, key, value }).catch((error: unknown) => log('warn', 'report not sent', { topic, error: String(error) }));
  };
  const beat = (health?: 'stopping'): void => {
    const at = now();
    const used = process.cpuUsage(cpu);
    const share = at > beatAt ? (used.user + used.system) / 1000 / (at - beatAt) : 0;
    cpu = process.cpuUsage();
    beatAt = at;
    const statuses = processors.map((processor) => processor.status());
    const rssBytes = process.memoryUsage.rss();
    const lagMs = Number.isNaN(loop.mean) ? 0 : loop.mean / 1e6;
    loop.reset();
    const failed = statuses.some((status) => status.state === 'failed');
    const value: Heartbeat = {
      instance: id,
      bundle,
      version,
      startedAt,
      health: health ?? (failed ? 'degraded' : 'up'),
      inFlight: load.inFlight,
      eventLoopLagMs: lagMs,
      cpu: share,
      rssBytes,
      processors: statuses.map(toStored),
      at,
    };
    send(topics.heartbeats.name, id, heartbeats.encode(value));
    for (const [name, metric, unit] of [
      ['process.cpu.utilization', share, '1'],
      ['process.memory.rss', rssBytes, 'By'],
      ['nodejs.eventloop.delay.mean', lagMs, 'ms'],
      ['spool.in_flight', load.inFlight, '1'],
      ['spool.telemetry.dropped', telemetry.dropped, '1'],
      ['spool.telemetry.left_out', telemetry.leftOut, '1'],
    ] as const) {
      telemetry.metric({ name, value: metric, unit, attributes: {}, at });
    }
    for (const status of statuses) {
      for (const { topic, partition, position, end, lagSeconds } of status.partitions) {
        const records = end > position ? Number(end - position) : 0;
        telemetry.lag({
          consumer: status.consumer,
          topic,
          partition,
          position: Number(position),
          end: Number(end),
          records,
          seconds: lagSeconds,
          at,
        });
      }
    }
  };
  const timer = setInterval(() => beat(), options.heartbeatMs ?? 2000);

  const acknowledged = new Map<string, bigint>();
  /** Whoever ordered something waits for this. */
  const acknowledge = ({ consumer }: RunningProcessor, { epoch }: ProcessorStatus): void => {
    if ((acknowledged.get(consumer) ?? -1n) === epoch) return;
    acknowledged.set(consumer, epoch);
    beat();
  };

  const reported = new Map<string, { state: string; at: number }>();
  const report = (processor: RunningProcessor): void => {
    const status = processor.status();
    const { replays } = status;
    acknowledge(processor, status);
    if (replays.length === 0) return;
    const row = joined(id, processor.consumer, replays, now());
    const last = reported.get(row.job);
    if (last?.state === row.state && (row.state !== 'running' || row.updatedAt - last.at < reportMs)) return;
    reported.set(row.job, { state: row.state, at: row.updatedAt });
    send(topics.replayJobs.name, `${row.job}/${processor.consumer}/${id}`, progress.encode(row));
  };

  const close = async (): Promise<void> => {
    clearInterval(timer);
    loop.disable();
    for (const processor of processors.toReversed()) await processor.close();
    processors.length = 0;
    beat('stopping');
    await control.close();
    await telemetry.close();
    await producer.close();
  };
  return {
    id,
    bundle,
    version,
    kafka,
    codec,
    topics,
    producer,
    telemetry,
    log,
    now,
    load,
    async run(definition) {
      const stored = (): readonly string[] => storedTasks(join(options.dataDir, id, definition.consumer));
      const processor = await runProcessor(definition, { kafka, now, log, control, onProgress: report, stored });
      processors.push(processor);
      beat();
      return processor;
    },
    status: () => processors.map((processor) => processor.status()),
    openStore: (consumer, task, codeVersion) =>
      openLmdbStore({
        path: join(options.dataDir, id, consumer, task),
        ...(codeVersion === undefined ? {} : { codeVersion }),
        onRebuild: (reason) => log('warn', 'the local store is rebuilt from the log', { consumer, task, reason }),
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Each has a folder. */
const storedTasks = (folder: string): readonly string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => /^\d+$/.test(name)) : [];

const toStored = (status: ProcessorStatus): StoredStatus => ({
  consumer: status.consumer,
  state: status.state,
  epoch: Number(status.epoch),
  paused: status.paused,
  stepsLeft: status.stepsLeft,
  recordsPerSecond: status.recordsPerSecond ?? null,
  answers: status.answers.map(({ order, refused, records, failed }) => ({
    order: Number(order),
    refused: refused ?? null,
    records,
    failed: failed ?? null,
  })),
  replayId: status.replays.find((replay) => replay.state === 'running')?.id ?? null,
  partitions: status.partitions.map(({ topic, partition, position, end, lagSeconds }) => ({
    topic,
    partition,
    position: Number(position),
    end: Number(end),
    lagSeconds,
  })),
  error: status.error ?? null,
});

/** The tasks of one processor in one row: done when all are done. */
function joined(instance: string, consumer: string, replays: readonly ReplayStatus[], now: number): ReplayProgress {
  const latest = replays.reduce((last, replay) => (replay.startedAt > last.startedAt ? replay : last));
  const parts = replays.filter((replay) => replay.id === latest.id);
  const states = new Set(parts.map((replay) => replay.state));
  const state = states.has('running') ? 'running' : states.has('paused') ? 'paused' : states.has('cancelled') ? 'cancelled' : 'completed';
  return {
    job: latest.id,
    instance,
    consumer,
    state,
    partitions: parts.flatMap(({ starts, targets, current }) =>
      [...targets].map(([key, target]) => ({
        ...splitPartitionKey(key),
        start: Number(starts.get(key) ?? 0n),
        current: Number(least(current.get(key) ?? 0n, target)),
        target: Number(target),
      })),
    ),
    records: parts.reduce((sum, replay) => sum + replay.records, 0),
    startedAt: latest.startedAt,
    updatedAt: now,
    error: null,
  };
}

const least = (a: bigint, b: Offset): bigint => (a < b ? a : b);
