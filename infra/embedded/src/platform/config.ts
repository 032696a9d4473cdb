import { SpoolError } from '@spool/schemas';
import { resolve } from 'node:path';
import { z } from 'zod';

/** What one machine's platform is started with. */
export interface PlatformConfig {
  /** Absolute. */
  readonly dataDir: string;
  readonly httpPort: number;
  readonly clickhousePort: number;
  readonly schemaRegistryPort: number;
  readonly kafkaPort: number;
  readonly kafkaControllerPort: number;
  readonly kafkaHeapMb: number;
  readonly kafkaFlushEveryWrite: boolean;
  /** Set: these brokers are used and none is started. */
  readonly kafkaBrokers: string | undefined;
  /** Set: this server is used and none is started. */
  readonly clickhouseUrl: string | undefined;
  /** Set: this registry is used and none is started. */
  readonly schemaRegistryUrl: string | undefined;
}

const portNumber = z.coerce
  .number('must be a port number')
  .int('must be a whole number')
  .min(1, 'must be 1 to 65535')
  .max(65_535, 'must be 1 to 65535');
const port = (preset: number) => portNumber.default(preset);
const flag = z.enum(['true', 'false'], 'must be true or false').default('false');
const address = z.url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' });
const brokers = z.string().regex(/^[^\s:,]+:\d{1,5}(,[^\s:,]+:\d{1,5})*$/, 'must be a list such as host1:9092,host2:9092');

const environment = z.object({
  SPOOL_DATA_DIR: z.string().default('.spool'),
  SPOOL_HTTP_PORT: port(8080),
  SPOOL_CLICKHOUSE_PORT: port(8123),
  SPOOL_SCHEMA_REGISTRY_PORT: port(8081),
  SPOOL_KAFKA_PORT: port(9092),
  SPOOL_KAFKA_CONTROLLER_PORT: portNumber.optional(),
  SPOOL_KAFKA_HEAP_MB: z.coerce
    .number('must be a number of MiB')
    .int('must be a whole number')
    .min(128, 'must be at least 128')
    .max(65_536, 'must be at most 65536')
    .default(512),
  SPOOL_KAFKA_FLUSH_EVERY_WRITE: flag,
  KAFKA_BROKERS: brokers.optional(),
  CLICKHOUSE_URL: address.optional(),
  SCHEMA_REGISTRY_URL: address.optional(),
});

/** The names of the variables that the platform reads. */
export const variableNames: readonly string[] = Object.keys(environment.shape);

/**
 * Reads the configuration from environment variables; an empty one counts as not set.
 * @throws SpoolError INVALID_CONFIG with every problem as a violation, its pointer the variable's name.
 */
export function platformConfig(env: Readonly<Record<string, string | undefined>>): PlatformConfig {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = environment.safeParse(set);
  if (!parsed.success) throw invalid(parsed.error.issues.map(({ path, message }) => ({ pointer: String(path[0]), message })));
  const found = parsed.data;
  const config: PlatformConfig = {
    dataDir: resolve(found.SPOOL_DATA_DIR),
    httpPort: found.SPOOL_HTTP_PORT,
    clickhousePort: found.SPOOL_CLICKHOUSE_PORT,
    schemaRegistryPort: found.SPOOL_SCHEMA_REGISTRY_PORT,
    kafkaPort: found.SPOOL_KAFKA_PORT,
    kafkaControllerPort: found.SPOOL_KAFKA_CONTROLLER_PORT ?? found.SPOOL_KAFKA_PORT + 1,
    kafkaHeapMb: found.SPOOL_KAFKA_HEAP_MB,
    kafkaFlushEveryWrite: found.SPOOL_KAFKA_FLUSH_EVERY_WRITE === 'true',
    kafkaBrokers: found.KAFKA_BROKERS,
    clickhouseUrl: found.CLICKHOUSE_URL,
    schemaRegistryUrl: found.SCHEMA_REGISTRY_URL,
  };
  const clashes = portClashes(config);
  if (clashes.length > 0) throw invalid(clashes);
  return config;
}

/** The ports that this configuration will listen on. */
export function wantedPorts(config: PlatformConfig): readonly { name: string; port: number; variable: string }[] {
  const own = <T>(elsewhere: unknown, ...ports: T[]): T[] => (elsewhere === undefined ? ports : []);
  return [
    { name: 'the gateway', port: config.httpPort, variable: 'SPOOL_HTTP_PORT' },
    ...own(config.clickhouseUrl, { name: 'ClickHouse', port: config.clickhousePort, variable: 'SPOOL_CLICKHOUSE_PORT' }),
    ...own(config.schemaRegistryUrl, {
      name: 'the schema registry',
      port: config.schemaRegistryPort,
      variable: 'SPOOL_SCHEMA_REGISTRY_PORT',
    }),
    ...own(
      config.kafkaBrokers,
      { name: 'Kafka', port: config.kafkaPort, variable: 'SPOOL_KAFKA_PORT' },
      { name: "Kafka's controller", port: config.kafkaControllerPort, variable: 'SPOOL_KAFKA_CONTROLLER_PORT' },
    ),
  ];
}

function portClashes(config: PlatformConfig): { pointer: string; message: string }[] {
  const wanted = wantedPorts(config);
  return wanted.flatMap(({ port, variable }, index) => {
    const first = wanted.findIndex((other) => other.port === port);
    return first === index ? [] : [{ pointer: variable, message: `must differ from ${wanted[first]!.variable}, which is ${port} too` }];
  });
}

function invalid(violations: readonly { pointer: string; message: string }[]): SpoolError {
  const list = violations.map(({ pointer, message }) => `${pointer} ${message}`).join('; ');
  return new SpoolError('INVALID_CONFIG', list, { violations });
}
