import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { clickHouseCommand, freePorts, superviseChild, type SupervisedChild } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { fromMetadata, migrate, openClickHouse } from '@spool/services/telemetry';
import { connectKafka, partitionKey, platformTopics, topicCatalogue, type Kafka, type Offset } from '@spool/streams';
import { again, disturbAll, instances, msPerKill, plan, quietMs, sessionTimeoutMs, type Disturbance } from '../disturbances.js';
import { randomOf } from '../random.js';
import { logDifferences, quarantineDifferences, type Stored, type StoredTo } from './audit.js';
import { startSinkProcess } from './process.js';
import { produce } from './producers.js';
import { rollupDifferences } from './rollups.js';
import type { SinkTampering } from './tampering.js';
import { loadsOf } from './workload.js';

export interface SinkChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  /** Of the points at which, and the processes to which, something happens. */
  readonly seed: number;
  /** How often a sink is killed; a fifth as often, and once at least, one is stopped past its session and goes on. */
  readonly kills: number;
  /** How often ClickHouse is killed, stopped for a while, or started again in order: one after the other. */
  readonly restarts: number;
  readonly records: number;
  /** @default none */
  readonly tampering?: SinkTampering | undefined;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

const password = 'writer';
const database = 'spool';
const clickhouseVictim = instances.length;

/**
 * Four producers write spans, metrics, events and what cannot be read; two sinks store them, while they and ClickHouse are killed and stopped.
 * @returns what is wrong in the end; empty when each record is stored once, in each rollup too
 */
export async function chaosSink(options: SinkChaosOptions): Promise<readonly string[]> {
  const { brokers, dataDir, seed, kills, records, progress } = options;
  const namespace = `chaos-${seed}-${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  const events = topics.events('Thing');
  const over = AbortSignal.timeout(options.deadlineMs);
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics([...platformTopics(topics), events]);
  const [port] = await freePorts(1);
  await using server = await superviseChild({
    ...clickHouseCommand({ dataDir: join(dataDir, 'clickhouse'), port: port!, writerPassword: password }),
    name: 'ClickHouse',
    ready: 'ipc',
    restart: again,
  });
  // A server that is stopped answers nothing: what it was asked is asked again, while the first request is still on its way.
  const connection = { url: `http://127.0.0.1:${port}`, username: 'spool', password, database, requestTimeoutMs: sessionTimeoutMs };
  await using clickhouse = openClickHouse({ ...connection, requestTimeoutMs: quietMs });
  await migrate({ clickhouse, owner: 'chaos' });
  const common = { brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, clickhouse: connection, sessionTimeoutMs };
  const sinks: SupervisedChild[] = [];
  try {
    for (const instance of instances) {
      sinks.push(await startSinkProcess({ ...common, instance, gatherMs: 100, maxRows: 5000, tampering: options.tampering }, again));
    }
    // 1. Records come; sinks and ClickHouse go.
    const loads = await loadsOf(createCodec({ registry: createHttpRegistry({ url: schemas.url }) }), topics);
    const rate = records / ((Math.max(1, kills) * msPerKill) / 1000);
    const producing = produce({ kafka, namespace, loads, records, rate, over });
    producing.catch(() => undefined);
    const sources = [topics.spans.name, topics.metrics.name, topics.lag.name, events.name];
    const position = followed(kafka, namespace, sources, over);
    await disturbAll({
      children: [...sinks, server],
      plan: sinkPlan(options),
      answered: () => position.total,
      over,
      progress,
    });
    const poison = await producing;
    // 2. The rest is stored, or nothing moves any more.
    const ends = await endsOf(kafka, sources);
    const left = (): readonly string[] =>
      [...ends].filter(([key, end]) => (position.stored.get(key)?.offset ?? 0n) < end).map(([key]) => key);
    for (let seen = position.total, since = performance.now(); left().length > 0;) {
      await sleep(200, undefined, { signal: over });
      if (position.total > seen) since = performance.now();
      seen = position.total;
      if (performance.now() - since > quietMs) return left().map((key) => `${key}: stalls before ${ends.get(key)!}`);
    }
    await Promise.all(sinks.map((sink) => sink.untilReady(quietMs)));
    await Promise.all(sinks.map((sink) => sink.close()));
    await position.close();
    // 3. What is in the tables?
    const { stored } = await readPositions(kafka, namespace, sources);
    return [
      ...(await logDifferences(kafka, clickhouse, sources, stored)),
      ...(await quarantineDifferences(clickhouse, poison)),
      ...(await rollupDifferences(clickhouse)),
    ];
  } finally {
    await Promise.all(sinks.map((sink) => sink.close()));
  }
}

/** A sink stores in rounds: the delay takes a kill to any point of one. */
const roundMs = 300;

function sinkPlan({ seed, kills, restarts, records }: SinkChaosOptions): readonly Disturbance[] {
  const random = randomOf(seed + 1);
  const ofServer = Array.from({ length: restarts }, (_, index): Disturbance => ({
    after: Math.floor(records * (0.01 + 0.95 * random())),
    delayMs: 0,
    kind: (['kill', 'stop', 'kill', 'restart'] as const)[index % 4]!,
    victim: clickhouseVictim,
    stoppedMs: Math.floor(sessionTimeoutMs * (1.2 + random())),
  }));
  return [...plan(seed, kills, records), ...ofServer]
    .map((each) => ({ ...each, delayMs: Math.floor(roundMs * random()) }))
    .sort((a, b) => a.after - b.after);
}

interface Positions {
  readonly stored: Stored;
  /** Of all partitions. */
  readonly total: number;
}

/** Reads again and again how far the sinks are. */
function followed(kafka: Kafka, namespace: string, sources: readonly string[], over: AbortSignal): Positions & { close(): Promise<void> } {
  let now: Positions = { stored: new Map(), total: 0 };
  const closing = new AbortController();
  const signal = AbortSignal.any([over, closing.signal]);
  const reading = (async () => {
    while (!signal.aborted) {
      // What fails now is read again; who waits for it has a deadline.
      now = await readPositions(kafka, namespace, sources).catch(() => now);
      await sleep(100);
    }
  })();
  return {
    get stored() {
      return now.stored;
    },
    get total() {
      return now.total;
    },
    async close() {
      closing.abort();
      await reading;
    },
  };
}

async function readPositions(kafka: Kafka, namespace: string, sources: readonly string[]): Promise<Positions> {
  const stored = new Map<string, StoredTo>();
  for (const group of ['spool.telemetry', 'spool.telemetry.events.Thing']) {
    for (const { offset, metadata, ...at } of await kafka.admin.committedOffsets(namespace + group, sources)) {
      const range = fromMetadata(offset, metadata);
      stored.set(partitionKey(at), { offset, ...(range === undefined ? {} : { announcedTo: (range.last + 1n) as Offset }) });
    }
  }
  return { stored, total: [...stored.values()].reduce((sum, each) => sum + Number(each.offset), 0) };
}

async function endsOf(kafka: Kafka, sources: readonly string[]): Promise<ReadonlyMap<string, Offset>> {
  const offsets = await Promise.all(sources.map((topic) => kafka.admin.offsets(topic)));
  return new Map(offsets.flat().map(({ latest, ...partition }) => [partitionKey(partition), latest]));
}
