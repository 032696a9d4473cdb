import { SpoolError } from '@spool/schemas';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startKafka } from '../kafka/start.js';
import type { Log } from '../log.js';
import { superviseChild, type ChildSpec } from '../supervisor/supervise.js';
import type { PlatformConfig } from './config.js';
import type { Part, StartContext } from './part.js';
import { untilHttpOk } from './probes.js';

/** The compiled main files of the parts that are processes of Node. */
export interface Entries {
  readonly clickhouse: string;
  readonly services: string;
  readonly bundles: Readonly<Record<string, string>>;
}

const repository = new URL('../../../../', import.meta.url);
const inRepository = (path: string): string => fileURLToPath(new URL(path, repository));

/** Where `tsc -b` puts them. */
export const builtEntries: Entries = {
  clickhouse: inRepository('infra/embedded/dist/clickhouse/main.js'),
  services: inRepository('services/dist/platform/main.js'),
  bundles: { flights: inRepository('examples/flights/dist/main.js') },
};

export interface PartsOptions {
  readonly entries: Entries;
  /** Without it no bundle of the examples is started. */
  readonly demo: boolean;
  /** The environment that children get besides their own settings. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

const loopback = (port: number): string => `http://127.0.0.1:${port}`;

/** Where each part is reached, whether it runs here or elsewhere. */
export function addresses(config: PlatformConfig) {
  return {
    gateway: loopback(config.httpPort),
    clickhouse: config.clickhouseUrl ?? loopback(config.clickhousePort),
    schemaRegistry: config.schemaRegistryUrl ?? loopback(config.schemaRegistryPort),
    kafka: config.kafkaBrokers ?? `127.0.0.1:${config.kafkaPort}`,
  };
}

/** A URL that may be shown. */
export function withoutPassword(url: string): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href.replace(/\/$/, '');
}

/** The parts that the configuration asks for: brokers and ClickHouse, then the services, then the bundles. */
export function platformParts(config: PlatformConfig, options: PartsOptions, log: Log): readonly Part[] {
  const at = addresses(config);
  const common = { ...options.env, KAFKA_BROKERS: at.kafka, CLICKHOUSE_URL: at.clickhouse };
  const own = { SPOOL_DATA_DIR: join(config.dataDir, 'services'), SPOOL_HTTP_PORT: String(config.httpPort) };
  // The services run the registry themselves unless they are given one; everybody else is always given one.
  const registry = { SCHEMA_REGISTRY_URL: config.schemaRegistryUrl, SPOOL_SCHEMA_REGISTRY_PORT: String(config.schemaRegistryPort) };
  const node = nodeChild(config);
  return [
    {
      name: 'kafka',
      address: at.kafka,
      stage: 1,
      essential: true,
      start: config.kafkaBrokers === undefined ? (context) => startBroker(config, context, log) : undefined,
    },
    {
      name: 'clickhouse',
      address: withoutPassword(at.clickhouse),
      stage: 1,
      essential: true,
      start:
        config.clickhouseUrl === undefined
          ? node('clickhouse', options.entries.clickhouse, {
              env: {
                ...options.env,
                SPOOL_DATA_DIR: join(config.dataDir, 'clickhouse'),
                SPOOL_CLICKHOUSE_PORT: String(config.clickhousePort),
              },
              ready: (signal) => untilHttpOk(`${at.clickhouse}/ping`, signal),
            })
          : undefined,
    },
    {
      name: 'services',
      address: `${at.gateway}, schema registry ${withoutPassword(at.schemaRegistry)}`,
      stage: 2,
      essential: true,
      start: node('services', options.entries.services, {
        env: { ...common, ...own, ...registry },
        ready: (signal) => untilHttpOk(`${at.gateway}/readyz`, signal),
      }),
    },
    ...Object.entries(options.demo ? options.entries.bundles : {}).map(([name, entry]) => ({
      name,
      address: 'bundle',
      stage: 3,
      essential: false,
      start: node(name, entry, {
        env: {
          ...common,
          SPOOL_DATA_DIR: join(config.dataDir, 'bundles', name),
          SCHEMA_REGISTRY_URL: at.schemaRegistry,
          SPOOL_GATEWAY_URL: at.gateway,
        },
        ready: 'ipc' as const,
      }),
    })),
  ];
}

/** How long the services and bundles may take: on a slow machine the first start makes every topic and table. */
const readyTimeoutMs = 120_000;

type NodeChild = (name: string, entry: string, spec: Pick<ChildSpec, 'env' | 'ready'>) => NonNullable<Part['start']>;

const nodeChild =
  (config: PlatformConfig): NodeChild =>
  (name, entry, spec) =>
  async ({ signal, onState }) => {
    if (!existsSync(entry)) throw new SpoolError('TOOL_MISSING', `${name} is not built: ${entry} is missing; run npx tsc -b.`);
    const child = await superviseChild({
      ...spec,
      name,
      command: process.execPath,
      args: ['--enable-source-maps', entry],
      ipc: true,
      logFile: join(config.dataDir, 'logs', `${name}.log`),
      readyTimeoutMs,
      signal,
      onState: (state) => onState(name, state),
    });
    return [child];
  };

async function startBroker(config: PlatformConfig, { signal, onState }: StartContext, log: Log) {
  const kafka = await startKafka({
    dataDir: join(config.dataDir, 'kafka'),
    ports: [config.kafkaPort],
    controllerPorts: [config.kafkaControllerPort],
    heapMb: config.kafkaHeapMb,
    flushEveryWrite: config.kafkaFlushEveryWrite,
    signal,
    onState,
    log,
  });
  return kafka.brokers;
}
