import { createCodec, createHttpRegistry } from '@spool/schemas';
import { openRegistry, startBundle } from '@spool/sdk';
import { replayRoutes } from '@spool/services/gateway';
import { createAuth, createLog, startHttp } from '@spool/services/http';
import { registryProcessor } from '@spool/services/registry';
import { noEvents, openReplayService } from '@spool/services/replay';
import { connectKafka, openInstance, platformBundle, topicCatalogue } from '@spool/streams';
import { Registry as Metrics } from 'prom-client';
import { counting, type Effect, type ReplayTampering } from './counting.js';

/** What a process that is to be killed is started with, as its only argument. */
export interface ReplayProcess {
  readonly instance: string;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly dataDir: string;
  readonly sessionTimeoutMs: number;
  /** Of the service; absent of a worker. */
  readonly port?: number;
  /** Where a worker tells of what it acts on. @default nowhere */
  readonly receiver?: string;
  readonly tampering: ReplayTampering | undefined;
}

const log = (level: string, message: string, fields?: object): void => console.log(new Date().toISOString(), level, message, fields ?? '');
const connected = async ({ brokers, instance, schemaRegistryUrl, namespace, dataDir }: ReplayProcess) => ({
  kafka: await connectKafka({ brokers, clientId: instance }),
  codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }),
  topics: topicCatalogue({ namespace }),
  ...{ instance, dataDir, log, now: Date.now },
});

/** An instance of the bundle whose read model is replayed. */
export async function startWorker(config: ReplayProcess): Promise<{ close(): Promise<void> }> {
  const { instance, receiver, sessionTimeoutMs } = config;
  const shared = await connected(config);
  const telling: Promise<unknown>[] = [];
  const act = (eventId: string): void => {
    if (receiver === undefined) return;
    const body = JSON.stringify({ eventId, instance } satisfies Effect);
    telling.push(
      fetch(receiver, { method: 'POST', body }).catch((error: unknown) => log('error', 'an effect was not told', { error: String(error) })),
    );
  };
  const running = await startBundle(counting(act, config.tampering), { ...shared, sessionTimeoutMs });
  return {
    async close() {
      await running.close();
      await Promise.all(telling);
      await shared.kafka.close();
    },
  };
}

/** The replay service behind HTTP. */
export async function startService(config: ReplayProcess): Promise<{ close(): Promise<void> }> {
  const shared = await connected(config);
  const { kafka, codec, topics } = shared;
  const platform = await openInstance({ ...shared, bundle: platformBundle, version: '1.0.0' });
  await platform.run({ ...registryProcessor(platform), sessionTimeoutMs: config.sessionTimeoutMs });
  const registry = await openRegistry({ kafka, codec, topics, onError: (error) => log('warn', String(error)) });
  const replays = await openReplayService({ instance: platform, registry, ...noEvents });
  const http = await startHttp({
    port: config.port ?? 0,
    routes: replayRoutes(replays),
    auth: await createAuth(),
    info: { name: 'chaos', title: 'Replays', version: '1.0.0' },
    metrics: new Metrics(),
    log: createLog({ name: 'chaos', level: 'warn' }),
    limits: {},
  });
  return {
    async close() {
      for (const part of [http, replays, registry, platform, kafka]) await part.close();
    },
  };
}
