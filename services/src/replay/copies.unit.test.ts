import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, ReadModelAliasSchema, type Codec, type ReadModelAlias } from '@spool/schemas';
import { openRegistry, startBundle, type Registry, type RunningBundle } from '@spool/sdk';
import {
  createMemoryCluster,
  openInstance,
  tailTopic,
  topicCatalogue,
  type ConsumedRecord,
  type Instance,
  type Kafka,
  type MemoryCluster,
} from '@spool/streams';
import { replayRoutes } from '../gateway/replay-routes.js';
import { startTestServer } from '../http/testing.js';
import { registryProcessor } from '../registry/index.js';
import { openReplayService, type ReplayService } from './replay-service.js';
import { noEvents } from './starts.js';
import { replayRequest, type ReplayRequest } from './requests.js';
import { acted, code, Counter, counting, Sums } from './testing.js';

const actor = { name: 'ada', roles: ['operator'] };
const topics = topicCatalogue({ partitions: 2 });
let cluster: MemoryCluster;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let registry: Registry;
let replays: ReplayService;
const instances = new Map<string, RunningBundle>();

const start = async (id: string): Promise<RunningBundle> => {
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  const running = await startBundle(counting, { ...shared, instance: id });
  instances.set(id, running);
  return running;
};
const stop = async (id: string): Promise<void> => {
  await instances.get(id)!.close();
  instances.delete(id);
};
const registered = (count: number) => () => registry.bundles().find(({ id }) => id === 'counting')?.instances.length === count;

beforeEach(async () => {
  code.each = 1;
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-copies-'));
  platform = await openInstance({
    ...{ kafka, codec, topics, dataDir, log: () => undefined, now: Date.now },
    ...{ bundle: 'spool', version: '1.0.0', instance: 'platform-0' },
  });
  await platform.run(registryProcessor(platform));
  registry = await openRegistry({ kafka, codec, topics, onError: fail });
  await start('counting-0');
  await start('counting-1');
  await until(registered(2));
  replays = await openReplayService({ instance: platform, registry, ...noEvents });
});
afterEach(async () => {
  await replays.close();
  for (const id of instances.keys()) await stop(id);
  await registry.close();
  await platform.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

function fail(error: unknown): void {
  throw error as Error;
}
async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
const request = (mode: ReplayRequest['mode'], rest: Partial<ReplayRequest> = {}): ReplayRequest =>
  replayRequest.parse({ target: 'Totals', mode, reason: 'test', ...rest });
const any = (): RunningBundle => instances.values().next().value!;

/** Rows as they have to be, and where. */
const sent = new Map<string, number>();
let last = '';
beforeEach(() => {
  sent.clear();
  last = '';
});
async function add(times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    const id = `c${n % 5}`;
    ({ position: last } = await any().gateway.send(Counter, 'Add', id, { n: 1 }));
    sent.set(id, (sent.get(id) ?? 0) + 1);
  }
}
const truth = () => [...sent].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, sum]) => ({ id, sum }));
/** Asked so often that each instance answers; rows of all aggregates reflect what was sent. */
async function rows(): Promise<{ readonly id: string; readonly sum: number }[]> {
  const ends = (await kafka.admin.offsets(topics.events('Counter').name)).map(
    ({ partition, latest }) => `evt.Counter-${partition}:${latest}`,
  );
  const after = Buffer.from(ends.join(',')).toString('base64url');
  const answers = [];
  for (let n = 0; n < 6; n++) answers.push((await any().gateway.ask(Sums, 'All', {}, { after })).view.rows);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  return [...answers[0]!];
}
/** New events, without a pause, and an answer after each: whichever copy gives it, it holds what was sent before. */
function load(): { go(): Promise<void>; stop(): Promise<void> } {
  let [stopped, times] = [false, 0];
  const going = (async () => {
    for (; !stopped; times++) {
      await add(1);
      const { view } = await any().gateway.ask(Sums, 'All', {}, { after: last });
      const [row] = view.rows.filter(({ id }) => id === 'c0');
      expect(row!.sum).toBe(sent.get('c0')!);
    }
  })();
  going.catch(() => (stopped = true));
  return {
    /** Some of them. */
    go: () => {
      const before = times;
      return until(() => stopped || times >= before + 3);
    },
    stop: () => {
      stopped = true;
      return going;
    },
  };
}
const state = (id: string) => (): string => replays.get(id).state;
const comes = (id: string, wanted: string): Promise<void> => until(() => state(id)() === wanted);
const stores = (instance: string): readonly string[] =>
  existsSync(join(dataDir, instance))
    ? readdirSync(join(dataDir, instance))
        .filter((name) => name.includes('Totals'))
        .sort()
    : [];
