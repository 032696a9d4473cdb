import { mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, type Codec } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import {
  aggregate,
  bundle,
  openRegistry,
  projection,
  projector,
  record,
  startBundle,
  table,
  type Registry,
  type RunningBundle,
} from '@spool/sdk';
import { createMemoryCluster, openInstance, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { openConsumerService } from '../consumers/index.js';
import { openEventStore, type EventStore } from '../event-store/index.js';
import { registryProcessor } from '../registry/index.js';
import type { EventSearch, IndexedEvent } from '../telemetry/index.js';
import { openReplayService, type ReplayService, type ReplayServiceOptions } from './replay-service.js';
import { replayRequest, type ReplayRequest } from './requests.js';

const Counter = aggregate('Counter', {
  commands: { Add: record('count.Add', { n: 'int' }) },
  events: { Added: record('count.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => Array.from({ length: n }, () => ({ type: 'Added' as const, data: { n: 1 } })) },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});
const Totals = projector('Totals', {
  of: Counter,
  tables: { totals: table<{ readonly sum: number }>() },
  on: { Added: ({ n }, { totals }) => totals.put('all', { sum: (totals.get('all')?.sum ?? 0) + n }) },
});
/** Each instance has some of its rows. */
const Each = projector('Each', {
  of: Counter,
  placement: 'partitioned',
  tables: { each: table<{ readonly sum: number }>() },
  on: { Added: ({ n }, { each }, { aggregateId }) => each.put(aggregateId, { sum: (each.get(aggregateId)?.sum ?? 0) + n }) },
});
const Sums = projection('Sums', {
  reads: Totals,
  queries: { Total: { request: record('count.Total', {}), view: record('count.TotalView', { sum: 'long' }) } },
  answer: { Total: (_, { totals }) => totals.get('all') },
});

const actor = { name: 'ada', roles: ['operator'] };
const topics = topicCatalogue({ partitions: 2 });
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let registry: Registry;
let counting: RunningBundle;
let shared: Pick<Instance, 'kafka' | 'codec' | 'topics' | 'log' | 'now'> & { readonly dataDir: string };
let eventStore: EventStore;
let replays: ReplayService;

beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-replay-'));
  shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(registryProcessor(platform));
  registry = await openRegistry({ kafka, codec, topics, onError: fail });
  counting = await start();
  await until(() => registry.component('Totals') !== undefined);
  eventStore = openEventStore({ instance: platform, registry, gateway: { request: () => Promise.reject(new Error('nothing is asked')) } });
  replays = await open();
});
afterEach(async () => {
  await replays.close();
  await eventStore.close();
  await counting.close();
  await registry.close();
  await platform.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const start = (instance = 'counting-0'): Promise<RunningBundle> =>
  startBundle(bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Each, Sums] }), { ...shared, instance });

/** Stands for the search in ClickHouse: it knows the events of one counter. */
const events = {
  async search({ eventId }: EventSearch): Promise<readonly IndexedEvent[]> {
    const topic = topics.events('Counter').name;
    const all = await eventStore.events({ aggregateType: 'Counter', aggregateId: 'c1', limit: 100, deadline: Date.now() + 5000 });
    return all.flatMap((each) => (each.id === eventId ? [{ ...each, topic } as unknown as IndexedEvent] : []));
  },
};
const open = (lags?: ReplayServiceOptions['lags']): Promise<ReplayService> =>
  openReplayService({ instance: platform, registry, eventStore, events, ...(lags === undefined ? {} : { lags }) });
function fail(error: unknown): void {
  throw error as Error;
}
const request = (rest: Partial<ReplayRequest> = {}): ReplayRequest =>
  replayRequest.parse({ target: 'Totals', mode: 'rewind', reason: 'test', ...rest });
async function add(times: number): Promise<void> {
  let position = '';
  for (let n = 0; n < times; n++) ({ position } = await counting.gateway.send(Counter, 'Add', `c${n % 3}`, { n: 1 }));
  await counting.gateway.ask(Sums, 'Total', {}, { after: position });
}
/** The same, but for what is given. */
const but = <T extends object>(of: T, own: Partial<T>): T =>
  new Proxy(of, {
    get(target, name) {
      const value: unknown = Reflect.get(name in own ? own : target, name, name in own ? own : target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
const sum = async (): Promise<number> => (await counting.gateway.ask(Sums, 'Total', {})).view.sum;

describe('the replay service', () => {
  it('rebuilds a read model to the same figures, and says how far it is', async () => {
    await add(20);
    const { id } = await replays.start(request(), actor);
    await until(() => replays.get(id).state === 'completed');
    expect(await sum()).toBe(20);
    expect(replays.get(id)).toMatchObject({ target: 'Totals', progress: 1, records: 20, actor: 'ada', error: null });
    const [audit] = await kafka.admin.offsets(topics.audit.name);
    expect(audit!.latest).toBeGreaterThan(0n);
  });

  it('rebuilds a read model of which the instances share the partitions, though one has none, and another leaves in the middle', async () => {
    await add(20);
    const [second, third] = [await start('counting-1'), await start('counting-2')];
    for (const leaving of [undefined, second]) {
      const { id } = await replays.start(request({ target: 'Each' }), actor);
      await leaving?.close();
      await until(() => replays.get(id).state === 'completed');
      expect(replays.get(id)).toMatchObject({ progress: 1, error: null });
    }
    await third.close();
  });

  it('can be asked for as soon as it is started, though the end of the log passes a commit a moment after it is answered', async () => {
    await replays.close();
    const late = async (topic: string) => (await kafka.admin.offsets(topic)).map((at) => ({ ...at, latest: at.earliest }));
    const instance = but(platform, { kafka: but(kafka, { admin: but(kafka.admin, { offsets: late }) }) });
    replays = await openReplayService({ instance, registry, eventStore, events });
    const { id } = await replays.start(request(), actor);
    expect(replays.get(id).id).toBe(id);
  });

  it('ends at once where there is nothing to replay', async () => {
    const { id } = await replays.start(request(), actor);
    await until(() => replays.get(id).state === 'completed');
    expect(replays.get(id)).toMatchObject({ progress: 1, records: 0 });
    await add(3);
    expect(await sum()).toBe(3);
  });

  it('slows itself down while another consumer is behind, and takes up its rate again', async () => {
    await counting.gateway.send(Counter, 'Add', 'c1', { n: 8000 });
    await using consumers = await openConsumerService(platform, registry);
    let seconds = 0;
    const rates = async () => (await consumers.list()).map(({ id, recordsPerSecond: rate }) => ({ consumer: id, seconds: 0, rate }));
    await replays.close();
    replays = await open(async () => [...(await rates()), { consumer: 'other', seconds, rate: null }]);
    const { id, consumer } = await replays.start(request({ rate: 400 }), actor);
    const rate = async () => (await rates()).find((each) => each.consumer === consumer)?.rate;
    await until(async () => (await rate()) === 400);
    // The first look: it is not behind yet.
    await sleep(2500);
    seconds = 60;
    await until(async () => (await rate()) === 200, 10_000);
    expect(replays.get(id).slowedFor).toBe('other');
    seconds = 0;
    await until(async () => (await rate()) === 400, 10_000);
    await until(() => replays.get(id).slowedFor === null);
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await until(() => replays.get(id).state === 'completed');
    expect(await sum()).toBe(8000);
  }, 60_000);

  it('begins with an event, by the version of its aggregate or by its id, and elsewhere with what came at its time', async () => {
    await add(9);
    await sleep(5);
    // Five of one time.
    await counting.gateway.send(Counter, 'Add', 'c1', { n: 5 });
    await add(9);
    const aggregate = { type: 'Counter', id: 'c1' };
    const stream = { aggregateType: 'Counter', aggregateId: 'c1', limit: 1, deadline: Date.now() + 5000 };
    const [sixth] = await eventStore.events({ ...stream, from: 6 });
    const expected = (await kafka.admin.offsetsAt(topics.events('Counter').name, sixth!.at)).map(({ partition, offset }) =>
      partition === sixth!.partition ? sixth!.offset : String(offset),
    );
    for (const from of [{ aggregate, version: 6 }, { eventId: sixth!.id }]) {
      const { partitions } = await replays.start(request({ from, dryRun: true }), actor);
      expect(partitions.map(({ start }) => start)).toEqual(expected);
    }
    const { id } = await replays.start(request({ from: { aggregate, version: 6 } }), actor);
    await until(() => replays.get(id).state === 'completed');
    // The three that are left of the five, and the nine after them.
    expect(replays.get(id).records).toBe(12);
    for (const from of [{ aggregate, version: 12 }, { aggregate: { type: 'Counter', id: 'nobody' }, version: 1 }, { eventId: 'nobody/0' }])
      await expect(replays.start(request({ from }), actor)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        violations: [{ pointer: '/from' }],
      });
  });

  it('only says what it would do in a dry run', async () => {
    await add(5);
    const plan = await replays.start(request({ dryRun: true }), actor);
    expect(plan.partitions.map(({ start }) => start)).toEqual(['0', '0']);
    expect([plan.state, replays.list()]).toEqual(['planned', []]);
  });

  it('counts by type in a dry run, and says how long it would take when a replay has shown it', async () => {
    await add(20);
    const dry = async (rest: Partial<ReplayRequest> = {}) => (await replays.start(request({ dryRun: true, ...rest }), actor)).preview;
    const types = [{ type: 'Added', records: 20 }];
    expect(await dry()).toEqual({ exact: true, records: 20, types, read: 20, seconds: null });
    expect(await dry({ rate: 2 })).toMatchObject({ seconds: 10 });
    const { id } = await replays.start(request(), actor);
    await until(() => replays.get(id).state === 'completed');
    expect((await dry())!.seconds).toBeGreaterThan(0);
    expect(await dry({ from: { timestamp: new Date(Date.now() + 60_000).toISOString() } })).toMatchObject({
      exact: true,
      records: 0,
      types: [],
    });
  });

  it('refuses a second replay of the same target while one runs, and can be cancelled', async () => {
    await add(30);
    const { id } = await replays.start(request({ rate: 5 }), actor);
    await expect(replays.start(request(), actor)).rejects.toMatchObject({ code: 'REPLAY_RUNNING', facts: { replay: id } });
    await replays.order(id, { action: 'cancel' }, actor);
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await until(() => replays.get(id).state === 'cancelled');
    const again = await replays.start(request(), actor);
    await until(() => replays.get(again.id).state === 'completed');
    expect(await sum()).toBe(30);
  });

  it('handles again what it is asked for alone, also when the worker is started anew in the middle', async () => {
    await add(30);
    const before = await replays.start(request({ keys: { include: ['c1'] }, dryRun: true }), actor);
    expect(before.preview).toMatchObject({ exact: true, records: 10, types: [{ type: 'Added', records: 10 }], read: 30 });
    const { id } = await replays.start(request({ keys: { include: ['c1'] }, rate: 2 }), actor);
    await until(() => replays.get(id).records > 0 || replays.get(id).skipped > 0);
    await counting.close();
    counting = await start();
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await until(() => replays.get(id).state === 'completed');
    expect(replays.get(id)).toMatchObject({ records: 10, skipped: 20 });
    expect(await sum()).toBe(40);
    await add(3);
    expect(await sum()).toBe(43);
    const skipping = await replays.start(request({ eventTypes: { skip: ['Added'] } }), actor);
    await until(() => replays.get(skipping.id).state === 'completed');
    expect([replays.get(skipping.id).skipped, await sum()]).toEqual([33, 43]);
  });

  it('handles again what lies between two places, and then goes on where it was', async () => {
    await add(9);
    await sleep(5);
    const mid = new Date().toISOString();
    await sleep(5);
    await add(9);
    const version = (n: number) => ({ aggregate: { type: 'Counter', id: 'c1' }, version: n });
    const { id } = await replays.start(request({ to: { timestamp: mid } }), actor);
    await until(() => replays.get(id).state === 'completed');
    expect(replays.get(id)).toMatchObject({ records: 9, skipped: 9 });
    expect(await sum()).toBe(27);
    const within = request({ from: version(2), to: version(5), keys: { include: ['c1'] } });
    const { id: second } = await replays.start(within, actor);
    await until(() => replays.get(second).state === 'completed');
    expect([replays.get(second).records, await sum()]).toEqual([3, 30]);
    await add(1);
    expect(await sum()).toBe(31);
    const nothing = request({ from: { timestamp: mid }, to: { offsets: { 0: '0', 1: '0' } } });
    await expect(replays.start(nothing, actor)).rejects.toMatchObject({ code: 'INVALID_REQUEST', violations: [{ pointer: '/to' }] });
    await expect(replays.start(request({ to: version(99) }), actor)).rejects.toMatchObject({ violations: [{ pointer: '/to' }] });
  });

  it('refuses to pass over what the read model would then lack', async () => {
    await add(3);
    const keys = { skip: ['c1'] };
    const refusal = (pointer: string) => ({ code: 'INVALID_REQUEST', violations: [{ pointer }] });
    await expect(replays.start(request({ keys, resetState: true }), actor)).rejects.toMatchObject(refusal('/resetState'));
    await expect(replays.start(request({ keys, mode: 'shadow' }), actor)).rejects.toMatchObject(refusal('/mode'));
  });

  it('goes on when the service is started anew in the middle', async () => {
    await add(20);
    const { id } = await replays.start(request({ rate: 10 }), actor);
    await replays.close();
    replays = await open();
    expect(replays.get(id).state).toBe('running');
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await until(() => replays.get(id).state === 'completed');
    expect(await sum()).toBe(20);
  });

  it('refuses what cannot be replayed, and says why', async () => {
    await expect(replays.start(request({ target: 'Nobody' }), actor)).rejects.toMatchObject({ code: 'UNKNOWN_CONSUMER' });
    await expect(replays.start(request({ target: 'Counter' }), actor)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(replays.start(request({ from: { offsets: { 0: '999' } } }), actor)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    expect(() => replays.get('nobody')).toThrow(/no replay nobody/);
  });
});
