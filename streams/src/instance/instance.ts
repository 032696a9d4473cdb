import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import {
  BundleSignalSchema,
  HeartbeatSchema,
  ReplayProgressSchema,
  SpoolError,
  type Codec,
  type Heartbeat,
  type ProcessorStatus as StoredStatus,
  type ReplayProgress,
} from '@spool/schemas';
import { followClusterConfig, type LiveConfig } from '../cluster/config.js';
import { openControl } from '../engine/control.js';
import { runProcessor, type RunningProcessor } from '../engine/processor.js';
import type { ProcessorDefinition, ProcessorStatus } from '../engine/work.js';
import type { Kafka, Offset, Producer } from '../kafka/port.js';
import { createSignals } from '../signals/signals.js';
import { createWorkMeter, type WorkMeter } from '../signals/work-meter.js';
import { openLmdbStore } from '../store/lmdb-store.js';
import { splitPartitionKey, type Store } from '../store/store.js';
import { countedKafka, type KafkaCounts } from '../telemetry/counted-kafka.js';
import { noTelemetry, openTelemetry, type Telemetry, type Sampling } from '../telemetry/emitter.js';
import { tellMetrics } from '../telemetry/instance-metrics.js';
import { createResourceMeter } from '../telemetry/resources.js';
import { platformBundle, platformTopics, type TopicCatalogue } from '../topics/topics.js';
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
  /** Which spans are sent; `none` sends no telemetry at all, neither metrics nor lag. @default 1,000 a second at the most */
  readonly sampling?: Sampling | 'none';
}

/** One running copy of a bundle, or of a part of the platform: what its processors share. */
export interface Instance extends AsyncDisposable {
  readonly id: string;
  /** Tells this run from those before it under the same id. */
  readonly incarnation: string;
  readonly bundle: string;
  readonly version: string;
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly producer: Producer;
  readonly telemetry: Telemetry;
  readonly log: Log;
  readonly now: () => number;
  /** The settings of the cluster, as they are now. */
  readonly config: Pick<LiveConfig, 'current' | 'onChange'>;
  /** Goes out with the heartbeat, and as the saturation among the metrics. */
  readonly load: Load;
  /** Counts what it handles; told by its signals to the balancer. */
  readonly work: Pick<WorkMeter, 'handled'>;
  /** What went through `kafka`; among the metrics too. */
  readonly counts: KafkaCounts;
  /** Says from now on where its endpoint for direct calls is; null: nowhere. */
  locate(location: string | null): void;
  /** All that belongs to it has been started: it is up from now on, and not starting any more. */
  ready(): void;
  /**
   * Finishes what is under way and stops the processors, the last started first, as an order on `control` does. The instance stays and reports
   * that it has been drained; it is not undone.
   */
  drain(): Promise<void>;
  /** Called when draining begins, and waited for before the processors stop. */
  onDrain(hook: () => void | Promise<void>): void;
  /** Runs it, under the orders of `control`, with its state in the heartbeats. @throws SpoolError UNAVAILABLE when it drains */
  run(definition: ProcessorDefinition): Promise<RunningProcessor>;
  /** Of each of its processors. */
  status(): readonly ProcessorStatus[];
  /** Stops one of its processors for good, and deletes its stores on this machine. */
  drop(processor: RunningProcessor): Promise<void>;
  openStore(consumer: string, task: string, codeVersion?: string): Store;
  /** Stops the processors, the last started first, then disconnects what it opened; `kafka` stays open. */
  close(): Promise<void>;
}

/** How much is under way, of how much at the most: the sum of what the parts of an instance tell. */
export interface Load {
  readonly inFlight: number;
  readonly limit: number;
  /** Asked at each heartbeat. */
  add(part: () => { readonly inFlight: number; readonly limit: number }): void;
}

const reportMs = 500;
/** The name under which `control` orders something of an instance. */
export const instanceTarget = (id: string): string => `instance/${id}`;

