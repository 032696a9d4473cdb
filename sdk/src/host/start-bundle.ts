import { createUpcasters, SpoolError, type Codec } from '@spool/schemas';
import {
  openInstance,
  type Instance,
  type Kafka,
  type Log,
  type RunningProcessor,
  type Sampling,
  type TopicCatalogue,
} from '@spool/streams';
import { aggregateHost } from '../aggregate/host.js';
import { hostFold } from '../aggregate/fold.js';
import type { Bundle, Component } from '../bundle/bundle.js';
import { describe } from '../bundle/describe.js';
import { invokedBy } from '../bundle/descriptor.js';
import { createEndpoint, type Endpoint, type EndpointSettings } from '../endpoint/endpoint.js';
import { createGateway, defaultMaxInFlight } from '../gateway/gateway.js';
import type { Gateway, QueryGateway } from '../gateway/messages.js';
import { openInstances, type Instances } from '../cluster/instances.js';
import { openLeasedReplies } from '../gateway/leased-replies.js';
import { startInvokers } from '../invoker/host.js';
import { hostObserver } from '../observer/host.js';
import { checkReads } from '../projection/check-reads.js';
import { hostProjection, type ProjectedModel } from '../projection/host.js';
import type { PostgresDatabase } from '../postgres/database.js';
import { checkAsks } from '../projector/asks.js';
import { openGate, type Gate } from '../projector/gate.js';
import { hostProjector } from '../projector/host.js';
import { serviceHost } from '../service/host.js';
import { hostStreams } from '../service/stream-host.js';
import { priorities } from '../service/priorities.js';
import { hostSaga } from '../saga/host.js';
import { openAliases } from '../registry/aliases.js';
import { openRegistry, type Registry } from '../registry/registry.js';
import type { Events } from '../routed/events.js';
import { openAnnouncements } from './announcements.js';
import { bundleEvents } from './bundle-events.js';
import type { Here, Hosting } from './hosting.js';
import { createReplySender } from './replying.js';

export interface BundleConfig {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  /** Stable over restarts and unique among running instances, such as `flights-0`. */
  readonly instance: string;
  readonly dataDir: string;
  readonly log: Log;
  /** @default Date.now */
  readonly now?: () => number;
  /** How long outcomes are kept for repeated commands, in milliseconds. @default 24 hours */
  readonly outcomeRetentionMs?: number;
  /** Requests of its own gateway in flight; more are refused with OVERLOADED. @default 2048 */
  readonly maxInFlight?: number;
  /**
   * `instance`: one transaction for all partitions of this instance, ownership by claims in the log. `partition`: one transaction and one
   * transactional id for each partition, which costs more under load. @default 'instance'
   */
  readonly transactions?: 'instance' | 'partition';
  /** How long an instance may be silent before its aggregates go to others, in milliseconds; brokers refuse less than they are set to. @default 6000 */
  readonly sessionTimeoutMs?: number;
  /** How long the start waits for projectors with `gate`; what they have built until then stays, for the next start. Milliseconds. @default 1 hour */
  readonly gateWithinMs?: number;
  /** Where projectors made by `postgresProjector` keep their read models; closed by whoever opened it. */
  readonly postgres?: PostgresDatabase;
  /** Which spans are sent; `none` sends no telemetry at all, neither metrics nor lag. @default 1,000 a second at the most */
  readonly sampling?: Sampling | 'none';
  /** Where it takes calls of other instances, once something wants any. @default this machine alone, on any port that is free */
  readonly endpoint?: EndpointSettings;
}

export interface RunningBundle extends AsyncDisposable {
  readonly instance: Instance;
  /** Sends commands and asks queries from inside the bundle. */
  readonly gateway: Gateway;
  /** What all bundles hold, and who runs: local tables, so that finding somebody needs no call. */
  readonly registry: Registry;
  readonly instances: Instances;
  /** Takes calls of other instances; it listens from its first route on, and the table of instances tells where. */
  readonly endpoint: Endpoint;
  /** What its components answer in this process. */
  readonly here: Here;
  /** Fires what the bundle declares, and subscribes to what all bundles of its root fire; they end with the bundle. */
  readonly events: Events;
  /** Resolves when all invokers have ended; rejects with the first error of one. */
  readonly invokers: Promise<void>;
  /** Takes the bundle out of the registry, finishes what is under way and stops. */
  close(): Promise<void>;
}

