import { SpoolError } from '@spool/schemas';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startKafka } from '../kafka/start.js';
import type { Log } from '../log.js';
import { superviseChild } from '../supervisor/supervise.js';
import type { PlatformConfig } from './config.js';
import { untilListed } from './listed.js';
import type { Part, StartContext } from './part.js';

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

type Environment = Readonly<Record<string, string | undefined>>;

export interface PartsOptions {
  readonly entries: Entries;
  /** Without it no bundle of the examples is started. */
  readonly demo: boolean;
  /** The environment that children get besides their own settings. */
  readonly env: Environment;
  /** Of the embedded ClickHouse's writing user. */
  readonly clickhousePassword: string;
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
  const { entries, clickhousePassword } = options;
  const at = addresses(config);
  const node = nodeChild(config);
  // How to reach a broker of the user's is said with KAFKA_TLS and the like; to ours none of it applies.
  const env = config.kafkaBrokers === undefined ? without(options.env, 'KAFKA_') : options.env;
  const kafka = { KAFKA_BROKERS: at.kafka };
  const ownClickHouse = config.clickhouseUrl === undefined;
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
      start: ownClickHouse
        ? node('clickhouse', entries.clickhouse, {
            ...env,
            SPOOL_CLICKHOUSE_PORT: String(config.clickhousePort),
            SPOOL_CLICKHOUSE_PATH: join(config.dataDir, 'clickhouse'),
            SPOOL_CLICKHOUSE_WRITER_PASSWORD: clickhousePassword,
            // Each running statement holds a thread of Node's pool: enough for four writing and four reading ones.
            UV_THREADPOOL_SIZE: '10',
          })
        : undefined,
    },
    {
      name: 'services',
      address: `${at.gateway}, schema registry ${withoutPassword(at.schemaRegistry)}`,
      stage: 2,
      essential: true,
      start: node('services', entries.services, {
        ...env,
        ...kafka,
        SPOOL_INSTANCE: 'platform-0',
        SPOOL_DATA_DIR: join(config.dataDir, 'services'),
        SPOOL_HTTP_PORT: String(config.httpPort),
        CLICKHOUSE_URL: at.clickhouse,
        ...(ownClickHouse ? { SPOOL_CLICKHOUSE_WRITER_USER: 'spool', SPOOL_CLICKHOUSE_WRITER_PASSWORD: clickhousePassword } : {}),
        // The services run the registry unless they are given one; bundles are always given one.
        SPOOL_SCHEMA_REGISTRY_PORT: String(config.schemaRegistryPort),
        SCHEMA_REGISTRY_URL: config.schemaRegistryUrl,
      }),
    },
    ...Object.entries(options.demo ? entries.bundles : {}).map(([name, entry]) => {
      const first = `${name}-0`;
      const startAs = (instance: string, child: string): NonNullable<Part['start']> =>
        node(child, entry, {
          ...env,
          ...kafka,
          SPOOL_INSTANCE: instance,
          SPOOL_DATA_DIR: join(config.dataDir, 'bundles', name),
          SCHEMA_REGISTRY_URL: at.schemaRegistry,
        });
      return {
        name,
        address: 'bundle',
        stage: 3,
        essential: false,
        start: async (context: StartContext) => {
          const children = await startAs(first, name)(context);
          await untilListed(at.gateway, first, context.signal);
          return children;
        },
        startFurther: (instance: string, context: StartContext) => startAs(instance, instance)(context),
      };
    }),
  ];
}

const without = (env: Environment, prefix: string): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith(prefix)));

/** How long a part may take: on a slow machine the first start makes every topic and table. */
const readyTimeoutMs = 120_000;

type NodeChild = (name: string, entry: string, env: Environment) => NonNullable<Part['start']>;

const nodeChild =
  (config: PlatformConfig): NodeChild =>
  (name, entry, env) =>
  async ({ signal, onState }) => {
    if (!existsSync(entry)) throw new SpoolError('TOOL_MISSING', `${name} is not built: ${entry} is missing; run npx tsc -b.`);
    const child = await superviseChild({
      name,
      command: process.execPath,
      // A larger young generation: messages die young, and copying those under way costs a fifth of the time otherwise.
      args: ['--enable-source-maps', '--max-semi-space-size=64', entry],
      env,
      ipc: true,
      ready: 'ipc',
      logFile: join(config.dataDir, 'logs', `${name}.log`),
      readyTimeoutMs,
      signal,
      onState: (state) => onState(name, state),
    });
    return [child];
  };

export async function startBroker(config: PlatformConfig, { signal, onState }: StartContext, log: Log) {
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
