import { tmpdir } from 'node:os';
import { createHttpRegistry } from '@spool/schemas';
import {
  connectPlatform,
  createGateway,
  defaultMaxInFlight,
  openInstances,
  openLeasedReplies,
  openRegistry,
  type PlatformSettings,
} from '@spool/sdk';
import { connectKafka, leaseGrantor, openInstance, platformBundle, platformTopics, type Kafka, type Log } from '@spool/streams';
import { Registry as Metrics } from 'prom-client';
import type { Logger } from 'pino';
import { autoscalerProcessor, openBalances, openPolicies } from '../autoscaler/index.js';
import { refuseHalfRestored } from '../backup/index.js';
import { clusterProcessor, openDrains, openSettings } from '../cluster/index.js';
import { openConsumerService, type ConsumerService } from '../consumers/index.js';
import { createVerifier, eventTails, openEventStore } from '../event-store/index.js';
import { asyncApiRoute, gatewayRoutes, streamSocket, withMessages } from '../gateway/index.js';
import { createAuth, startHttp, type AuthConfig, type HttpOptions } from '../http/index.js';
import { interactionProcessor, openInteractions, openRegistrar, registryProcessor } from '../registry/index.js';
import { platformMetrics } from './metrics.js';
import { openReplayService, type Behind } from '../replay/index.js';
import { startSchemaRegistry } from '../schema-registry/index.js';
import { startTelemetry } from '../telemetry/index.js';
import { openTopics } from '../topics/index.js';

export interface PlatformServicesConfig extends PlatformSettings {
  readonly version: string;
  /** Stable over restarts and unique among the running ones. */
  readonly instance: string;
  readonly dataDir: string;
  readonly http: Pick<HttpOptions, 'port' | 'host' | 'tls' | 'limits' | 'allowedHosts' | 'trustProxy'>;
  readonly auth: AuthConfig;
  /** A port starts the registry here; a URL uses one that runs elsewhere. */
  readonly schemaRegistry: { readonly port: number } | { readonly url: string };
  readonly clickhouse: { readonly url: string; readonly username: string; readonly password: string };
  /** Requests in flight before the gateway refuses more. @default 2048 */
  readonly maxInFlight?: number;
  readonly log: Logger;
}

export interface PlatformServices extends AsyncDisposable {
  readonly url: string;
  readonly schemaRegistryUrl: string;
  /** Stops taking requests, finishes what is under way, and stops the services in the reverse order of their start. */
  close(): Promise<void>;
}

/** All services of the platform in one process. HTTP opens last, when everything behind it is ready. */
export async function startPlatformServices(config: PlatformServicesConfig): Promise<PlatformServices> {
  const started: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    started.push(part);
    return part;
  };
  const close = async (): Promise<void> => {
    for (const part of started.splice(0).reverse()) await part.close();
  };
  try {
    return await start(config, keep, close);
  } catch (error) {
    await close();
    throw error;
  }
}

type Keep = <T extends { close(): Promise<void> }>(part: T) => T;

