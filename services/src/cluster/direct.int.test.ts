import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { aggregate, bundle, invoker, service, startBundle, streaming, type Bundle, type RunningBundle } from '@spool/sdk';
import { connectDirect, serveDirect, type Direct } from '@spool/sdk/direct';
import { connectKafka, leaseGrantor, openInstance, platformBundle, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { registryProcessor } from '../registry/index.js';
import { clusterProcessor } from './index.js';

const Counter = aggregate('Counter', {
  commands: { Add: record('direct.Add', { n: 'int' }) },
  events: { Added: record('direct.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => [{ type: 'Added', data: { n } }] },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
const Counts = service('Counts', {
  commands: {},
  streams: {
    Count: streaming({
      command: record('direct.Count', { to: 'int' }),
      events: { Counted: record('direct.Counted', { n: 'int' }) },
      resumable: true,
      async *handle({ to }, { after }) {
        for (let n = after + 1; n <= to; n++) {
          await new Promise((resolve) => setImmediate(resolve));
          yield { type: 'Counted' as const, data: { n } };
        }
      },
    }),
  },
  handle: {},
});
const counting = bundle({ id: 'counting', version: '1.0.0', components: [Counter, Counts] });
const calling = bundle({
  ...{ id: 'calling', version: '1.0.0' },
  components: [invoker('Caller', { sends: [Counter, Counts], run: () => Promise.resolve() })],
});

describe('direct calls on a real broker, to whoever the tables of the cluster name', () => {
  const topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const log = (): void => undefined;
  let dataDir: string;
  let kafka: Kafka;
  let platform: Instance;
  let served: RunningBundle[];
  let caller: RunningBundle;
  let direct: Direct;

  const start = (what: Bundle, instance: string): Promise<RunningBundle> =>
    startBundle(what, { kafka, codec, topics, instance, dataDir, log });
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'spool-direct-'));
    kafka = await connectKafka({ brokers: testKafka(), clientId: 'direct-test' });
    const about = { bundle: platformBundle, version: '1.0.0', instance: 'platform-0' };
    platform = await openInstance({ kafka, codec, topics, dataDir, log, now: Date.now, ...about });
    await platform.run(leaseGrantor(platform));
    await platform.run(clusterProcessor(platform));
    await platform.run(registryProcessor(platform));
    served = await Promise.all(['counting-0', 'counting-1'].map((instance) => start(counting, instance)));
    for (const each of served) await serveDirect(each);
    caller = await start(calling, 'calling-0');
    direct = connectDirect(caller);
  }, 120_000);
  afterAll(async () => {
    await direct.close();
    for (const each of [caller, ...served]) await each.close();
    await platform.close();
    await kafka.close();
    rmSync(dataDir, { recursive: true, force: true });
  }, 60_000);

  it('apply each command once, and go on while an instance leaves', async () => {
    await until(() => caller.registry.payload('command', 'Add') !== undefined, 60_000);
    await until(() => ['counting-0', 'counting-1'].every((id) => caller.instances.get(id)?.location != null));
    const first = await direct.send(Counter, 'Add', 'ada', { n: 1 }, { commandId: 'first' });
    expect(first).toMatchObject({ status: 'applied', version: 1 });
    expect(await direct.send(Counter, 'Add', 'ada', { n: 1 }, { commandId: 'first' })).toMatchObject({ status: 'duplicate', version: 1 });

    const counted: number[] = [];
    let left: Promise<void> | undefined;
    for await (const { data } of direct.stream(Counts, 'Count', { to: 2000 }, { resumeWithinMs: 20_000 })) {
      counted.push(data.n);
      // One of the two has it; whichever goes, it comes whole.
      if (data.n === 500) left = served.shift()!.close();
    }
    await left;
    expect(counted).toEqual(Array.from({ length: 2000 }, (_, n) => n + 1));
    const versions = await Promise.all(
      Array.from({ length: 20 }, () => direct.send(Counter, 'Add', 'ada', { n: 1 }, { timeoutMs: 20_000 })),
    );
    expect(versions.map(({ version }) => version).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n + 2));
  }, 120_000);
});
