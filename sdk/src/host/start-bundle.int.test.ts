import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import {
  ControlOrderSchema,
  createCodec,
  createHttpRegistry,
  createMemoryRegistry,
  headerNames,
  type Codec,
  type SpoolError,
} from '@spool/schemas';
import { startRegistryServer, until } from '@spool/schemas/testing';
import { connectKafka, topicCatalogue, type Kafka, type TopicCatalogue, readTopic } from '@spool/streams';
import { Counter, counting, Sums } from '../testing/counter.js';
import { startBundle, type RunningBundle } from './start-bundle.js';

let kafka: Kafka;
let codec: Codec;
let topics: TopicCatalogue;
let dataDir: string;
const open: RunningBundle[] = [];

beforeEach(async () => {
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  codec = createCodec({ registry: createMemoryRegistry() });
  topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-bundle-'));
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
let transactions: 'instance' | 'partition' = 'instance';
async function start(instance: string): Promise<RunningBundle> {
  const running = await startBundle(counting, { kafka, codec, topics, instance, dataDir, log: () => undefined, transactions });
  open.push(running);
  return running;
}
const owned = ({ instance }: RunningBundle): number =>
  instance.status().find(({ consumer }) => consumer === 'counting.Counter-1.default')?.partitions.length ?? 0;

describe('a bundle on a real broker', () => {
  it('lets whoever wrote read it back, at once and after everything was lost but the log', async () => {
    const first = await start('counting-0');
    let position = '';
    for (let n = 1; n <= 20; n++) ({ position } = await first.gateway.send(Counter, 'Add', `c${n % 5}`, { n }));
    const answer = await first.gateway.ask(Sums, 'Total', {}, { after: position });
    expect(answer.view.sum).toBeGreaterThanOrEqual(20);
    await open.pop()!.close();
    rmSync(dataDir, { recursive: true, force: true });
    const second = await start('counting-1');
    expect((await second.gateway.send(Counter, 'Add', 'c0', { n: 1 }, { expectedVersion: 4 })).version).toBe(5);
    const all = await second.gateway.send(Counter, 'Add', 'c1', { n: 0 });
    await until(() => second.instance.status().every(({ partitions }) => partitions.every((at) => at.position >= at.end)));
    expect((await second.gateway.ask(Sums, 'Total', {}, { after: all.position })).view).toEqual({ events: 22, sum: 211 });
  });

  it.each(['partition', 'instance'] as const)(
    'moves partitions between instances under load, a transaction for each %s, and every command counts once',
    async (scope) => {
      transactions = scope;
      const one = await start('counting-0');
      await until(() => owned(one) === 3);
      let sent = 0;
      let on = true;
      const failures: string[] = [];
      const load = Array.from({ length: 8 }, async (_, worker) => {
        while (on) {
          const commandId = randomUUID();
          // An indeterminate answer is resolved by the same command id.
          for (;;) {
            try {
              await one.gateway.send(Counter, 'Add', `c${worker}`, { n: 1 }, { commandId, timeoutMs: 5000 });
              sent += 1;
              break;
            } catch (error) {
              const { code, entry } = error as SpoolError;
              if (entry.retryable !== 'backoff') {
                failures.push(code);
                break;
              }
            }
          }
        }
      });
      const two = await start('counting-1');
      await until(() => owned(one) > 0 && owned(two) > 0 && owned(one) + owned(two) === 3);
      const three = await start('counting-2');
      await until(() => [one, two, three].every((each) => owned(each) === 1));
      await open.splice(open.indexOf(two), 1)[0]!.close();
      await until(() => owned(one) + owned(three) === 3);
      on = false;
      await Promise.all(load);
      expect(failures).toEqual([]);
      const versions = await Promise.all(
        Array.from({ length: 8 }, (_, worker) => one.gateway.send(Counter, 'Add', `c${worker}`, { n: 0 })),
      );
      expect(versions.reduce((sum, { version }) => sum + version - 1, 0)).toBe(sent);
    },
  );

  it('is rewound by an order on the control topic, while it serves', async () => {
    const running = await start('counting-0');
    let position = '';
    for (let n = 0; n < 30; n++) ({ position } = await running.gateway.send(Counter, 'Add', 'c', { n: 1 }));
    const before = await running.gateway.ask(Sums, 'Total', {}, { after: position });
    const ends = await kafka.admin.offsets(topics.events('Counter').name);
    const places = (which: 'earliest' | 'latest') =>
      ends.map(({ topic, partition, ...at }) => ({ topic, partition, offset: Number(at[which]) }));
    const encoder = await codec.encoder(topics.control.name, ControlOrderSchema);
    const order = {
      id: 'o1',
      consumer: 'counting.Totals-1.default',
      action: 'rewind' as const,
      replayId: 'r1',
      positions: places('earliest'),
      targets: places('latest'),
      resetState: true,
      filter: null,
      records: null,
      key: null,
      letter: null,
      value: null,
      recordsPerSecond: null,
      reason: 'test',
      actor: 'test',
      at: Date.now(),
    };
    await running.instance.producer.send({ topic: topics.control.name, key: order.consumer, value: encoder.encode(order) });
    const status = () => running.instance.status().find(({ consumer }) => consumer === order.consumer)!;
    await until(() => status().replays[0]?.state === 'completed');
    expect(status().replays[0]).toMatchObject({ id: 'r1', records: 30 });
    expect((await running.gateway.ask(Sums, 'Total', {})).view).toEqual(before.view);
  });

  it.each(['partition', 'instance'] as const)(
    'fences an owner that was stopped past its session and goes on, a transaction for each %s',
    async (scope) => {
      transactions = scope;
      // The schemas are shared through a registry of the test's own, which both processes reach.
      await using registry = await startRegistryServer();
      const { url } = registry;
      codec = createCodec({ registry: createHttpRegistry({ url }) });
      const script = fileURLToPath(new URL('../testing/counter-process.js', import.meta.url));
      const folder = join(dataDir, 'zombie');
      const zombie = fork(script, [testKafka().join(','), url, topics.namespace, 'counting-9', folder, scope]);
      try {
        await once(zombie, 'message');
        const one = await start('counting-0');
        await until(() => owned(one) > 0 && owned(one) < 3);
        const sendAll = (n: number) =>
          Promise.all(Array.from({ length: 12 }, (_, k) => one.gateway.send(Counter, 'Add', `c${k}`, { n }, { timeoutMs: 20_000 })));
        await sendAll(1);
        // In mid-work: commands are on their way to it when it stops.
        const pending = Array.from({ length: 12 }, (_, k) =>
          one.gateway.send(Counter, 'Add', `c${k}`, { n: 1 }, { commandId: `p${k}`, timeoutMs: 25_000 }),
        );
        zombie.kill('SIGSTOP');
        await until(() => owned(one) === 3);
        await Promise.all(pending);
        await sendAll(1);
        zombie.kill('SIGCONT');
        // It wakes up with what it had in hand, and may write none of it.
        await sendAll(1);
        await until(() => owned(one) < 3);
        await sendAll(1);
      } finally {
        zombie.kill('SIGKILL');
      }
      const versions = new Map<string, number[]>();
      for (const { key, headers } of await readTopic(kafka, topics.events('Counter').name)) {
        const id = key!.toString();
        versions.set(id, [...(versions.get(id) ?? []), Number(headers[headerNames.aggregateVersion]!.toString())]);
      }
      expect([...versions.keys()].length).toBe(12);
      for (const each of versions.values()) expect(each).toEqual([1, 2, 3, 4, 5]);
    },
  );
});
