import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { aggregate, bundle, startBundle } from '@spool/sdk';
import { connectKafka, topicCatalogue } from '@spool/streams';
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
export async function startSpool({ brokers, id, dataDir, maxInFlight = 100_000 }: ContenderConfig): Promise<Contender> {
  const kafka = await connectKafka({ brokers, clientId: 'bench' });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const running = await startBundle(bundle({ id: 'bench', version: '1.0.0', components: [Counter] }), {
    kafka,
    codec,
    topics: topicCatalogue({ namespace: namespaceOf(id) }),
    instance: 'bench-0',
    dataDir,
    log: () => undefined,
    maxInFlight,
  });
  const pad = 'x'.repeat(196);
  return {
    call: (timeoutMs) => running.gateway.send(Counter, 'Add', anyAggregate(), { n: 1, pad }, timeoutMs === undefined ? {} : { timeoutMs }),
    async close() {
      await running.close();
      await kafka.close();
    },
  };
}
