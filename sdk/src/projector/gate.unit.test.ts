import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createMemoryCluster, topicCatalogue, type Kafka } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type BundleConfig, type RunningBundle } from '../host/start-bundle.js';
import { invoker } from '../invoker/invoker.js';
import { projection } from '../projection/projection.js';
import { Counter, counting } from '../testing/counter.js';
import { record } from '@spool/schemas';
import { projector, table } from './projector.js';

const topics = topicCatalogue({ partitions: 1 });
let kafka: Kafka;
let config: Omit<BundleConfig, 'instance'>;
let release: () => void;
let released: Promise<void>;
let entered: number;
let invoked: boolean;
let running: RunningBundle | undefined;
beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  config = { kafka, codec, topics, dataDir: mkdtempSync(join(tmpdir(), 'spool-gate-')), log: () => undefined };
  released = new Promise((resolve) => (release = resolve));
  entered = 0;
  invoked = false;
  const first = await startBundle(counting, { ...config, instance: 'counting-0' });
  for (let n = 0; n < 3; n++) await first.gateway.send(Counter, 'Add', 'a', { n: 1 });
  await first.close();
});
afterEach(async () => {
  release();
  await running?.close();
  running = undefined;
  await kafka.close();
  rmSync(config.dataDir, { recursive: true, force: true });
});

/** Its read model comes into being when the test says so. */
function built(gate: boolean) {
  const Slow = projector('Slow', {
    of: Counter,
    gate,
    tables: { sums: table<{ sum: number }>() },
    on: {
      Added: async ({ n }, { sums }) => {
        entered += 1;
        await released;
        sums.put('all', { sum: (sums.get('all')?.sum ?? 0) + n });
      },
    },
  });
  const Sum = projection('Sum', {
    reads: Slow,
    queries: { Sum: { request: record('gate.Sum', {}), view: record('gate.SumView', { sum: 'int' }) } },
    answer: { Sum: (_, { sums }) => sums.get('all') },
  });
  const Once = invoker('Once', {
    run: () => {
      invoked = true;
      return Promise.resolve();
    },
  });
  return { Sum, later: bundle({ id: 'later', version: '1.0.0', components: [Slow, Sum, Once] }) };
}
const announced = async (): Promise<bigint> =>
  (await kafka.admin.offsets(topics.announcements.name)).reduce((sum, { latest }) => sum + latest, 0n);

describe('a read model that is being built', () => {
  it('keeps its bundle unannounced and its invokers from running, where it is the gate', async () => {
    const before = await announced();
    const { later, Sum } = built(true);
    const starting = startBundle(later, { ...config, instance: 'later-0' });
    await until(() => entered > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([invoked, await announced()]).toEqual([false, before]);
    release();
    running = await starting;
    expect((await announced()) > before).toBe(true);
    expect((await running.gateway.ask(Sum, 'Sum', {})).view).toEqual({ sum: 3 });
    await until(() => invoked);
  });

  it('is not answered from: the caller is told how far it is, and may come again', async () => {
    const { later, Sum } = built(false);
    running = await startBundle(later, { ...config, instance: 'later-0' });
    await until(() => invoked && entered > 0);
    await expect(running.gateway.ask(Sum, 'Sum', {})).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      retryAfterMs: 1000,
      message: expect.stringMatching(/^the read model of Slow is being built: 0 of \d+ records$/) as string,
    });
    // Whoever asks just before it is built waits for it.
    const asked = running.gateway.ask(Sum, 'Sum', {});
    release();
    expect((await asked).view).toEqual({ sum: 3 });
  });

  it('ends a start that it keeps waiting for too long', async () => {
    const { later } = built(true);
    const starting = startBundle(later, { ...config, instance: 'later-0', gateWithinMs: 30 });
    setTimeout(release, 200);
    await expect(starting).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(invoked).toBe(false);
  });
});