async function start(config: PlatformServicesConfig, keep: Keep, close: () => Promise<void>): Promise<PlatformServices> {
  const { topics } = config;
  const now = Date.now;
  const log: Log = (level, message, fields) => config.log[level](fields ?? {}, message);
  const onError = (error: unknown): void => log('warn', 'a record of the platform was passed over', { error: String(error) });

  // 1. The schema registry, which everything that writes needs.
  let schemaRegistryUrl: string;
  if ('url' in config.schemaRegistry) schemaRegistryUrl = config.schemaRegistry.url;
  else {
    const kafka: Kafka = keep(await connectKafka({ ...config.kafka, clientId: 'spool-schema-registry' }));
    // Before anything writes to a topic.
    await refuseHalfRestored(kafka, topics);
    const registry = keep(
      await startSchemaRegistry({ kafka, port: config.schemaRegistry.port, topic: `${topics.namespace}_schemas`, log }),
    );
    schemaRegistryUrl = registry.url;
  }

  // 2. This process as an instance, and the registry of bundles.
  const { kafka, codec } = await connectPlatform({ ...config, schemaRegistryUrl, clientId: config.instance, log });
  keep(kafka);
  await refuseHalfRestored(kafka, topics);
  await kafka.admin.ensureTopics(platformTopics(topics));
  const { version, instance: id, dataDir } = config;
  const instance = keep(
    await openInstance({
      kafka,
      codec,
      topics,
      bundle: platformBundle,
      version,
      instance: id,
      dataDir,
      log,
      now,
      sampling: config.sampling,
    }),
  );
  await instance.run(leaseGrantor(instance));
  await instance.run(clusterProcessor(instance));
  await instance.run(registryProcessor(instance));
  await instance.run(await interactionProcessor(instance));
  const policies = keep(await openPolicies(instance));
  await instance.run(autoscalerProcessor(instance, policies));
  const balances = keep(await openBalances({ kafka, codec, topics, onError }));
  const registry = keep(await openRegistry({ kafka, codec, topics, onError }));
  const instances = keep(await openInstances({ kafka, codec, topics, onError }));
  const interactions = keep(await openInteractions(instance));

  // 3. The services behind the gateway.
  // The grantor may run in this very process, and in another one as well.
  const replies = keep(await openLeasedReplies({ instance, topic: topics.replies('gateway'), instances, lease: 'required' }));
  const limit = config.maxInFlight === undefined ? {} : { maxInFlight: config.maxInFlight };
  instance.load.add(() => ({ inFlight: replies.waiting, limit: config.maxInFlight ?? defaultMaxInFlight }));
  const prometheus = new Metrics();
  const metrics = platformMetrics({ registry: prometheus, instance });
  const gateway = createGateway({ codec, topics, producer: instance.producer, replies, registry, source: 'gateway', now, ...limit });
  const eventStore = keep(openEventStore({ instance, registry, gateway }));
  const drains = await openDrains(instance, instances);
  const settings = await openSettings(instance);
  const schemas = createHttpRegistry({ url: schemaRegistryUrl });
  const registrar = await openRegistrar({ instance, registry, schemas });
  const topicService = openTopics({ kafka, codec, producer: instance.producer, topics, registry: schemas, now });
  const consumers = keep(await openConsumerService(instance, registry));
  metrics.follow(consumers);
  const tails = eventTails(instance, registry);
  const verifier = createVerifier({ instance, registry, gateway, scratchDir: tmpdir() });
  const telemetry = keep(
    await startTelemetry({ instance, registry, onInsert: metrics.inserted, clickhouse: { ...config.clickhouse, database: 'spool' } }),
  );
  const replays = keep(
    await openReplayService({
      instance,
      registry,
      eventStore,
      events: telemetry.events,
      own: () => telemetry.targets(),
      lags: () => lagsOf(consumers),
    }),
  );

  // 4. The way in.
  const info = { name: 'gateway', title: 'Spool', version, description: 'Commands, queries, events and replays over Kafka' };
  const http = keep(
    await startHttp({
      ...config.http,
      routes: [
        asyncApiRoute(info, registry),
        ...gatewayRoutes({
          ...{
            gateway: metrics.measured(gateway),
            eventStore,
            replays,
            consumers,
            registry,
            registrar,
            interactions,
            instances,
            drains,
            settings,
            policies,
            balances,
          },
          ...{ events: telemetry.events, figures: telemetry.figures, tails, verifier, topics, topicService, now },
        }),
      ],
      described: { with: (document) => withMessages(document, registry), onChange: registry.onChange },
      sockets: [streamSocket({ tails, topics })],
      auth: await createAuth(config.auth),
      info,
      metrics: prometheus,
      log: config.log,
      readiness: [
        { name: 'telemetry', check: () => telemetry.problem() },
        { name: 'replies', check: () => (replies.held ? undefined : 'no reply slot is leased') },
      ],
    }),
  );
  instance.ready();
  return { url: http.url, schemaRegistryUrl, close, [Symbol.asyncDispose]: close };
}

const lagsOf = async (consumers: ConsumerService): Promise<readonly Behind[]> =>
  (await consumers.list()).map(({ id, lag, recordsPerSecond }) => ({ consumer: id, seconds: lag.seconds, rate: recordsPerSecond }));
