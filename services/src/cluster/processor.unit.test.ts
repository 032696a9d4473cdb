import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BundleLeftSchema,
  createCodec,
  createMemoryRegistry,
  HeartbeatSchema,
  type BundleLeft,
  type Codec,
  type Heartbeat,
  type InstanceRow,
} from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { openInstances, type Instances } from '@spool/sdk';
import {
  createMemoryCluster,
  openInstance,
  partitionKey,
  tailTopic,
  topicCatalogue,
  type Instance,
  type Kafka,
  type RunningProcessor,
  type Tail,
} from '@spool/streams';
import { clusterProcessor } from './processor.js';
import { openSettings, type SettingsService } from './settings.js';

const topics = topicCatalogue({ partitions: 1 });
const actor = { name: 'ada', roles: ['operator'] };
let clock: number;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let processor: RunningProcessor;
let instances: Instances;
let settings: SettingsService;
let encode: (beat: Heartbeat) => Buffer;
/** Every row of an instance that was written, as `instance state`. */
let written: string[];
let left: BundleLeft[];
const tails: Tail[] = [];

beforeEach(async () => {
  clock = 1_000_000;
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-cluster-'));
  platform = await openInstance({
    kafka,
    codec,
    topics,
    bundle: 'spool',
    version: '1.0.0',
    instance: 'platform-0',
    dataDir,
    log: () => undefined,
    now: () => clock,
  });
  processor = await platform.run(clusterProcessor(platform));
  instances = await openInstances({ kafka, codec, topics, onError: () => undefined });
  settings = await openSettings(platform);
  const encoder = await codec.encoder(topics.heartbeats.name, HeartbeatSchema);
  encode = (beat) => encoder.encode(beat);
  written = [];
  left = [];
  instances.table.onChange((key, row) => written.push(`${key.slice(2)} ${row?.state ?? 'forgotten'}`));
  const decoder = codec.decoder(BundleLeftSchema);
  const onRecord = async ({ value }: { value: Buffer | null }): Promise<void> => {
    const event = await decoder.decode(value!);
    if (event.bundle === 'flights') left.push(event);
  };
  tails.push(await tailTopic({ kafka, topic: topics.announcements.name, onRecord, onError: () => undefined }));
});
afterEach(async () => {
  for (const tail of tails.splice(0)) await tail.close();
  await instances.close();
  await platform.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const of = (instance: string, rest: Partial<Heartbeat> = {}): Heartbeat => ({
  instance,
  bundle: 'flights',
  version: '1.0.0',
  startedAt: clock,
  incarnation: '1',
  host: 'h',
  pid: 1,
  location: null,
  health: 'up',
  inFlight: 0,
  eventLoopLagMs: 0,
  cpu: 0,
  rssBytes: 0,
  processors: [],
  at: clock,
  ...rest,
});
const rowOf = (id: string): InstanceRow | undefined => instances.get(id);
/** Until all that stands on the log is projected, and the table has read it. */
async function settled(): Promise<void> {
  await processor.caughtUp();
  const [end] = await kafka.admin.offsets(topics.instances.name);
  const deadline = Date.now() + 10_000;
  while ((instances.table.positions.get(partitionKey(end!)) ?? 0n) < end!.latest) {
    if (Date.now() > deadline) throw new Error('the table did not catch up');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
async function beat(instance: string, rest: Partial<Heartbeat> = {}): Promise<void> {
  await platform.producer.send({ topic: topics.heartbeats.name, key: instance, value: encode(of(instance, rest)) });
  await settled();
}
/** Lets the clock run; the ticker's heartbeats make the processor look at it. */
async function pass(ms: number, stepMs = 500): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    clock += Math.min(left, stepMs);
    await beat('ticker');
  }
}
const statesOf = (id: string): string[] => written.filter((row) => row.startsWith(`${id} `)).map((row) => row.slice(id.length + 1));

describe('the cluster', () => {
  it('tells where an instance takes calls, once it says so, and leaves its state as it is', async () => {
    await beat('a');
    const before = rowOf('a')!;
    clock += 500;
    for (const _ of [1, 2]) await beat('a', { location: 'http://127.0.0.1:1' });
    expect(rowOf('a')).toEqual({ ...before, location: 'http://127.0.0.1:1' });
    expect(statesOf('a')).toEqual(['up', 'up']);
    await beat('a');
    expect(rowOf('a')).toEqual(before);
  });

  it('writes the transitions of an instance and nothing between them', async () => {
    await beat('a', { health: 'starting' });
    await beat('a', { health: 'starting' });
    await beat('a');
    await beat('a');
    await beat('a', { health: 'degraded' });
    await beat('a', { health: 'draining' });
    await beat('a', { health: 'draining' });
    expect(rowOf('a')!.reason).toBe('it finishes what is under way');
    await beat('a', { health: 'drained' });
    expect(rowOf('a')!.reason).toBe('drained: it can be stopped');
    await beat('a', { health: 'stopping' });
    await beat('a', { health: 'stopping' });
    expect(statesOf('a')).toEqual(['starting', 'up', 'draining', 'draining', 'gone']);
    expect(rowOf('a')).toMatchObject({ bundle: 'flights', version: '1.0.0', reason: 'it left in order', host: 'h', since: clock });
  });

  it.each(['starting', 'up', 'draining'] as const)(
    'suspects who was %s after three missed heartbeats, and declares it down after 10 s',
    async (health) => {
      await beat('a', { health });
      await pass(5500);
      expect(statesOf('a')).toEqual([health]);
      await pass(1000);
      expect(statesOf('a')).toEqual([health, 'suspect']);
      expect(rowOf('a')!.reason).toBe('3 heartbeats missed');
      await pass(3000);
      expect(statesOf('a')).toEqual([health, 'suspect']);
      await pass(1000);
      expect(statesOf('a')).toEqual([health, 'suspect', 'down']);
      expect(rowOf('a')!.reason).toMatch(/^silent for 10(\.\d)? s$/);
    },
  );

  it('takes back whoever is heard again, from suspect and from down', async () => {
    await beat('a');
    await pass(7000);
    await beat('a');
    await pass(11_000);
    await beat('a');
    expect(statesOf('a')).toEqual(['up', 'suspect', 'up', 'suspect', 'down', 'up']);
    expect(rowOf('a')!.reason).toBe('heard again; it is up');
    await pass(5000);
    expect(rowOf('a')!.state).toBe('up');
  });

  it('forgets who has been down or gone for a day, and tells the registry of the one that never said so', async () => {
    await beat('killed');
    await beat('left', { health: 'stopping' });
    await pass(11_000);
    expect([rowOf('killed')!.state, rowOf('left')!.state]).toEqual(['down', 'gone']);
    await pass(23 * 3_600_000, 3_600_000);
    expect([rowOf('killed')!.state, rowOf('left')!.state]).toEqual(['down', 'gone']);
    await pass(2 * 3_600_000, 3_600_000);
    expect([rowOf('killed'), rowOf('left')]).toEqual([undefined, undefined]);
    await until(() => left.length === 1);
    expect(left).toMatchObject([{ bundle: 'flights', version: '1.0.0', instance: 'killed', incarnation: '1' }]);
  });

  it('lets nothing wipe a run that has come since: neither a late heartbeat nor a late leave of the one before', async () => {
    await beat('a', { incarnation: '1' });
    await beat('a', { incarnation: '2', version: '1.1.0', health: 'starting' });
    await until(() => left.length === 1);
    expect(left).toMatchObject([{ version: '1.0.0', instance: 'a', incarnation: '1' }]);
    await beat('a', { incarnation: '2', version: '1.1.0' });
    await beat('a', { incarnation: '1' });
    await beat('a', { incarnation: '1', health: 'stopping' });
    expect(rowOf('a')).toMatchObject({ incarnation: '2', version: '1.1.0', state: 'up' });
    expect(statesOf('a')).toEqual(['up', 'starting', 'up']);
    // An earlier run that nobody remembers is known by its start.
    await beat('a', { incarnation: '0', startedAt: clock - 1 });
    expect(rowOf('a')).toMatchObject({ incarnation: '2', state: 'up' });
    // And an old run that goes on talking does not keep the new one alive.
    for (let step = 0; step < 24; step++) {
      await beat('a', { incarnation: '1' });
      await pass(500);
    }
    expect(rowOf('a')).toMatchObject({ incarnation: '2', state: 'down' });
    // Where nobody lives any more, a run whose clock is behind is let in.
    await beat('a', { incarnation: '3', startedAt: 1 });
    expect(rowOf('a')).toMatchObject({ incarnation: '3', state: 'up' });
  });

  it('declares nobody down after its own restart before one whole period has passed', async () => {
    await beat('alive');
    await beat('dead');
    await processor.close();
    clock += 3_600_000;
    processor = await platform.run(clusterProcessor(platform));
    await beat('alive');
    await pass(5500);
    expect([rowOf('alive')!.state, rowOf('dead')!.state]).toEqual(['up', 'up']);
    await beat('alive');
    await pass(5500);
    expect([rowOf('alive')!.state, rowOf('dead')!.state]).toEqual(['up', 'down']);
    expect(statesOf('alive')).toEqual(['up']);
  });

  it('declares nobody down when it was itself away for a while', async () => {
    await beat('a');
    await pass(1000);
    clock += 60_000;
    await beat('ticker');
    await pass(5000);
    expect([...statesOf('a'), ...statesOf('ticker')]).toEqual(['up', 'up']);
  });

  it('goes by the settings as they are now', async () => {
    await beat('a');
    await settings.change({ heartbeatMs: 1000, downMs: 3000 }, '"0"', actor);
    await pass(2500);
    expect(rowOf('a')!.state).toBe('up');
    await pass(2000);
    expect(rowOf('a')!.state).toBe('down');
    await beat('a');
    await settings.change({ heartbeatMs: 10_000, downMs: 60_000 }, undefined, actor);
    await pass(20_000);
    expect(rowOf('a')!.state).toBe('up');
  });

  it('passes over what is no heartbeat', async () => {
    await platform.producer.send({ topic: topics.heartbeats.name, key: 'a', value: Buffer.from('no heartbeat') });
    await beat('a');
    expect(rowOf('a')!.state).toBe('up');
  });
});

describe('an instance', () => {
  it('beats as often as the settings say, at once', async () => {
    let beats = 0;
    tails.push(
      await tailTopic({
        kafka,
        topic: topics.heartbeats.name,
        from: 'latest',
        onRecord: () => void (beats += 1),
        onError: () => undefined,
      }),
    );
    await settings.change({ heartbeatMs: 60_000, downMs: 200_000 }, undefined, actor);
    await until(() => beats === 1);
    await settings.change({ heartbeatMs: 100 }, undefined, actor);
    await until(() => beats >= 5);
  });

  it('is starting until all of it has been started, and leaves with a last word', async () => {
    const instance = await openInstance({ ...platform, instance: 'other-0', dataDir, log: () => undefined });
    await until(() => rowOf('other-0')?.state === 'starting');
    instance.ready();
    await until(() => rowOf('other-0')?.state === 'up');
    await instance.close();
    await until(() => rowOf('other-0')?.state === 'gone');
  });
});

describe('the settings', () => {
  it('are changed by one writer at a time, at the version that was read', async () => {
    expect(settings.current).toMatchObject({ heartbeatMs: 2000, version: 0 });
    await settings.change({ heartbeatMs: 500 }, '"0"', actor);
    await expect(settings.change({ heartbeatMs: 600 }, '"0"', actor)).rejects.toMatchObject({
      code: 'PRECONDITION_FAILED',
      facts: { actualVersion: '1' },
    });
    const other = await openSettings(platform);
    const results = await Promise.allSettled([
      settings.change({ heartbeatMs: 700 }, '"1"', actor),
      other.change({ heartbeatMs: 800 }, '"1"', actor),
    ]);
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1);
    expect(settings.current).toMatchObject({ suspectAfterMissed: 3, actor: 'ada' });
  });

  it('refuse times that contradict each other', async () => {
    await expect(settings.change({ downMs: 5000 }, undefined, actor)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      violations: [{ pointer: '/downMs', message: 'Expected 6000 at least: suspect comes before down' }],
    });
  });
});
