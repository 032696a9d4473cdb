import { createCodec, createHttpRegistry, createMemoryRegistry, record } from '@spool/schemas';
import { aggregate, bundle, createGateway, openRegistry, openReplies, startBundle, type Gateway } from '@spool/sdk';
import { connectKafka, topicCatalogue, type Sampling } from '@spool/streams';
import { anyAggregate, type Contender, type ContenderConfig } from './contender.js';

const Add = record('bench.Add', { n: 'int', pad: 'string' });
const Added = record('bench.Added', { n: 'int', pad: 'string' });

export const namespaceOf = (id: string): string => `${id}.`;
export const Counter = aggregate('Counter', {
  commands: { Add },
  events: { Added },
  initial: () => ({ count: 0, sum: 0 }),
  decide: { Add: ({ n, pad }) => [{ type: 'Added', data: { n, pad } }] },
  evolve: { Added: ({ count, sum }, { n }) => ({ count: count + 1, sum: sum + n }) },
});

/** Spool as a bundle runs it: schemas, state, expected outcomes, snapshots, telemetry and fencing included. Caller and aggregate share the process, as in the floor. */
export async function startSpool(config: ContenderConfig, sampling: Sampling | 'none' = {}): Promise<Contender> {
  const { brokers, dataDir, maxInFlight = 100_000 } = config;
  const kafka = await connectKafka({ brokers, clientId: 'bench' });
  const running = await startBundle(bundle({ id: 'bench', version: '1.0.0', components: [Counter] }), {
    kafka,
    ...sharedBy(config),
    instance: 'bench-0',
    dataDir,
    log: () => undefined,
    maxInFlight,
    sampling,
  });
  return {
    call: adding(running.gateway),
    async close() {
      await running.close();
      await kafka.close();
    },
  };
}

/** Callers of a bundle that `startSpool` runs in another process, so that making calls costs the one who serves them nothing but its cores. */
export async function startCallers(config: ContenderConfig): Promise<Contender> {
  const kafka = await connectKafka({ brokers: config.brokers, clientId: 'callers' });
  const parts = { kafka, ...sharedBy(config) };
  const { codec, topics } = parts;
  const producer = await kafka.producer();
  const replies = await openReplies({ ...parts, topic: topics.replies('callers'), slot: 0, now: Date.now, onError: () => undefined });
  const registry = await openRegistry({ ...parts, onError: () => undefined });
  const { maxInFlight = 100_000 } = config;
  return {
    call: adding(createGateway({ codec, topics, producer, replies, registry, source: 'callers', now: Date.now, maxInFlight })),
    async close() {
      await registry.close();
      await replies.close();
      await producer.close();
      await kafka.close();
    },
  };
}

const sharedBy = ({ id, schemasUrl }: ContenderConfig) => ({
  codec: createCodec({ registry: schemasUrl === undefined ? createMemoryRegistry() : createHttpRegistry({ url: schemasUrl }) }),
  topics: topicCatalogue({ namespace: namespaceOf(id) }),
});
/** What makes an event 200 bytes. */
export const pad = 'x'.repeat(196);
const adding =
  (gateway: Pick<Gateway, 'send'>): Contender['call'] =>
  (timeoutMs) =>
    gateway.send(Counter, 'Add', anyAggregate(), { n: 1, pad }, timeoutMs === undefined ? {} : { timeoutMs });
