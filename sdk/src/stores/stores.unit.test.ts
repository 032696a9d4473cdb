import { createCodec, createMemoryRegistry } from '@spool/schemas';
import {
  createMemoryCluster,
  openInstance,
  partitionOf,
  runTopology,
  string,
  topicCatalogue,
  topology,
  tumbling,
  type Instance,
  type Kafka,
  type MemoryCluster,
  type Producer,
  type RunningTopology,
  type Topology,
} from '@spool/streams';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGateway } from '../gateway/gateway.js';
import type { Gateway } from '../gateway/messages.js';
import { openReplies } from '../gateway/replies.js';
import { tokenAfter } from '../position/token.js';
import { openStoreQueries } from './ask.js';
import { serveStores } from './serve.js';

const counting = topology('counting', ({ stream }) => {
  const groups = stream('in', { key: string, value: string }).groupByKey();
  const windows = groups.windowedBy(tumbling({ sizeMs: 10, graceMs: 0 })).count('windows');
  return { counts: groups.count('counts'), windows };
});
type Running = RunningTopology<typeof counting extends Topology<infer Q> ? Q : never>;
const topics = topicCatalogue();
const codec = createCodec({ registry: createMemoryRegistry() });
const keys = ['a', 'b', 'c', 'd', 'e', 'f'];

let cluster: MemoryCluster;
let kafka: Kafka;
let producer: Producer;
let gateway: Gateway;
let folder: string;
const open: { close(): Promise<void> }[] = [];
const closing = <T extends { close(): Promise<void> }>(one: T): T => {
  open.push(one);
  return one;
};

beforeEach(async () => {
  cluster = createMemoryCluster();
  kafka = closing(cluster.connect());
  producer = await kafka.producer();
  folder = mkdtempSync(join(tmpdir(), 'spool-stores-'));
  await kafka.admin.ensureTopics([{ name: 'in', partitions: 3, cleanup: 'delete', retentionMs: -1 }]);
  const onError = (error: unknown): void => {
    throw error as Error;
  };
  const replies = closing(await openReplies({ kafka, codec, topic: topics.replies('test'), slot: 0, now: Date.now, onError }));
  const registry = { payload: () => undefined } as never;
  gateway = createGateway({ codec, topics, producer, replies, registry, source: 'test', now: Date.now });
});
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(instance: string): Promise<{ running: Running; stop(): Promise<void> }> {
  const own = cluster.connect();
  const id: Instance = await openInstance({
    kafka: own,
    codec,
    topics,
    bundle: 'test',
    version: '1',
    instance,
    dataDir: folder,
    log: () => undefined,
    now: Date.now,
  });
  const running = await runTopology(id, counting);
  const served = await serveStores(id, counting, running);
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      await served.close();
      await id.close();
      await own.close();
    })());
  closing({ close: stop });
  return { running, stop };
}
const send = async () => producer.sendAll(keys.map((key) => ({ topic: 'in', key, value: Buffer.from('x'), timestamp: 5 })));
const counts = (local?: Running) =>
  openStoreQueries({ kafka, codec, topics, gateway, topology: counting, store: 'counts', ...(local === undefined ? {} : { local }) });
const spread = async (of: readonly Running[]): Promise<void> => {
  const tasks = (running: Running): number => running.status()[0]!.partitions.length;
  while (!of.every((running) => tasks(running) > 0)) await new Promise((resolve) => setTimeout(resolve, 5));
};

it('rows are found wherever their task runs, with what they reflect', async () => {
  const [a, b] = [await start('a'), await start('b')];
  await spread([a.running, b.running]);
  const after = tokenAfter(await send());
  const store = await counts();
  expect((await store.get('a', { after })).value).toMatchObject({ key: 'a', value: 1, timestamp: 5 });
  expect((await store.range({}, { after })).value.map(({ key, value }) => [key, value])).toEqual(keys.map((key) => [key, 1]));
  expect((await store.range({ from: 'b', to: 'e', limit: 2 })).value.map(({ key }) => key)).toEqual(['b', 'c']);
  expect((await store.count()).value).toBe(6);
  expect((await store.get('nobody')).value).toBeUndefined();
  const again = tokenAfter(await send());
  const { value, position } = await store.get('a', { after: again });
  expect(value?.value).toBe(2);
  expect(position).not.toBe('');
});

it('a request that meets a move of the task is answered by the new owner', async () => {
  const [a, b] = [await start('a'), await start('b')];
  await spread([a.running, b.running]);
  const after = tokenAfter(await send());
  const store = await counts();
  const asked = keys.map((key) => store.get(key, { after }));
  await a.stop();
  expect((await Promise.all(asked)).map(({ value }) => value?.value)).toEqual(keys.map(() => 1));
  expect((await store.count({ after })).value).toBe(6);
});

it('what runs on this instance is answered without a request', async () => {
  const { running } = await start('a');
  await send();
  await running.caughtUp();
  const sent = (await kafka.admin.offsets('qry.counting.0')).map(({ latest }) => latest);
  const store = await counts(running);
  expect((await store.get('c')).value?.value).toBe(1);
  expect((await store.count()).value).toBe(6);
  expect((await kafka.admin.offsets('qry.counting.0')).map(({ latest }) => latest)).toEqual(sent);
});

it('rows of windows are asked for by key and window', async () => {
  const { running } = await start('a');
  const after = tokenAfter(await send());
  await running.caughtUp();
  const store = await openStoreQueries({ kafka, codec, topics, gateway, topology: counting, store: 'windows' });
  expect((await store.get({ key: 'f', start: 0, end: 10 }, { after })).value?.value).toBe(1);
  expect((await store.get({ key: 'f', start: 10, end: 20 }, { after })).value).toBeUndefined();
});

it('where nobody owns the task, the answer is not known', async () => {
  const { stop } = await start('a');
  await stop();
  const store = await counts();
  const partition = partitionOf(Buffer.from('a'), 3);
  await expect(store.get('a', { timeoutMs: 50 })).rejects.toThrow(`no owner of qry.counting.0-${partition} answered`);
});
