import { toSpoolError } from '@spool/schemas';
import type { CommandResult, Gateway } from '@spool/sdk';
import type { Instance } from '@spool/streams';
import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ConsumerService, ConsumerView } from '../consumers/index.js';
import type { Insert } from '../telemetry/index.js';

export interface PlatformMetricsOptions {
  readonly registry: Registry;
  readonly instance: Pick<Instance, 'counts' | 'load' | 'topics' | 'version'>;
}

export interface PlatformMetrics {
  /** The same gateway, its commands counted and timed. */
  measured(gateway: Gateway): Gateway;
  /** Positions and lags of all consumers of the cluster, as their instances last told. */
  follow(consumers: Pick<ConsumerService, 'list'>): void;
  /** An insert into ClickHouse was tried. */
  inserted(insert: Insert, seconds: number, ok: boolean): void;
}

/** What every service shows at /metrics besides its HTTP requests; docs/telemetry.md lists them. */
export function platformMetrics({ registry, instance }: PlatformMetricsOptions): PlatformMetrics {
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({ name: 'spool_build_info', help: 'Always 1', labelNames: ['version', 'node'], registers }).set(
    { version: instance.version, node: process.version },
    1,
  );
  // 1. What the instance counts by itself, read when it is asked for.
  const read = (
    name: string,
    help: string,
    labelNames: string[],
    values: () => Iterable<readonly [Record<string, string>, number]>,
  ): void => {
    new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset();
        for (const [labels, value] of values()) this.inc(labels, value);
      },
    });
  };
  const { counts, load, topics } = instance;
  const writtenBelow = (prefix: string, label: string) => () =>
    [...counts.written].flatMap(([topic, count]) =>
      topic.startsWith(prefix) ? [[{ [label]: topic.slice(prefix.length) }, count] as const] : [],
    );
  read('spool_records_written_total', 'Records that this process wrote to Kafka', ['topic'], () =>
    [...counts.written].map(([topic, count]) => [{ topic }, count] as const),
  );
  read('spool_dead_letters_total', 'Records that this process parked', ['consumer'], writtenBelow(topics.deadLetters('').name, 'consumer'));
  read('spool_producer_errors_total', 'Sends and commits that failed', ['code'], () =>
    [...counts.failed].map(([code, count]) => [{ code }, count] as const),
  );
  read('spool_rebalances_total', 'How often groups of this process were shared out anew', [], () => [[{}, counts.rebalances]]);
  new Gauge({
    ...{ name: 'spool_in_flight', help: 'Requests under way', registers },
    collect() {
      this.set(load.inFlight);
    },
  });
  new Gauge({
    ...{ name: 'spool_in_flight_limit', help: 'Requests beyond this are refused', registers },
    collect() {
      this.set(load.limit);
    },
  });

  // 2. Commands.
  const commands = new Counter({ name: 'spool_commands_total', help: 'Commands sent here', labelNames: ['type', 'outcome'], registers });
  const durations = new Histogram({
    ...{ name: 'spool_command_duration_seconds', help: 'From the request to the reply', labelNames: ['outcome'], registers },
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  });
  const timed = async (type: string, call: () => Promise<CommandResult>): Promise<CommandResult> => {
    const began = performance.now();
    const done = (outcome: string): void => {
      // A type that nobody knows is whatever a caller wrote: it would be a series for each.
      commands.inc({ type: outcome === 'unknown_command' ? '' : type, outcome });
      durations.observe({ outcome }, (performance.now() - began) / 1000);
    };
    try {
      const result = await call();
      done(result.status);
      return result;
    } catch (thrown) {
      done(toSpoolError(thrown).code.toLowerCase());
      throw thrown;
    }
  };

  // 3. The sink.
  const events = new Counter({ name: 'spool_events_appended_total', help: 'Events seen in the log', labelNames: ['aggregate'], registers });
  const rows = new Histogram({
    ...{ name: 'spool_sink_batch_rows', help: 'Rows of an insert into ClickHouse', labelNames: ['table'], registers },
    buckets: [1, 10, 100, 1000, 10_000, 50_000],
  });
  const inserts = new Histogram({
    ...{ name: 'spool_sink_insert_seconds', help: 'Time of an insert into ClickHouse', labelNames: ['table', 'result'], registers },
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
  });
  const eventPrefix = topics.events('').name;
  return {
    measured: (gateway) => ({
      ...gateway,
      send: (target, type, id, payload, options) => timed(type, () => gateway.send(target, type, id, payload, options)),
      sendJson: (type, id, payload, options) => timed(type, () => gateway.sendJson(type, id, payload, options)),
    }),
    follow(consumers) {
      // All three are asked at the same time: one look serves them.
      let looking: Promise<readonly ConsumerView[]> | undefined;
      const look = (): Promise<readonly ConsumerView[]> =>
        (looking ??= consumers
          .list()
          // Without Kafka there is nothing to tell; the other metrics are told all the same.
          .catch((): readonly ConsumerView[] => [])
          .finally(() => (looking = undefined)));
      const gauge = (name: string, help: string, value: (partition: ConsumerView['partitions'][number]) => number): void => {
        new Gauge({
          ...{ name, help, labelNames: ['consumer', 'topic', 'partition'], registers },
          async collect() {
            const all = await look();
            this.reset();
            for (const { id: consumer, partitions } of all) {
              for (const each of partitions) this.set({ consumer, topic: each.topic, partition: String(each.partition) }, value(each));
            }
          },
        });
      };
      gauge('spool_consumer_position', 'Offset of the next record to handle', ({ position }) => Number(position));
      gauge('spool_consumer_lag_records', 'Offsets behind the last stable offset', ({ lag }) => lag);
      gauge('spool_consumer_lag_seconds', 'Age of the next record to handle', ({ lagSeconds }) => lagSeconds);
    },
    inserted({ table, count, topic }, seconds, ok) {
      inserts.observe({ table, result: ok ? 'ok' : 'error' }, seconds);
      if (!ok) return;
      rows.observe({ table }, count);
      if (table === 'events_index') events.inc({ aggregate: topic.slice(eventPrefix.length) }, count);
    },
  };
}
