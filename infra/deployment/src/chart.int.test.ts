import { beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { platformSettings } from '@spool/sdk';
import { parse } from 'yaml';
import { renderChart, type Rendered, type Resource } from './chart.js';
import { problemsOf } from './kubernetes.js';

const flights = {
  name: 'flights',
  version: '1.4.0',
  command: ['node', 'examples/flights/dist/main.js'],
  env: { SPOOL_FLIGHTS_FEED: 'off' },
  resources: { requests: { cpu: '250m', memory: '512Mi' } },
  min: 2,
  max: 12,
};
const bank = { name: 'bank', image: 'registry.example.com/bank', version: '7', min: 1, max: 1 };
const everything = {
  image: { repository: 'registry.example.com/spool', tag: 'main', pullPolicy: 'Always', pullSecrets: ['registry'] },
  kafka: {
    brokers: 'a:9092,b:9092',
    tls: { enabled: true, secretName: 'kafka-tls', clientCertificate: true },
    sasl: { mechanism: 'scram-sha-512', secretName: 'kafka-user' },
  },
  clickhouse: { url: 'https://clickhouse:8443', user: 'writer', secretName: 'clickhouse' },
  namespace: 'acme.',
  auth: {
    apiKeysSecretName: '',
    jwt: { issuer: 'https://id', audience: 'spool', jwksUrl: 'https://id/keys', rolesClaim: 'groups', roleNames: 'oncall=operator' },
  },
  services: { replicas: 3, port: 9000, env: { SPOOL_SPANS_PER_SECOND: 100, SPOOL_FORCED_SPANS: 'Withdraw' } },
  bundles: [flights, bank],
  nodeSelector: { 'kubernetes.io/os': 'linux' },
  tolerations: [{ key: 'events', operator: 'Exists', effect: 'NoSchedule' }],
};
/** The values that docs/kubernetes.md gives. */
const documented = parse(
  /```yaml\n([^]*?)```/.exec(readFileSync(new URL('../../../docs/kubernetes.md', import.meta.url), 'utf8'))?.[1] ?? '',
) as object;
const good = {
  documented,
  plain: {},
  everything,
  bundles: { bundles: [flights, bank] },
  fixed: { bundles: [flights], autoscaling: { enabled: false } },
};
const bad = {
  'no-services': { services: { replicas: 0 } },
  misspelt: { service: { replicas: 2 } },
  'no-authentication': { auth: { apiKeysSecretName: '' } },
  'half-a-token': { auth: { apiKeysSecretName: '', jwt: { issuer: 'https://id' } } },
  'password-from-nowhere': { kafka: { sasl: { mechanism: 'plain' } } },
  'certificate-without-tls': { kafka: { tls: { clientCertificate: true, secretName: 'kafka' } } },
  'broker-without-port': { kafka: { brokers: 'kafka' } },
  'prefix-without-dot': { namespace: 'acme' },
  'down-to-none': { bundles: [{ ...bank, min: 0 }] },
  'min-over-max': { bundles: [{ ...bank, min: 3, max: 2 }] },
  'a-name-of-the-platform': { bundles: [{ ...bank, name: 'services' }] },
  twice: { bundles: [bank, bank] },
};

let chart: Rendered;
// The first time Maven fetches Helm.
beforeAll(async () => (chart = await renderChart({ ...good, ...bad })), 300_000);

const resources = (name: keyof typeof good): readonly Resource[] => chart.resources.get(name) ?? [];
const named = (name: keyof typeof good, kind: string, of: string): Resource => {
  const found = resources(name).find((each) => each.kind === kind && each.metadata.name === of);
  if (found === undefined)
    throw new Error(
      `no ${kind} ${of} among ${resources(name)
        .map((each) => `${each.kind} ${each.metadata.name}`)
        .join(', ')}`,
    );
  return found;
};
const all = (): readonly Resource[] => Object.keys(good).flatMap((name) => resources(name as keyof typeof good));

interface Container {
  readonly envFrom: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly [field: string]: unknown;
}
interface Pod {
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string }[];
  readonly securityContext: unknown;
  readonly terminationGracePeriodSeconds: number;
}
interface Deployment extends Resource {
  readonly spec: {
    readonly replicas?: number;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly template: { readonly metadata: { readonly labels: Readonly<Record<string, string>> }; readonly spec: Pod };
  };
}
const deployments = (name: keyof typeof good): readonly Deployment[] =>
  resources(name).filter((each): each is Deployment => each.kind === 'Deployment');
