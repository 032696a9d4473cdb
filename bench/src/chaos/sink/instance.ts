import { createCodec, createHttpRegistry } from '@spool/schemas';
import { openClickHouse, startSink, type ClickHouseConfig } from '@spool/services/telemetry';
import { connectKafka, openInstance, topicCatalogue } from '@spool/streams';
import { tamperedGroup, tamperedStore, type SinkTampering } from './tampering.js';

/** What a sink in a process of its own is started with, as its only argument. */
export interface SinkInstanceConfig {
  readonly instance: string;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly dataDir: string;
  readonly clickhouse: ClickHouseConfig;
  readonly sessionTimeoutMs?: number;
  readonly gatherMs?: number;
  readonly maxRows?: number;
  /** A violation on purpose, which the check must find. @default none */
  readonly tampering?: SinkTampering | undefined;
}

/** Resolves when it runs. */
export async function startSinkInstance(config: SinkInstanceConfig): Promise<{ close(): Promise<void> }> {
  const { brokers, schemaRegistryUrl, namespace, dataDir, clickhouse, tampering, ...options } = config;
  const kafka = tamperedGroup(await connectKafka({ brokers, clientId: config.instance }), tampering);
  const store = openClickHouse(clickhouse);
  const instance = await openInstance({
    kafka,
    codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }),
    topics: topicCatalogue({ namespace }),
    bundle: 'sink',
    version: '1.0.0',
    instance: config.instance,
    dataDir,
    log: (level, message, fields) => console.log(new Date().toISOString(), level, message, fields ?? ''),
    now: Date.now,
  });
  const sink = await startSink({
    ...options,
    instance,
    registry: { onChange: () => () => undefined },
    store: tamperedStore(store, tampering),
    discoverMs: 500,
  });
  instance.ready();
  return {
    async close() {
      await sink.close();
      await instance.close();
      await store.close();
      await kafka.close();
    },
  };
}
