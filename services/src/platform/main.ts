import { readFileSync } from 'node:fs';
import { platformSettings, readEnvironment } from '@spool/sdk';
import { toSpoolError } from '@spool/schemas';
import { z } from 'zod';
import { authFromEnvironment, createLog } from '../http/index.js';
import { startPlatformServices } from './start.js';

const port = z.coerce
  .number('must be a port number')
  .int('must be a whole number')
  .min(0, 'must be 0 to 65535')
  .max(65_535, 'must be 0 to 65535');
const address = z.url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' });
const environment = z.object({
  SPOOL_INSTANCE: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and dashes, such as platform-0')
    .default('platform-0'),
  SPOOL_DATA_DIR: z.string().default('.spool/services'),
  SPOOL_HTTP_HOST: z.string().default('127.0.0.1'),
  SPOOL_HTTP_PORT: port.default(8080),
  SPOOL_HTTP_TLS_CERT_FILE: z.string().optional(),
  SPOOL_HTTP_TLS_KEY_FILE: z.string().optional(),
  SPOOL_MAX_IN_FLIGHT: z.coerce.number().int().min(1).max(100_000).default(2048),
  SCHEMA_REGISTRY_URL: address.optional(),
  SPOOL_SCHEMA_REGISTRY_PORT: port.default(8081),
  CLICKHOUSE_URL: address.default('http://127.0.0.1:8123'),
  SPOOL_CLICKHOUSE_WRITER_USER: z.string().default('spool'),
  SPOOL_CLICKHOUSE_WRITER_PASSWORD: z.string().default(''),
  SPOOL_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

try {
  const settings = platformSettings(process.env);
  const set = readEnvironment(environment, process.env);
  const log = createLog({ name: 'platform', level: set.SPOOL_LOG_LEVEL });
  const [cert, key] = [set.SPOOL_HTTP_TLS_CERT_FILE, set.SPOOL_HTTP_TLS_KEY_FILE];
  const services = await startPlatformServices({
    ...settings,
    version: version(),
    instance: set.SPOOL_INSTANCE,
    dataDir: set.SPOOL_DATA_DIR,
    http: {
      host: set.SPOOL_HTTP_HOST,
      port: set.SPOOL_HTTP_PORT,
      ...(cert === undefined || key === undefined ? {} : { tls: { cert: readFileSync(cert), key: readFileSync(key) } }),
    },
    auth: authFromEnvironment(process.env),
    schemaRegistry: set.SCHEMA_REGISTRY_URL === undefined ? { port: set.SPOOL_SCHEMA_REGISTRY_PORT } : { url: set.SCHEMA_REGISTRY_URL },
    clickhouse: { url: set.CLICKHOUSE_URL, username: set.SPOOL_CLICKHOUSE_WRITER_USER, password: set.SPOOL_CLICKHOUSE_WRITER_PASSWORD },
    maxInFlight: set.SPOOL_MAX_IN_FLIGHT,
    log,
  });
  log.info({ url: services.url, schemaRegistry: services.schemaRegistryUrl }, 'ready');
  process.send?.('ready');
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    services.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ error: String(error) }, 'did not stop cleanly');
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
  // The parent is gone: nobody would ever stop this process.
  process.on('disconnect', stop);
} catch (thrown) {
  const error = toSpoolError(thrown);
  console.error(`${error.code}: ${error.message}\n${error.entry.remedy}`);
  if (error.code === 'INTERNAL') console.error(error.cause);
  process.exit(1);
}

function version(): string {
  const file = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}
