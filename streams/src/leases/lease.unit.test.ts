import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createMemoryRegistry, LeaseRequestSchema, LeaseRowSchema, type Codec, type LeaseRow } from '@spool/schemas';
import type { RunningProcessor } from '../engine/processor.js';
import { openInstance, type Instance } from '../instance/instance.js';
import { createMemoryCluster, type MemoryCluster } from '../kafka/memory/connect.js';
import type { Producer } from '../kafka/port.js';
import { readTable } from '../table/table.js';
import { topicCatalogue } from '../topics/topics.js';
import { leaseGrantor, leasePrefix } from './grantor.js';
import { acquireLease, type Lease, type LeaseOptions } from './lease.js';

const topics = topicCatalogue({ partitions: 1 });
let cluster: MemoryCluster;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let grantor: RunningProcessor;
const open: Lease[] = [];
const instances: Instance[] = [];

beforeEach(async () => {
  cluster = createMemoryCluster();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-leases-'));
  platform = await instanceOf('platform-0');
  grantor = await platform.run(leaseGrantor(platform));
});
afterEach(async () => {
  for (const lease of open.splice(0)) await lease.close();
  for (const instance of instances.splice(0).reverse()) await instance.close();
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
  instances.push(opened);
  return opened;
}
const pool = { pool: 'reply.test', slots: 2 };
async function take(instance: Instance, wanted: Parameters<typeof acquireLease>[1] = pool, options: LeaseOptions = {}): Promise<Lease> {
  const lease = await acquireLease(instance, wanted, { withinMs: 10_000, ...options });
  open.push(lease);
  return lease;
}
/** An instance whose requests never arrive from now on: as after a kill, or behind a cut cable. */
const silent = (instance: Instance): Instance => {
  let cut = false;
  const producer: Producer = {
    ...instance.producer,
    send: (record) => (cut ? new Promise(() => undefined) : instance.producer.send(record)),
  };
  return Object.assign(Object.create(instance) as Instance, { producer, cut: () => (cut = true) });
};
const cut = (instance: Instance): void => (instance as Instance & { cut: () => void }).cut();

describe('a lease', () => {
  it('is had by one at a time: slots of a pool go out from the lowest, and no two get the same', async () => {
    const [one, two] = await Promise.all([take(platform), take(await instanceOf('other-0'))]);
    expect([one.slot, two.slot].sort()).toEqual([0, 1]);
    expect([one.held, two.held]).toEqual([true, true]);
    await expect(take(platform, pool, { withinMs: 300 })).rejects.toThrow(/held by (platform-0, other-0|other-0, platform-0)/);
  });

  it('goes to who waits as soon as it is given back, under a higher epoch', async () => {
    const first = await take(platform, { name: 'leader' });
    const waiting = take(await instanceOf('other-0'), { name: 'leader' });
    await first.close();
    const second = await waiting;
    expect([first.held, second.held, second.epoch > first.epoch, second.slot]).toEqual([false, true, true, undefined]);
  });

  it('says so where nobody grants any', async () => {
    await grantor.close();
    await expect(take(platform, pool, { withinMs: 200 })).rejects.toThrow(/no process of the platform answers/);
  });

  it('is lost to a holder that cannot renew it before anybody else gets it', async () => {
    const weak = silent(await instanceOf('other-0'));
    let lost = false;
    const first = await take(weak, { name: 'leader' }, { ttlMs: 1000, onLost: () => (lost = true) });
    cut(weak);
    const second = await take(platform, { name: 'leader' });
    expect([lost, first.held, second.epoch]).toEqual([true, false, first.epoch + 1]);
  });

  it('is known to be lost by the clock alone, though no timer fired', async () => {
    let now = 0;
    const weak = silent(await instanceOf('other-0'));
    const lease = await take(weak, { name: 'leader' }, { ttlMs: 60_000, elapsed: () => now });
    now += 53_000;
    expect(lease.held).toBe(true);
    now += 2000;
    expect(lease.held).toBe(false);
  });

  it('stands no longer than its latest renewal says, when the time of leases has been shortened', async () => {
    let ttlMs = 3000;
    const config = {
      get current() {
        return { ...platform.config.current, leaseMs: ttlMs };
      },
      onChange: () => () => undefined,
    };
    const weak = silent(Object.assign(Object.create(await instanceOf('other-0')) as Instance, { config }));
    let lost = 0;
    const began = performance.now();
    const lease = await take(weak, { name: 'leader' }, { onLost: () => (lost = performance.now() - began) });
    ttlMs = 500;
    // The first renewal, still by the old rhythm, asks for less.
    await sleep(1200);
    expect(lease.held).toBe(true);
    // Nobody says so: it has to know by itself.
    await grantor.close();
    cut(weak);
    await sleep(800);
    expect([lease.held, lost > 0 && lost < 2000]).toEqual([false, true]);
  });

  it('outlives its grantor: one that takes over leaves holders their whole time, and takes the epochs on', async () => {
    const first = await take(platform, { name: 'leader' }, { ttlMs: 2000 });
    await grantor.close();
    grantor = await platform.run(leaseGrantor(platform));
    await expect(take(await instanceOf('other-0'), { name: 'leader' }, { withinMs: 3000 })).rejects.toThrow(/held by platform-0/);
    expect(first.held).toBe(true);
    await first.close();
    expect((await take(platform, { name: 'leader' })).epoch).toBe(first.epoch + 1);
  });

  it('is free again after its time-out when its holder and its grantor were killed', async () => {
    const weak = silent(await instanceOf('other-0'));
    await take(weak, { name: 'leader' }, { ttlMs: 1000 });
    cut(weak);
    await grantor.close();
    rmSync(join(dataDir, 'platform-0'), { recursive: true, force: true });
    grantor = await platform.run(leaseGrantor(platform));
    expect((await take(platform, { name: 'leader' })).epoch).toBe(2);
  });

  it('is given to nobody by a request that is not its holder`s', async () => {
    const first = await take(platform, { name: 'leader' });
    const stranger = await instanceOf('other-0');
    const rows = codec.decoder(LeaseRowSchema);
    const decode = (_: string, value: Buffer): LeaseRow | Promise<LeaseRow> => rows.decode(value);
    const table = await readTable<LeaseRow>({
      kafka: stranger.kafka,
      topic: topics.leases.name,
      prefix: leasePrefix,
      onError: () => undefined,
      decode,
    });
    const { epoch, holder } = table.get('l/leader')!;
    const encoder = await codec.encoder(topics.leaseRequests.name, LeaseRequestSchema);
    const request = { lease: 'leader', slots: 0, instance: 'other-0', ttlMs: 1000, at: 0 };
    for (const forged of [
      { ...request, id: 'f1', action: 'release' as const, holder: 'stranger', epoch },
      { ...request, id: 'f2', action: 'release' as const, holder: holder!, epoch: epoch + 1 },
      { ...request, id: 'f3', action: 'renew' as const, holder: 'stranger', epoch },
    ]) {
      await stranger.producer.send({ topic: topics.leaseRequests.name, key: 'leader', value: encoder.encode(forged) });
    }
    await stranger.producer.send({ topic: topics.leaseRequests.name, key: 'leader', value: Buffer.from('no request') });
    await grantor.caughtUp();
    expect(first.held).toBe(true);
    expect(table.get('l/leader')).toMatchObject({ holder, epoch });
    await table.close();
  });
});