export async function openInstance(options: InstanceOptions): Promise<Instance> {
  const { codec, topics, bundle, version, log, now } = options;
  const { kafka, counts } = countedKafka(options.kafka);
  const id = options.instance;
  await kafka.admin.ensureTopics(platformTopics(topics));
  const producer = await kafka.producer();
  const heartbeats = await codec.encoder(topics.heartbeats.name, HeartbeatSchema);
  const signals = await codec.encoder(topics.autoscaleSignals.name, BundleSignalSchema);
  const progress = await codec.encoder(topics.replayJobs.name, ReplayProgressSchema);
  const { sampling } = options;
  const telemetry =
    sampling === 'none'
      ? noTelemetry
      : await openTelemetry({
          codec,
          producer,
          topics: { spans: topics.spans.name, metrics: topics.metrics.name, lag: topics.lag.name },
          instance: id,
          bundle,
          version,
          now,
          ...sampling,
        });
  const onError = (error: unknown): void => log('warn', 'a platform record was passed over', { error: String(error) });
  const control = await openControl({ kafka, topic: topics.control.name, decode: orderDecoder(codec), onError });
  const config = await followClusterConfig({ kafka, codec, topics, onError });
  const incarnation = randomUUID().slice(0, 13);
  let health: Heartbeat['health'] = 'starting';
  let location: string | null = null;
  const processors: RunningProcessor[] = [];
  const load = createLoad();
  const startedAt = now();
  let signalledAt = 0;
  const meter = createResourceMeter(now);
  const work = createWorkMeter();
  const sense = createSignals(work);

  // Beats and reports are advice: one that cannot be sent is followed by another.
  const send = (topic: string, key: string, value: Buffer): void => {
    producer.send({ topic, key, value }).catch((error: unknown) => log('warn', 'report not sent', { topic, error: String(error) }));
  };
  const beat = (): void => {
    const failed = processors.some((processor) => processor.status().state === 'failed');
    sendBeat(health === 'up' && failed ? 'degraded' : health);
  };
  const sendBeat = (told: Heartbeat['health']): void => {
    const at = now();
    const resources = meter.measure();
    const { inFlight } = load;
    const statuses = processors.map((processor) => processor.status());
    const value: Heartbeat = {
      instance: id,
      bundle,
      version,
      startedAt,
      incarnation,
      host: hostname(),
      pid: process.pid,
      location,
      health: told,
      inFlight,
      eventLoopLagMs: resources.eventLoopLagMs,
      cpu: resources.cpu,
      rssBytes: resources.rssBytes,
      processors: statuses.map(toStored),
      at,
    };
    send(topics.heartbeats.name, id, heartbeats.encode(value));
    // Nobody balances the platform itself, nor what is about to end.
    const balanced = bundle !== platformBundle && (told === 'starting' || told === 'up' || told === 'degraded');
    if (balanced && at - signalledAt >= config.current.heartbeatMs / 2) {
      signalledAt = at;
      const signal = { bundle, version, instance: id, incarnation, ready: told !== 'starting' };
      send(topics.autoscaleSignals.name, bundle, signals.encode({ ...signal, ...sense({ at, processors: statuses, resources, load }) }));
    }
    tellMetrics({ telemetry, resources, load, counts, processors: statuses, at });
  };
  const change = (to: Heartbeat['health']): void => {
    health = to;
    beat();
  };
  let timer = setInterval(beat, config.current.heartbeatMs);
  config.onChange(({ heartbeatMs }) => {
    clearInterval(timer);
    timer = setInterval(beat, heartbeatMs);
    beat();
  });
  beat();

  const acknowledged = new Map<string, bigint>();
  /** Whoever ordered something waits for this. */
  const acknowledge = ({ consumer }: RunningProcessor, { epoch }: ProcessorStatus): void => {
    if ((acknowledged.get(consumer) ?? -1n) === epoch) return;
    acknowledged.set(consumer, epoch);
    beat();
  };

  const reported = new Map<string, { state: string; parts: number; at: number }>();
  const report = (processor: RunningProcessor): void => {
    const status = processor.status();
    acknowledge(processor, status);
    if (status.replays.length === 0) return;
    const row = joined(id, status, now());
    const last = reported.get(row.job);
    const parts = row.partitions.length;
    const same = last?.state === row.state && last.parts === parts;
    if (same && (row.state !== 'running' || row.updatedAt - last.at < reportMs)) return;
    reported.set(row.job, { state: row.state, parts, at: row.updatedAt });
    send(topics.replayJobs.name, `${row.job}/${processor.consumer}/${id}`, progress.encode(row));
  };

  const hooks: (() => void | Promise<void>)[] = [];
  let draining: Promise<void> | undefined;
  const drain = (): Promise<void> =>
    (draining ??= (async () => {
      change('draining');
      try {
        for (const hook of hooks) await hook();
      } catch (error) {
        log('warn', 'draining goes on without what failed', { error: String(error) });
      }
      for (const processor of processors.toReversed()) await processor.close();
      change('drained');
    })());
  // An order of the past was for a run before this one.
  let past = true;
  control.follow(instanceTarget(id), (order) => {
    if (order.action === 'drain' && !past) void drain();
  });
  past = false;

  const stop = async (): Promise<void> => {
    for (const processor of processors.toReversed()) await processor.close();
    await draining;
    processors.length = 0;
    clearInterval(timer);
    // The last word: nobody need wait for it any more.
    change('stopping');
    meter.close();
    await config.close();
    await control.close();
    await telemetry.close();
    await producer.close();
  };
  let stopping: Promise<void> | undefined;
  const close = (): Promise<void> => (stopping ??= stop());
  return {
    id,
    incarnation,
    bundle,
    version,
    kafka,
    codec,
    topics,
    producer,
    telemetry,
    log,
    now,
    config,
    load,
    work,
    counts,
    locate(at) {
      location = at;
      beat();
    },
    ready() {
      if (health === 'starting') change('up');
    },
    drain,
    onDrain: (hook) => void hooks.push(hook),
    async run(definition) {
      if (draining !== undefined) throw new SpoolError('UNAVAILABLE', `instance ${id} is draining: it starts nothing new`);
      const stored = (): readonly string[] => storedTasks(join(options.dataDir, id, definition.consumer));
      const processor = await runProcessor(definition, { kafka, now, log, control, onProgress: report, stored });
      processors.push(processor);
      beat();
      return processor;
    },
    status: () => processors.map((processor) => processor.status()),
    async drop(processor) {
      await processor.close();
      const index = processors.indexOf(processor);
      if (index >= 0) processors.splice(index, 1);
      rmSync(join(options.dataDir, id, processor.consumer), { recursive: true, force: true });
      beat();
    },
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

function createLoad(): Load {
  const parts: (() => { readonly inFlight: number; readonly limit: number })[] = [];
  const sum = (of: 'inFlight' | 'limit'): number => parts.reduce((all, part) => all + part()[of], 0);
  return {
    get inFlight() {
      return sum('inFlight');
    },
    get limit() {
      return sum('limit');
    },
    add: (part) => void parts.push(part),
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
function joined(instance: string, { consumer, shared, replays }: ProcessorStatus, now: number): ReplayProgress {
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
    skipped: parts.reduce((sum, replay) => sum + (replay.skipped ?? 0), 0),
    shared,
    startedAt: latest.startedAt,
    updatedAt: now,
    error: null,
  };
}

const least = (a: bigint, b: Offset): bigint => (a < b ? a : b);