const copy = (id: string): string => `counting.Totals-1.default.r${id.slice(0, 8)}`;

describe('a shadow replay', () => {
  it('is built beside the read model that answers, promoted, rolled back and promoted again under load, and every row is right', async () => {
    await add(60);
    const events = load();
    const { id } = await replays.start(request('shadow'), actor);
    await comes(id, 'ready');
    await events.go();
    expect(registry.component('Totals')!.consumer).toBe('counting.Totals-1.default');
    await replays.order(id, { action: 'promote' }, actor);
    await comes(id, 'completed');
    await until(() => registry.component('Totals')!.consumer === copy(id));
    await events.go();
    await replays.order(id, { action: 'rollback' }, actor);
    await comes(id, 'rolledBack');
    await events.go();
    await replays.order(id, { action: 'promote' }, actor);
    await comes(id, 'completed');
    await events.go();
    await events.stop();
    expect(await rows()).toEqual(truth());
    await replays.order(id, { action: 'drop' }, actor);
    for (const instance of instances.keys()) await until(() => stores(instance).length === 1);
    expect(stores('counting-1')).toEqual([copy(id)]);
    await add(3);
    expect(await rows()).toEqual(truth());
  }, 60_000);

  it('has each event acted on once on each instance, whichever copy it is that does, from hand-over to hand-over under load', async () => {
    acted.clear();
    await add(20);
    const events = load();
    const { id } = await replays.start(request('shadow'), actor);
    await comes(id, 'ready');
    for (const [action, wanted] of Array.from({ length: 4 }, () => [
      ['promote', 'completed'] as const,
      ['rollback', 'rolledBack'] as const,
    ]).flat()) {
      await events.go();
      await replays.order(id, { action }, actor);
      await comes(id, wanted);
    }
    await events.go();
    await events.stop();
    expect(await rows()).toEqual(truth());
    expect([acted.size, new Set(acted.values())]).toEqual([
      [...sent.values()].reduce((sum, count) => sum + count),
      new Set([instances.size]),
    ]);
  }, 60_000);

  it('of several read models is handed over at one cut and in one step, and takes orders together', async () => {
    await add(30);
    const events = load();
    const { id, group } = await replays.start(request('shadow', { with: ['Counts'] }), actor);
    const both = () => replays.list().filter((each) => each.group === group);
    const [first, second] = both();
    expect([group, first!.partitions]).toEqual([id, second!.partitions]);
    await until(() => both().every((each) => each.state === 'ready'));
    await events.go();
    await replays.order(both().find((each) => each.id !== id)!.id, { action: 'promote' }, actor);
    await until(() => both().every((each) => each.state === 'completed'));
    await events.stop();
    expect(await rows()).toEqual(truth());
    const decoder = codec.decoder(ReadModelAliasSchema);
    const aliases: (ReadModelAlias & { readonly offset: bigint })[] = [];
    const onRecord = async ({ offset, value }: ConsumedRecord): Promise<void> => {
      aliases.push({ offset, ...(await decoder.decode(value!)) });
    };
    await using _ = await tailTopic({ kafka, topic: topics.aliases.name, onError: fail, onRecord });
    const [cut, same] = aliases.filter(({ phase }) => phase === 'handover').map((each) => each.cut);
    expect(cut).toEqual(same);
    // One transaction: neighbours.
    const [flip, next] = aliases.filter(({ phase }) => phase === 'kept').map((each) => each.offset);
    expect(next! - flip!).toBe(1n);
    await replays.order(id, { action: 'drop' }, actor);
    for (const mode of ['shadow', 'rewind'] as const) {
      const { id: again } = await replays.start(request(mode, { with: ['Counts'], rate: 1 }), actor);
      await replays.order(again, { action: 'cancel' }, actor);
      const members = () => replays.list().filter((each) => each.group === again);
      await until(() => members().length === 2 && members().every((each) => each.state === 'cancelled'));
    }
    await expect(replays.start(request('shadow', { with: ['Counts', 'Totals'] }), actor)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      violations: [{ pointer: '/with' }],
    });
  }, 60_000);

  it('replaces what a bug has left behind, all at once', async () => {
    code.each = 2;
    await add(20);
    const wrong = truth().map(({ id, sum }) => ({ id, sum: sum * 2 }));
    expect(await rows()).toEqual(wrong);
    code.each = 1;
    const { id } = await replays.start(request('shadow'), actor);
    await comes(id, 'ready');
    expect(await rows()).toEqual(wrong);
    await replays.order(id, { action: 'promote' }, actor);
    await comes(id, 'completed');
    await until(() => registry.component('Totals')!.consumer === copy(id));
    expect(await rows()).toEqual(truth());
    await replays.order(id, { action: 'rollback' }, actor);
    await comes(id, 'rolledBack');
    await until(() => registry.component('Totals')!.consumer !== copy(id));
    expect(await rows()).toEqual(wrong);
  }, 60_000);

  it('leaves the copy before where the hand-over cut it, on every instance', async () => {
    await add(30);
    const { id } = await replays.start(request('shadow'), actor);
    await comes(id, 'ready');
    await replays.order(id, { action: 'promote' }, actor);
    await comes(id, 'completed');
    const at = (consumer: string) =>
      [...instances.values()].map(({ instance }) =>
        instance
          .status()
          .find((status) => status.consumer === consumer)!
          .partitions.map(({ position }) => position),
      );
    const cut = at('counting.Totals-1.default');
    await add(20);
    await rows();
    for (const positions of at(copy(id))) positions.forEach((position, n) => expect(position).toBeGreaterThan(cut[0]![n]!));
    expect(at('counting.Totals-1.default')).toEqual(cut);
    expect(cut[0]).toEqual(cut[1]);
  }, 60_000);

  it('goes on after restarts of instances and of the service, at each of its steps', async () => {
    const again = async (): Promise<void> => {
      await replays.close();
      await stop('counting-1');
      await start('counting-1');
      await until(registered(2));
      replays = await openReplayService({ instance: platform, registry, ...noEvents });
    };
    await add(40);
    const { id } = await replays.start(request('shadow', { rate: 40 }), actor);
    await again();
    await replays.order(id, { action: 'throttle', recordsPerSecond: null }, actor);
    await comes(id, 'ready');
    await again();
    await replays.order(id, { action: 'promote' }, actor);
    await again();
    await comes(id, 'completed');
    await again();
    await add(10);
    await until(() => registry.component('Totals')!.consumer === copy(id));
    expect(await rows()).toEqual(truth());
    await replays.order(id, { action: 'rollback' }, actor);
    await again();
    await comes(id, 'rolledBack');
    await add(10);
    expect(await rows()).toEqual(truth());
    // One that was never there builds what answers.
    await start('counting-2');
    await until(registered(3));
    await replays.order(id, { action: 'promote' }, actor);
    await comes(id, 'completed');
    expect(await rows()).toEqual(truth());
  }, 120_000);

  it('is dropped when it is cancelled, and stands in the way of others until then', async () => {
    await add(30);
    const { id } = await replays.start(request('shadow', { rate: 5 }), actor);
    await expect(replays.start(request('rewind'), actor)).rejects.toMatchObject({ code: 'REPLAY_RUNNING', facts: { replay: id } });
    await expect(replays.order(id, { action: 'promote' }, actor)).rejects.toThrow(
      /shadow and running: it takes pause, resume, throttle, cancel, drop/,
    );
    await until(() => stores('counting-0').length === 2);
    await replays.order(id, { action: 'cancel' }, actor);
    expect(replays.get(id).state).toBe('cancelled');
    for (const instance of instances.keys()) await until(() => stores(instance).length === 1);
    const second = await replays.start(request('shadow'), actor);
    await comes(second.id, 'ready');
    await replays.order(second.id, { action: 'promote' }, actor);
    await comes(second.id, 'completed');
    await expect(replays.start(request('rewind'), actor)).rejects.toThrow(/keeps a second copy: drop it first/);
    await replays.order(second.id, { action: 'drop' }, actor);
    await expect(replays.order(second.id, { action: 'rollback' }, actor)).rejects.toThrow(/has been dropped/);
    // A rewind is of the copy that answers.
    await until(() => registry.component('Totals')!.consumer === copy(second.id));
    const rewind = await replays.start(request('rewind'), actor);
    await comes(rewind.id, 'completed');
    expect(rewind.consumer).toBe(copy(second.id));
    expect(await rows()).toEqual(truth());
  }, 60_000);
});

