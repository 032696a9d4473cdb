import { readFileSync } from 'node:fs';
import { createCodec, createHttpRegistry, SpoolError, type Codec } from '@spool/schemas';
import { connectKafka, topicCatalogue, type Kafka, type KafkaConfig, type Log, type Sampling, type TopicCatalogue } from '@spool/streams';
import { z } from 'zod';
import type { EndpointSettings } from '../endpoint/endpoint.js';

const flag = z.enum(['true', 'false'], 'must be true or false');
const environment = z.object({
  KAFKA_BROKERS: z.string('is missing: a list such as host1:9092,host2:9092').min(1, 'must be a list such as host1:9092,host2:9092'),
  KAFKA_TLS: flag.default('false'),
  KAFKA_TLS_CA_FILE: z.string().optional(),
  KAFKA_TLS_CERT_FILE: z.string().optional(),
  KAFKA_TLS_KEY_FILE: z.string().optional(),
  KAFKA_SASL_MECHANISM: z.enum(['plain', 'scram-sha-256', 'scram-sha-512'], 'must be plain, scram-sha-256 or scram-sha-512').optional(),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
  SPOOL_NAMESPACE: z
    .string()
    .regex(/^([a-z][a-z0-9-]{0,30}\.)?$/, 'must be a prefix with its dot, such as acme.')
    .default(''),
  SPOOL_PARTITIONS: z.coerce
    .number('must be a number')
    .int('must be a whole number')
    .min(1, 'must be 1 at least')
    .max(1000, 'must be 1000 at most')
    .default(3),
  SPOOL_SPANS_PER_SECOND: z.coerce
    .number('must be a number')
    .min(0, 'must be 0 at least')
    .max(1_000_000, 'must be 1000000 at most')
    .default(1000),
  SPOOL_FORCED_SPANS: z.string().default(''),
  SPOOL_CLUSTER_KEY: z.string().min(32, 'must be 32 characters at least').optional(),
  SPOOL_ENDPOINT_HOST: z.string().optional(),
  SPOOL_ENDPOINT_PORT: z.coerce
    .number('must be a number')
    .int('must be a whole number')
    .min(0, 'must be 0 at least')
    .max(65_535, 'must be 65535 at most')
    .optional(),
  SPOOL_ENDPOINT_URL: z.url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' }).optional(),
});

/** How a process reaches the platform. */
export interface PlatformSettings {
  readonly kafka: Omit<KafkaConfig, 'clientId' | 'log'>;
  readonly topics: TopicCatalogue;
  readonly sampling: Sampling;
  readonly endpoint: EndpointSettings;
}

/** The names of the variables that `platformSettings` reads. */
export const platformVariables: readonly string[] = Object.keys(environment.shape);

/**
 * Reads how to reach Kafka from environment variables; an empty one counts as not set.
 * @throws SpoolError INVALID_CONFIG with a violation for every problem, its pointer the name of the variable.
 */
export function platformSettings(env: Readonly<Record<string, string | undefined>>): PlatformSettings {
  const set = readEnvironment(environment, env);
  const file = (name: 'KAFKA_TLS_CA_FILE' | 'KAFKA_TLS_CERT_FILE' | 'KAFKA_TLS_KEY_FILE', key: string): Record<string, string> => {
    const path = set[name];
    if (path === undefined) return {};
    try {
      return { [key]: readFileSync(path, 'utf8') };
    } catch (cause) {
      throw invalid([{ pointer: name, message: `cannot be read: ${(cause as Error).message}` }]);
    }
  };
  const pem = { ...file('KAFKA_TLS_CA_FILE', 'ca'), ...file('KAFKA_TLS_CERT_FILE', 'cert'), ...file('KAFKA_TLS_KEY_FILE', 'key') };
  const tls = set.KAFKA_TLS === 'true' || Object.keys(pem).length > 0;
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = set;
  const saslSet = [mechanism, username, password].filter((value) => value !== undefined).length;
  if (saslSet !== 0 && (mechanism === undefined || username === undefined || password === undefined)) {
    throw invalid([
      { pointer: 'KAFKA_SASL_MECHANISM', message: 'KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are set all three or not at all' },
    ]);
  }
  return {
    kafka: {
      brokers: set.KAFKA_BROKERS.split(',').map((broker) => broker.trim()),
      ...(tls ? { tls: Object.keys(pem).length === 0 ? (true as const) : pem } : {}),
      ...(mechanism === undefined ? {} : { sasl: { mechanism, username: username!, password: password! } }),
    },
    topics: topicCatalogue({ namespace: set.SPOOL_NAMESPACE, partitions: set.SPOOL_PARTITIONS }),
    sampling: {
      spansPerSecond: set.SPOOL_SPANS_PER_SECOND,
      forced: set.SPOOL_FORCED_SPANS.split(',').flatMap((type) => (type.trim() === '' ? [] : [type.trim()])),
    },
    endpoint: {
      ...(set.SPOOL_CLUSTER_KEY === undefined ? {} : { key: set.SPOOL_CLUSTER_KEY }),
      ...(set.SPOOL_ENDPOINT_HOST === undefined ? {} : { host: set.SPOOL_ENDPOINT_HOST }),
      ...(set.SPOOL_ENDPOINT_PORT === undefined ? {} : { port: set.SPOOL_ENDPOINT_PORT }),
      ...(set.SPOOL_ENDPOINT_URL === undefined ? {} : { url: set.SPOOL_ENDPOINT_URL }),
    },
  };
}

/** Checks an environment against a schema of strings. @throws SpoolError INVALID_CONFIG that lists every problem at once */
export function readEnvironment<T extends z.ZodType>(schema: T, env: Readonly<Record<string, string | undefined>>): z.output<T> {
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== '')));
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error.issues.map(({ path, message }) => ({ pointer: String(path[0]), message })));
}

function invalid(violations: readonly { pointer: string; message: string }[]): SpoolError {
  return new SpoolError('INVALID_CONFIG', violations.map(({ pointer, message }) => `${pointer} ${message}`).join('; '), { violations });
}

export interface Connection {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
}

/** Connects to Kafka and the schema registry. @throws SpoolError KAFKA_UNAVAILABLE, KAFKA_REFUSED */
export async function connectPlatform(
  settings: PlatformSettings & { readonly schemaRegistryUrl: string; readonly clientId: string; readonly log: Log },
): Promise<Connection> {
  const { log, clientId, schemaRegistryUrl } = settings;
  const kafka = await connectKafka({
    ...settings.kafka,
    clientId,
    log: (level, message, fields) => log(level === 'debug' ? 'info' : level, message, fields),
  });
  return { kafka, codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }), topics: settings.topics };
}
