import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import { platformBundle, type Instance, type ProcessorDefinition, type RunningProcessor } from '@spool/streams';
import { beginAgain } from './begin-again.js';
import { defaultMaxRows, type BlockBounds, type Insert } from './block.js';
import { openClickHouse, type ClickHouseConfig } from './clickhouse.js';
import { eventQueries, type EventQueries } from './event-queries.js';
import { figures, type Figures } from './figures.js';
import { migrate } from './migrate.js';
import { decisionRows, eventRows, lagRows, metricRows, spanRows, type RowShape } from './rows.js';
import { onlyMissing, sinkWork, type BlockStore } from './sink-work.js';

export interface TelemetryConfig extends SinkOptions {
  readonly instance: Instance;
  /** A change of it is a reason to look for new topics of events. */
  readonly registry: Pick<Registry, 'onChange'>;
  readonly clickhouse: ClickHouseConfig & {
    /** Name of a cluster of replicas, on which tables are made and replicated. @default none: a single server */
    readonly cluster?: string;
  };
  /** Told of each insert that was tried, with its time. */
  readonly onInsert?: (insert: Insert, seconds: number, ok: boolean) => void;
  /** How long to wait for ClickHouse at the start, in milliseconds. @default 60000 */
  readonly startTimeoutMs?: number;
}

export interface SinkOptions extends BlockBounds {
  /** The least time between two rounds of inserts of a partition, in milliseconds. Rows are visible that much later at a low load. @default 500 */
  readonly gatherMs?: number;
  /** How often topics of events are looked for, besides each change of the registry, in milliseconds. @default 5000 */
  readonly discoverMs?: number;
  /** How long a process that died keeps its partitions, in milliseconds. @default 6000 */
  readonly sessionTimeoutMs?: number;
}

export interface SinkConfig extends SinkOptions, Pick<TelemetryConfig, 'instance' | 'registry'> {
  readonly store: BlockStore;
}

export interface Sink extends AsyncDisposable {
  /** Those that run now: one for the telemetry topics, and one for each topic of events. */
  readonly processors: ReadonlyMap<string, RunningProcessor>;
  /** What may be rewound. */
  targets(): readonly SinkTarget[];
  close(): Promise<void>;
}

/** As the replay service wants to know it. */
export interface SinkTarget {
  readonly name: string;
  readonly kind: 'sink';
  readonly bundle: string;
  readonly consumer: string;
  readonly sources: readonly string[];
  readonly replayable: true;
  readonly restores: string;
}

export interface TelemetryService extends Sink {
  /** What keeps rows from being stored at the moment, in a sentence; undefined when nothing does. For a readiness check. */
  problem(): Promise<string | undefined>;
  /** Questions about the events that are stored. */
  readonly events: EventQueries;
  /** Ready-made figures for the console. */
  readonly figures: Figures;
}

/**
 * Brings ClickHouse up to date and stores the telemetry topics and all domain events there, each record exactly once.
 * @throws SpoolError UNAVAILABLE when ClickHouse is away for `startTimeoutMs`; INVALID_CONFIG for a migration that was changed.
 */