describe('a scratch replay', () => {
  const lines = async (id: string): Promise<unknown[]> => {
    const found: unknown[] = [];
    for await (const line of replays.differences(id)) found.push(JSON.parse(line));
    return found;
  };

  it('finds nothing where the read model is as it would be built, under load', async () => {
    await add(30);
    const events = load();
    const { id } = await replays.start(request('scratch'), actor);
    await comes(id, 'completed');
    await events.stop();
    expect(replays.report(id)).toMatchObject({ equal: true, tables: [{ table: 'totals', rows: 5, copyRows: 5, changed: 0 }], samples: [] });
    expect(await lines(id)).toEqual([]);
    for (const instance of instances.keys()) await until(() => stores(instance).length === 1);
    expect(await rows()).toEqual(truth());
  }, 60_000);

  it('tells each row that differs, and leaves the read model as it is', async () => {
    code.each = 2;
    await add(10);
    await rows();
    code.each = 1;
    const { id } = await replays.start(request('scratch'), actor);
    expect(() => replays.report(id)).toThrow(/it has no report/);
    await comes(id, 'completed');
    const { instance, ...report } = replays.report(id);
    expect(instance).toBe('counting-0');
    expect(report).toMatchObject({ equal: false, tables: [{ rows: 5, copyRows: 5, added: 0, removed: 0, changed: 5 }] });
    const differences = truth().map(({ id: key, sum }) => ({ table: 'totals', key, live: { sum: sum * 2 }, copy: { sum } }));
    expect([report.samples, await lines(id)]).toEqual([differences, differences]);
    expect(await rows()).toEqual(truth().map(({ id: key, sum }) => ({ id: key, sum: sum * 2 })));
  }, 60_000);

  it('is ordered, promoted and read over HTTP', async () => {
    code.each = 2;
    await add(10);
    await rows();
    code.each = 1;
    await using server = await startTestServer({ routes: replayRoutes(replays) });
    const post = (path: string, body?: unknown) =>
      server.send({ method: 'POST', path: `/api/v1/replays${path}`, ...(body === undefined ? {} : { body }) });
    const scratch = await post('', { target: 'Totals', mode: 'scratch', reason: 'rehearse' });
    const { id } = scratch.json() as { id: string };
    expect([scratch.status, scratch.headers.location]).toEqual([202, `/api/v1/replays/${id}`]);
    await comes(id, 'completed');
    const report = await server.send({ path: `/api/v1/replays/${id}/report` });
    expect(report.json()).toMatchObject({ replay: id, equal: false, tables: [{ changed: 5 }] });
    const file = await server.send({ path: `/api/v1/replays/${id}/differences` });
    expect(file.headers['content-type']).toBe('application/x-ndjson');
    expect(file.text.trimEnd().split('\n')).toHaveLength(5);
    expect((await server.send({ path: '/api/v1/replays/nobody/differences' })).problem().code).toBe('UNKNOWN_REPLAY');
    const shadow = ((await post('', { target: 'Totals', mode: 'shadow', reason: 'fix' })).json() as { id: string }).id;
    expect((await post('', { target: 'Totals', mode: 'scratch', reason: 'again' })).problem().code).toBe('REPLAY_RUNNING');
    expect((await server.send({ path: `/api/v1/replays/${shadow}/report` })).problem().code).toBe('NOT_FOUND');
    await comes(shadow, 'ready');
    expect((await post(`/${shadow}/promote`)).json()).toMatchObject({ state: 'promoting' });
    await comes(shadow, 'completed');
    expect((await post(`/${shadow}/drop`)).status).toBe(202);
    expect((await post(`/${shadow}/rollback`)).problem().code).toBe('INVALID_REQUEST');
    expect(await rows()).toEqual(truth());
  }, 60_000);

  it('is the same replay for the same key, and tells of its progress until its end', async () => {
    await add(10);
    await rows();
    await using server = await startTestServer({ routes: replayRoutes(replays) });
    const wish = { target: 'Totals', mode: 'rewind', rate: 20, reason: 'once' };
    const post = (key: string, body: unknown) =>
      server.send({ method: 'POST', path: '/api/v1/replays', headers: { 'idempotency-key': key }, body });
    const first = (await post('"k1"', wish)).json() as { id: string };
    expect((await post('"k1"', wish)).json()).toMatchObject({ id: first.id });
    expect((await post('k1', { ...wish, reason: 'other' })).problem()).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED' });
    expect((await post('k2', wish)).problem().code).toBe('REPLAY_RUNNING');
    // It ends when the replay does.
    const told = (await server.send({ path: `/api/v1/replays/${first.id}/events` })).text;
    const states = [...told.matchAll(/^event: replay\ndata: (.*)$/gm)].map(([, data]) => (JSON.parse(data!) as { state: string }).state);
    expect(states.length).toBeGreaterThan(1);
    expect([states[0], states.at(-1)]).toEqual(['running', 'completed']);
    expect(replays.list().filter(({ state }) => state === 'running')).toEqual([]);
    expect((await post('k1', wish)).json()).toMatchObject({ id: first.id, state: 'completed' });
    expect((await server.send({ path: '/api/v1/replays/nobody/events' })).problem().code).toBe('UNKNOWN_REPLAY');
  }, 30_000);
});
