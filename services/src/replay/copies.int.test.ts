import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry, type SpoolError } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { openRegistry, startBundle, toToken, type Registry, type RunningBundle } from '@spool/sdk';
import { connectKafka, openInstance, partitionKey, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { registryProcessor } from '../registry/index.js';
import { openReplayService, type ReplayService } from './replay-service.js';
import { noEvents } from './starts.js';
import { replayRequest } from './requests.js';
import { Counter, counting, Sums } from './testing.js';

const program = fileURLToPath(new URL('./counting-process.js', import.meta.url));
const actor = { name: 'ada', roles: ['operator'] };
const namespace = `t${randomUUID().slice(0, 8)}.`;
const topics = topicCatalogue({ namespace, partitions: 2 });
let schemas: Awaited<ReturnType<typeof startRegistryServer>>;
let kafka: Kafka;
let dataDir: string;
let platform: Instance;
let registry: Registry;
let replays: ReplayService;
let here: RunningBundle;
let there: ChildProcess;

async function fresh(): Promise<ChildProcess> {
  const child = fork(program, [testKafka().join(','), schemas.url, namespace, 'counting-1', dataDir]);
  await once(child, 'message');
  return child;
}
beforeAll(async () => {
  schemas = await startRegistryServer();
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-copies-'));
  const shared = {
    ...{ kafka, topics, dataDir, log: () => undefined, now: Date.now },
    codec: createCodec({ registry: createHttpRegistry({ url: schemas.url }) }),
  };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(registryProcessor(platform));
  registry = await openRegistry({ ...shared, onError: () => undefined });
  here = await startBundle(counting, { ...shared, instance: 'counting-0' });
  there = await fresh();
  replays = await openReplayService({ instance: platform, registry, ...noEvents });
  await until(() => registry.bundles().find(({ id }) => id === 'counting')?.instances.length === 2);
}, 60_000);
afterAll(async () => {
  there.kill('SIGKILL');
  await replays.close();
  await here.close();
  await registry.close();
  await platform.close();
  await kafka.close();
  await schemas[Symbol.asyncDispose]();
  rmSync(dataDir, { recursive: true, force: true });
}, 60_000);

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const sent = new Map<string, number>();
/** An answer that is not known is resolved by the same id. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if ((error as SpoolError).entry.retryable !== 'backoff') throw error;
    }
  }
}
async function add(times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    const id = `c${n % 7}`;
    const commandId = randomUUID();
    await insist(() => here.gateway.send(Counter, 'Add', id, { n: 1 }, { commandId, timeoutMs: 3000 }));
    sent.set(id, (sent.get(id) ?? 0) + 1);
  }
}
function load(): { stop(): Promise<void> } {
  const stop = new AbortController();
  const going = (async () => {
    while (!stop.signal.aborted) await add(1);
  })();
  going.catch(() => undefined);
  return {
    stop: () => {
      stop.abort();
      return going;
    },
  };
}
async function expectRows(): Promise<void> {
  const topic = topics.events('Counter').name;
  const ends = await kafka.admin.offsets(topic);
  const after = toToken(new Map(ends.map((at) => [partitionKey({ ...at, topic }), at.latest])));
  const truth = [...sent].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, sum]) => ({ id, sum: BigInt(sum) }));
  for (let n = 0; n < 8; n++) {
    const { view } = await insist(() => here.gateway.ask(Sums, 'All', {}, { after, timeoutMs: 5000 }));
    expect(view.rows.map(({ id, sum }) => ({ id, sum: BigInt(sum) }))).toEqual(truth);
  }
}
const state = (id: string) => replays.get(id).state;

const victims: Readonly<Record<string, () => Promise<void>>> = {
  'an instance (kill -9)': async () => {
    there.kill('SIGKILL');
    await once(there, 'exit');
    there = await fresh();
  },
  /** Takes the writer's id while the one before is still there. */
  'the service, by another that takes over,': async () => {
    const before = replays;
    replays = await openReplayService({ instance: platform, registry, ...noEvents });
    await before.close();
  },
};
describe.each(Object.entries(victims))('copies on a real broker, when %s is lost at each step', (_, lose) => {
  it('a shadow is built, promoted and rolled back under load, and every row is right', async () => {
    await add(30);
    const events = load();
    const { id } = await replays.start(replayRequest.parse({ target: 'Totals', mode: 'shadow', rate: 60, reason: 'test' }), actor);
    await lose();
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await until(() => state(id) === 'ready');
    await lose();
    await replays.order(id, { action: 'promote' }, actor);
    await lose();
    await until(() => state(id) === 'completed');
    await lose();
    await events.stop();
    await expectRows();
    await replays.order(id, { action: 'rollback' }, actor);
    await lose();
    await until(() => state(id) === 'rolledBack');
    await expectRows();
    await replays.order(id, { action: 'drop' }, actor);
    await lose();
    await expectRows();
  }, 170_000);

  it('a scratch copy is found to be equal', async () => {
    await add(10);
    const { id } = await replays.start(replayRequest.parse({ target: 'Totals', mode: 'scratch', rate: 60, reason: 'test' }), actor);
    await lose();
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor).catch(() => undefined);
    await until(() => state(id) === 'completed');
    expect(replays.report(id)).toMatchObject({ equal: true, tables: [{ rows: 7, copyRows: 7 }] });
    await expectRows();
  }, 120_000);
});