export async function startTelemetry(config: TelemetryConfig): Promise<TelemetryService> {
  const { instance, startTimeoutMs } = config;
  const { cluster, ...connection } = config.clickhouse;
  const clickhouse = openClickHouse(connection);
  try {
    const applied = await migrate({
      clickhouse,
      owner: instance.id,
      ...(cluster === undefined ? {} : { cluster }),
      ...(startTimeoutMs === undefined ? {} : { timeoutMs: startTimeoutMs }),
    });
    if (applied.length > 0) instance.log('info', 'ClickHouse migrated', { database: clickhouse.database, applied: applied.join(', ') });
    const sink = await startSink({ ...config, store: watched(clickhouse, config.onInsert) });
    const close = async (): Promise<void> => {
      await sink.close();
      await clickhouse.close();
    };
    const problem = async (): Promise<string | undefined> => {
      try {
        await clickhouse.rows('SELECT 1');
        return [...sink.processors.values()].map((processor) => processor.status().error).find((error) => error !== undefined);
      } catch (thrown) {
        return toSpoolError(thrown).message;
      }
    };
    return {
      processors: sink.processors,
      targets: () => sink.targets(),
      problem,
      events: eventQueries(clickhouse),
      figures: figures(clickhouse),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (thrown) {
    await clickhouse.close();
    throw thrown;
  }
}

function watched(store: BlockStore, onInsert: TelemetryConfig['onInsert']): BlockStore {
  if (onInsert === undefined) return store;
  return {
    stored: (stretch) => store.stored(stretch),
    holds: (of) => store.holds(of),
    async insert(insert) {
      const began = performance.now();
      const told = (ok: boolean): void => onInsert(insert, (performance.now() - began) / 1000, ok);
      try {
        await store.insert(insert);
      } catch (thrown) {
        told(false);
        throw thrown;
      }
      told(true);
    },
  };
}

/** Events may be large, and as many as this wait in memory while ClickHouse is away. */
const maxEventRows = 10_000;

/** The sink over any store. Topics of events are found while it runs. */
export async function startSink(config: SinkConfig): Promise<Sink> {
  const { instance, registry, store } = config;
  const { codec, kafka, topics, log } = instance;
  const processors = new Map<string, RunningProcessor>();
  const sources = new Map<string, readonly string[]>();
  const run = async (consumer: string, shapes: ReadonlyMap<string, RowShape>, maxRows: number): Promise<void> => {
    await beginAgain({ kafka, store, consumer, shapes, now: instance.now(), log });
    sources.set(consumer, [...shapes.keys()]);
    processors.set(consumer, await instance.run(definition(config, consumer, shapes, maxRows)));
  };
  // 1. Telemetry.
  const telemetry = new Map([
    [topics.spans.name, spanRows(codec)],
    [topics.metrics.name, metricRows(codec)],
    [topics.lag.name, lagRows(codec)],
    [topics.autoscaleDecisions.name, decisionRows(codec)],
  ]);
  await run(`${topics.namespace}spool.telemetry`, telemetry, config.maxRows ?? defaultMaxRows);
  // 2. Events: what is there now, and what comes later. One look at a time.
  const prefix = topics.events('').name;
  let closing = false;
  const discover = async (): Promise<void> => {
    for (const topic of await kafka.admin.listTopics()) {
      const aggregateType = topic.startsWith(prefix) ? topic.slice(prefix.length) : '';
      const consumer = `${topics.namespace}spool.telemetry.events.${aggregateType}`;
      if (aggregateType === '' || processors.has(consumer) || closing) continue;
      try {
        await run(consumer, new Map([[topic, eventRows(codec, aggregateType)]]), Math.min(maxEventRows, config.maxRows ?? maxEventRows));
      } catch (thrown) {
        log('warn', 'a topic of events is not read yet', { topic, error: toSpoolError(thrown).message });
      }
    }
  };
  let looking: Promise<void> = Promise.resolve();
  const look = (): void => {
    looking = looking.then(discover).catch((thrown: unknown) => {
      log('warn', 'topics of events were not looked for', { error: toSpoolError(thrown).message });
    });
  };
  const forget = registry.onChange(look);
  const timer = setInterval(look, config.discoverMs ?? 5000);
  look();
  await looking;

  const close = async (): Promise<void> => {
    closing = true;
    clearInterval(timer);
    forget();
    await looking;
    await Promise.all([...processors.values()].map((processor) => processor.close()));
  };
  const targets = (): readonly SinkTarget[] =>
    [...sources].map(([name, read]) => ({
      ...{ name, kind: 'sink', bundle: platformBundle, consumer: name, sources: read, replayable: true, restores: onlyMissing },
    }));
  return { processors, targets, close, [Symbol.asyncDispose]: close };
}

function definition(
  { instance, store, sessionTimeoutMs, ...options }: SinkConfig,
  consumer: string,
  shapes: ReadonlyMap<string, RowShape>,
  maxRows: number,
): ProcessorDefinition {
  return {
    consumer,
    sources: [...shapes.keys()],
    assignment: 'group',
    startAt: 'earliest',
    commits: 'work',
    ...(sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs }),
    fixed: 'its position is part of the blocks that it stores once: moved, it would store them twice; a replay stores what is missing',
    // Of a few partitions at once: whole blocks cost ClickHouse less than their parts.
    maxGroupRecords: maxRows * 3,
    maxBufferedRecords: maxRows * 3,
    open: (task) =>
      sinkWork({
        ...options,
        maxRows,
        consumer,
        kafka: instance.kafka,
        store,
        task,
        shapeOf(topic) {
          const shape = shapes.get(topic);
          if (shape === undefined) throw new SpoolError('INTERNAL', `${consumer} does not read ${topic}`);
          return shape;
        },
      }),
  };
}