const podOf = (deployment: Deployment): Pod => deployment.spec.template.spec;

/** The environment of a container, with a stand-in for what is known in the cluster alone. */
function environment(name: keyof typeof good, deployment: Deployment): Readonly<Record<string, string>> {
  const [container] = podOf(deployment).containers;
  const env: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom) Object.assign(env, named(name, 'ConfigMap', configMapRef.name)['data']);
  for (const { name: variable, value } of container.env) {
    env[variable] = (value ?? (variable === 'POD_IP' ? '10.0.0.7' : 'x'.repeat(32))).replace(
      /\$\((\w+)\)/g,
      (_, quoted: string) => env[quoted]!,
    );
  }
  return env;
}

describe('the chart', () => {
  it('passes the lint of Helm', () => expect(chart.lint).toMatch(/^passed/));

  it.each(Object.keys(good))('is rendered to what Kubernetes and KEDA know, with the values %s', (name) => {
    expect(chart.refused.get(name)).toBeUndefined();
    const found = resources(name as keyof typeof good);
    expect(found.length).toBeGreaterThan(4);
    expect(found.flatMap((each) => problemsOf(each).map((problem) => `${each.kind} ${each.metadata.name}: ${problem}`))).toEqual([]);
  });

  it.each(Object.keys(bad))('refuses values that are wrong: %s', (name) => {
    expect(chart.resources.has(name)).toBe(false);
    expect(chart.refused.get(name)).toMatch(/don't meet the specifications|min is more than max|given twice/);
  });

  it('sets no variable that no process reads, and none that is not documented', () => {
    const source = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
    const read = [
      ...['sdk/src/settings/settings.ts', 'services/src/platform/main.ts', 'services/src/http/auth/settings.ts'],
      'examples/flights/src/settings.ts',
    ].map(source);
    const told = source('docs/configuration.md');
    const variables = new Set<string>();
    for (const name of Object.keys(good) as (keyof typeof good)[]) {
      for (const deployment of deployments(name)) Object.keys(environment(name, deployment)).forEach((each) => variables.add(each));
    }
    // Others quote it.
    variables.delete('POD_IP');
    expect(variables.size).toBeGreaterThan(20);
    expect([...variables].filter((each) => !read.some((text) => new RegExp(`\\b${each}\\b`).test(text)))).toEqual([]);
    expect([...variables].filter((each) => !told.includes(`\`${each}\``))).toEqual([]);
  });

  it('sets what the processes take', () => {
    for (const deployment of deployments('bundles')) {
      const settings = platformSettings(environment('bundles', deployment));
      expect(settings.kafka.brokers).toEqual(['kafka:9092']);
      expect(settings.endpoint.url).toBe(`http://10.0.0.7:${settings.endpoint.port}`);
      const ports = podOf(deployment).containers[0].ports.map(({ containerPort }) => containerPort);
      expect(ports).toContain(settings.endpoint.port);
    }
    expect(environment('everything', named('everything', 'Deployment', 'prod-services') as Deployment)).toMatchObject({
      ...{ KAFKA_SASL_MECHANISM: 'scram-sha-512', SPOOL_NAMESPACE: 'acme.', SPOOL_JWT_ISSUER: 'https://id' },
      ...{ SPOOL_HTTP_PORT: '9000', SPOOL_SPANS_PER_SECOND: '100' },
    });
  });

  it('mounts what it names', () => {
    for (const name of Object.keys(good) as (keyof typeof good)[]) {
      for (const deployment of deployments(name)) {
        const { containers, volumes } = podOf(deployment);
        const mounts = containers[0].volumeMounts;
        expect(mounts.map((mount) => mount.name).sort()).toEqual(volumes.map((volume) => volume.name).sort());
        const paths = Object.entries(environment(name, deployment)).filter(([variable]) => /_(FILE|DIR)$/.test(variable));
        expect(paths.filter(([, path]) => !mounts.some(({ mountPath }) => `${path}/`.startsWith(`${mountPath}/`)))).toEqual([]);
      }
    }
  });

  it('runs nobody as root, and asks after the services where they answer', () => {
    for (const name of Object.keys(good) as (keyof typeof good)[]) {
      for (const deployment of deployments(name)) {
        const pod = podOf(deployment);
        expect(pod.securityContext).toMatchObject({ runAsNonRoot: true });
        expect(pod.containers[0]['securityContext']).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true });
        expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(10);
      }
      const [services] = podOf(named(name, 'Deployment', 'prod-services') as Deployment).containers;
      expect(services).toMatchObject({
        livenessProbe: { httpGet: { path: '/livez', port: 'http' } },
        readinessProbe: { httpGet: { path: '/readyz', port: 'http' } },
      });
      expect(services.ports).toContainEqual({ name: 'http', containerPort: name === 'everything' ? 9000 : 8080 });
    }
  });

  it('selects pods that there are', () => {
    for (const name of Object.keys(good) as (keyof typeof good)[]) {
      const pods = deployments(name).map((each) => each.spec.template.metadata.labels);
      const selectors = resources(name).flatMap(({ kind, spec }) => {
        const { selector } = (spec ?? {}) as { selector?: Record<string, unknown> };
        return selector === undefined ? [] : [(kind === 'Service' ? selector : selector['matchLabels']) as Record<string, string>];
      });
      expect(selectors.length).toBeGreaterThan(2);
      for (const selector of selectors) {
        expect(pods.filter((labels) => Object.entries(selector).every(([key, value]) => labels[key] === value))).toHaveLength(1);
      }
    }
  });

  it('has KEDA ask the gateway how many instances of a bundle there are to be', () => {
    expect(named('everything', 'ScaledObject', 'prod-flights')['spec']).toMatchObject({
      scaleTargetRef: { name: 'prod-flights' },
      minReplicaCount: 2,
      maxReplicaCount: 12,
      triggers: [
        {
          type: 'metrics-api',
          metricType: 'AverageValue',
          metadata: {
            url: 'http://prod-services.events.svc:9000/api/v1/autoscale/flights',
            valueLocation: 'desired',
            targetValue: '1',
            authMode: 'bearer',
          },
          authenticationRef: { name: 'prod-autoscaler' },
        },
      ],
    });
    expect(named('everything', 'TriggerAuthentication', 'prod-autoscaler')['spec']).toEqual({
      secretTargetRef: [{ parameter: 'token', name: 'spool-autoscaler', key: 'token' }],
    });
    expect(deployments('everything').find(({ metadata }) => metadata.name === 'prod-flights')?.spec).not.toHaveProperty('replicas');
  });

  it('does without KEDA: a bundle then has as many instances as it is to have at least', () => {
    expect(resources('fixed').filter(({ apiVersion }) => apiVersion.startsWith('keda.sh'))).toEqual([]);
    expect(deployments('fixed').find(({ metadata }) => metadata.name === 'prod-flights')?.spec.replicas).toBe(2);
  });

  it('leaves bundles as they are when only the services are set otherwise', () => {
    const annotations = (name: keyof typeof good, of: string): unknown =>
      (named(name, 'Deployment', of)['spec'] as { template: { metadata: { annotations: unknown } } }).template.metadata.annotations;
    expect(annotations('bundles', 'prod-flights')).toEqual(annotations('fixed', 'prod-flights'));
    expect(annotations('bundles', 'prod-flights')).not.toEqual(annotations('everything', 'prod-flights'));
  });
});

describe('the check of resources', () => {
  it('finds a field that there is none of, one that is missing and one of a wrong type', () => {
    const [deployment] = all().filter(({ kind }) => kind === 'Deployment');
    const spec = deployment!['spec'] as Record<string, unknown>;
    const { selector: _, ...selectorless } = spec;
    expect(problemsOf({ ...deployment!, spec: { ...spec, replica: 2 } })).toEqual(['/spec/replica is no field']);
    expect(problemsOf({ ...deployment!, spec: { ...spec, replicas: '2' } })).toEqual([
      expect.stringContaining('/spec/replicas must be integer'),
    ]);
    expect(problemsOf({ ...deployment!, spec: selectorless })).toEqual([expect.stringContaining('selector')]);
  });
});