const hour = 60 * 60 * 1000;
const day = 24 * 60 * 60 * 1000;
/** How long a bundle waits for a reply slot of its own before it shares one, in milliseconds. */
const leaseWithinMs = 5000;

type Of<K extends Component['kind']> = Extract<Component, { kind: K }>;

/** Runs every component of a bundle in this process and announces it. */
export async function startBundle(bundle: Bundle, config: BundleConfig): Promise<RunningBundle> {
  const now = config.now ?? Date.now;
  const { kafka, topics, log } = config;
  const codec = bundle.upcasters === undefined ? config.codec : config.codec.withUpcasters(createUpcasters(bundle.upcasters));
  const of = <K extends Component['kind']>(kind: K): Of<K>[] =>
    bundle.components.filter((component): component is Of<K> => component.kind === kind);
  // 1. Everything that can be wrong with the bundle is found before anything starts.
  const descriptor = describe(bundle, topics);
  for (const projection of of('projection')) {
    if (!of('projector').some((projector) => projector.name === projection.reads.name)) {
      throw new SpoolError(
        'INVALID_CONFIG',
        `projection ${projection.name} reads ${projection.reads.name}, which is not in bundle ${bundle.id}`,
      );
    }
    checkReads(projection);
  }
  checkAsks(bundle);
  // 2. Its topics.
  await kafka.admin.ensureTopics([
    ...of('aggregate').flatMap(({ name }) => [topics.commands(name), topics.events(name), topics.snapshots(name), topics.queries(name)]),
    ...of('service').flatMap(({ name }) => [
      ...priorities.map(([priority]) => topics.service(name, priority)),
      topics.events(name),
      topics.snapshots(name),
    ]),
    ...of('projection').map(({ name }) => topics.queries(name)),
  ]);
  const { id, version } = bundle;
  const instance = await openInstance({
    kafka,
    codec,
    topics,
    bundle: id,
    version,
    instance: config.instance,
    dataDir: config.dataDir,
    log,
    now,
    ...(config.sampling === undefined ? {} : { sampling: config.sampling }),
  });
  const stop = new AbortController();
  const onError = (error: unknown): void => log('warn', 'a record of the platform was passed over', { error: String(error) });
  const opened: { close(): Promise<void> }[] = [instance];
  let ending: Promise<void> | undefined;
  const closeAll = (): Promise<void> =>
    (ending ??= (async () => {
      for (const each of opened.toReversed()) await each.close();
    })());
  let open!: (gatewayOf: (source: string) => Gateway) => void;
  let refuse!: (reason: unknown) => void;
  /** Projectors may ask before there is something to ask by. */
  const opening = new Promise<(source: string) => Gateway>((resolve, reject) => ([open, refuse] = [resolve, reject]));
  opening.catch(() => undefined);
  try {
    const events = bundleEvents(bundle, instance);
    // Closed behind the instance: until then handlers may fire.
    opened.unshift(events);
    // 3. Its processors: read models before the projections that answer from them.
    const aliases = await openAliases({ kafka, codec, topics, onError });
    opened.push(aliases);
    const hosting: Hosting = {
      bundle,
      instance,
      replies: createReplySender(instance),
      events,
      outcomeRetentionMs: config.outcomeRetentionMs ?? day,
      transactions: config.transactions ?? 'instance',
      sessionTimeoutMs: config.sessionTimeoutMs,
      aliases,
      postgres: config.postgres,
      here: { queries: new Map(), streams: new Map() },
    };
    for (const saga of of('saga')) await hostSaga(hosting, saga);
    for (const aggregate of of('aggregate')) {
      const host = aggregateHost(hosting, aggregate);
      await instance.kafka.admin.ensureTopics([topics.deadLetters(host.consumer)]);
      await instance.run(host);
      await hostFold(hosting, aggregate);
    }
    for (const service of of('service')) {
      const host = serviceHost(hosting, service);
      await instance.kafka.admin.ensureTopics([topics.deadLetters(host.consumer)]);
      await instance.run(host);
      await hostStreams(hosting, service);
    }
    const models = new Map<string, ReadonlyMap<string, ProjectedModel & { readonly gate: Gate }>>();
    for (const projector of of('projector')) {
      let asking: Gateway | undefined;
      const ask: QueryGateway['ask'] = async (...question) => (asking ??= (await opening)(`${id}/${projector.name}`)).ask(...question);
      const hosts = await hostProjector(hosting, projector, { ask });
      const gated = [...hosts].map(([bound, { model, processor, close }]) => {
        if (close !== undefined) opened.push({ close });
        const built = { caughtUp: (signal: AbortSignal) => (model.caughtUp ?? processor.caughtUp).call(processor, signal) };
        const gate = openGate(projector.name, { ...built, status: () => processor.status() }, now);
        return [bound, { model, gate, ready: gate.passable }] as const;
      });
      models.set(projector.name, new Map(gated));
    }
    for (const projection of of('projection')) opened.push(await hostProjection(hosting, projection, models.get(projection.reads.name)!));
    // 4. Its gateway, which projectors may be waiting for.
    const instances = await openInstances({ kafka, codec, topics, onError });
    opened.push(instances);
    const registry = await openRegistry({ kafka, codec, topics, onError });
    opened.push(registry);
    const pool = await openLeasedReplies({ instance, topic: topics.replies(id), instances, lease: 'preferred', withinMs: leaseWithinMs });
    opened.push(pool);
    const limit = config.maxInFlight === undefined ? {} : { maxInFlight: config.maxInFlight };
    instance.load.add(() => ({ inFlight: pool.waiting, limit: config.maxInFlight ?? defaultMaxInFlight }));
    const gatewayOf = (source: string): Gateway =>
      createGateway({ codec, topics, producer: instance.producer, replies: pool, registry, source, now, ...limit });
    const gateway = gatewayOf(id);
    open(gatewayOf);
    const endpoint = createEndpoint({
      ...config.endpoint,
      self: { instance: instance.id, bundle: id, payloads: invokedBy(descriptor) },
      dataDir: config.dataDir,
      now,
      log,
      onLocation: instance.locate,
    });
    opened.push(endpoint);
    // 5. Read models that are waited for, what acts by itself, its announcement, its invokers.
    instance.onDrain(() => stop.abort());
    for (const { name, gate } of of('projector')) {
      if (!gate) continue;
      for (const { gate: each } of models.get(name)!.values()) await each.passed(config.gateWithinMs ?? hour, stop.signal);
    }
    const observers: RunningProcessor[] = [];
    for (const observer of of('observer')) observers.push(...(await hostObserver(hosting, observer, gatewayOf(`${id}/${observer.name}`))));
    const announcements = await openAnnouncements(instance);
    await announcements.join(descriptor);
    let invokers: { readonly done: Promise<void> } | undefined;
    const retire = async (): Promise<void> => {
      stop.abort();
      await announcements.leave();
      await invokers?.done.catch(() => undefined);
    };
    instance.onDrain(retire);
    let closing: Promise<void> | undefined;
    const close = (): Promise<void> =>
      (closing ??= (async () => {
        await retire();
        // They wait for replies: they end before what gives them.
        for (const observer of observers) await observer.close();
        await closeAll();
      })());
    try {
      invokers = await startInvokers(hosting, of('invoker'), gatewayOf, stop.signal);
    } catch (error) {
      await close();
      throw error;
    }
    instance.ready();
    return {
      instance,
      gateway,
      registry,
      instances,
      endpoint,
      events,
      here: hosting.here,
      invokers: invokers.done,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    refuse(error);
    await closeAll();
    throw error;
  }
}
