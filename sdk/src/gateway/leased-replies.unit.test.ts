import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, InstanceRowSchema, ReplySchema, type Codec } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import {
  createMemoryCluster,
  leaseGrantor,
  openInstance,
  topicCatalogue,
  type Instance,
  type MemoryCluster,
  type RunningProcessor,
} from '@spool/streams';
import { openInstances, type Instances } from '../cluster/instances.js';
import { openLeasedReplies, type LeasedReplies, type LeasedRepliesOptions } from './leased-replies.js';

const topics = topicCatalogue({ partitions: 1 });
const topic = topics.replies('test');
let cluster: MemoryCluster;
let codec: Codec;
let dataDir: string;
let platform: Instance;
const open: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  cluster = createMemoryCluster();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-replies-'));
  platform = await instanceOf('platform-0');
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  rmSync(dataDir, { recursive: true, force: true });
});
async function instanceOf(instance: string): Promise<Instance> {
  const opened = await openInstance({
    kafka: cluster.connect(),
    codec,
    topics,
    bundle: 'test',
    version: '1.0.0',
    instance,
    dataDir,
    log: () => undefined,
    now: Date.now,
  });
  open.push(opened);
  return opened;
}
async function repliesOf(
  name: string,
  rest: Partial<LeasedRepliesOptions> = {},
): Promise<LeasedReplies & { readonly instances: Instances }> {
  const instance = await instanceOf(name);
  const instances = await openInstances({ ...instance, onError: () => undefined });
  open.push(instances);
  const replies = await openLeasedReplies({ instance, topic, instances, lease: 'required', ...rest });
  open.push(replies);
  return Object.assign(replies, { instances });
}
/** The platform says that it is there. */
async function showPlatform(): Promise<void> {
  const encoder = await codec.encoder(topics.instances.name, InstanceRowSchema);
  const row = { instance: 'platform-0', bundle: 'spool', version: '1', state: 'up' as const, since: 1, reason: '', startedAt: 1 };
  const value = encoder.encode({ ...row, incarnation: '1', host: '', pid: 1, location: null, former: [] });
  await platform.producer.send({ topic: topics.instances.name, key: 'i/platform-0', value });
}
async function replyTo(address: { topic: string; partition: number }, id: string): Promise<void> {
  const encoder = await codec.encoder(topic.name, ReplySchema);
  const value = encoder.encode({ outcome: 'applied', version: 1, events: [], position: '', view: null, problem: null });
  await platform.producer.send({ ...address, key: id, value });
}
const grant = (): Promise<RunningProcessor> => platform.run(leaseGrantor(platform));

describe('replies by lease', () => {
  it('come to slots of which no two processes share one, whatever the processes are called', async () => {
    await grant();
    const names = ['gateway', 'gateway-0', 'another'];
    const all = await Promise.all(names.map((name) => repliesOf(name)));
    expect(new Set(all.map(({ address }) => address.partition)).size).toBe(3);
    expect(all.every(({ held }) => held)).toBe(true);
    const waiting = all[1]!.wait('m1', Date.now() + 10_000);
    await replyTo(all[1]!.address, 'm1');
    expect(await waiting).toMatchObject({ outcome: 'applied' });
  });

  it('are not opened without a lease where one is required', async () => {
    await expect(repliesOf('gateway-0', { withinMs: 200 })).rejects.toThrow(/no process of the platform answers/);
  });

  it('share a slot where nobody is there to grant one, and get their own when somebody is', async () => {
    const replies = await repliesOf('bundle-0', { lease: 'preferred' });
    expect(replies.held).toBe(false);
    const early = replies.wait('early', Date.now() + 20_000);
    const before = replies.address;
    await grant();
    await showPlatform();
    await until(() => replies.held);
    expect(replies.address.partition).toBe(0);
    // Whoever waited by the slot before still gets the reply.
    await replyTo(before, 'early');
    expect(await early).toMatchObject({ outcome: 'applied' });
  });

  it('go on by the slot whose lease was lost, and take another', async () => {
    const grantor = await grant();
    const settings = { withinMs: 10_000 };
    const short = await instanceOf('gateway-0');
    // A lease of a second: lost as soon as the grantor has been away for longer.
    Object.defineProperty(short, 'config', {
      value: { current: { ...short.config.current, leaseMs: 1000 }, onChange: () => () => undefined },
    });
    const instances = await openInstances({ ...short, onError: () => undefined });
    open.push(instances);
    const replies = await openLeasedReplies({ instance: short, topic, instances, lease: 'required', ...settings });
    open.push(replies);
    const waiting = replies.wait('m1', Date.now() + 20_000);
    const before = replies.address;
    await grantor.close();
    await until(() => !replies.held);
    expect(replies.address).toEqual(before);
    await grant();
    await until(() => replies.held);
    await replyTo(before, 'm1');
    expect(await waiting).toMatchObject({ outcome: 'applied' });
  });
});
