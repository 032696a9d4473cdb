import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, InstanceRowSchema, type Codec, type InstanceRow } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { bundle, openInstances, openRegistry, startBundle, type Instances, type Registry, type RunningBundle } from '@spool/sdk';
import { createMemoryCluster, leaseGrantor, openInstance, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { clusterProcessor, openDrains, openSettings } from '../cluster/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { openInteractions, openRegistrar, registryProcessor } from '../registry/index.js';
import { clusterRoutes } from './cluster-routes.js';
import { registryRoutes } from './registry-routes.js';

const topics = topicCatalogue({ partitions: 1 });
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let instances: Instances;
let registry: Registry;
let server: TestServer;
const open: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  const schemas = createMemoryRegistry();
  codec = createCodec({ registry: schemas });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-routes-'));
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(leaseGrantor(platform));
  await platform.run(clusterProcessor(platform));
  await platform.run(registryProcessor(platform));
  const onError = (): void => undefined;
  instances = await openInstances({ kafka, codec, topics, onError });
  registry = await openRegistry({ kafka, codec, topics, onError });
  const interactions = await openInteractions(platform);
  const registrar = await openRegistrar({ instance: platform, registry, schemas });
  const drains = await openDrains(platform, instances);
  const settings = await openSettings(platform);
  server = await startTestServer({
    routes: [...clusterRoutes({ instances, drains, settings }), ...registryRoutes({ registry, registrar, interactions })],
  });
  open.push(platform, instances, registry, interactions, server);
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
async function startEmpty(instance: string): Promise<RunningBundle> {
  const config = { kafka, codec, topics, dataDir, log: () => undefined, instance };
  const running = await startBundle(bundle({ id: 'empty', version: '1.0.0', components: [] }), config);
  open.push(running);
  return running;
}
/** Reads server-sent events until there are so many. */
async function events(
  path: string,
  count: number,
  headers: Record<string, string> = {},
): Promise<{ id: string; event: string; data: unknown }[]> {
  const stop = new AbortController();
  const answer = await fetch(server.url + path, { headers: { accept: 'text/event-stream', ...headers }, signal: stop.signal });
  let text = '';
  const found = (): string[] =>
    text
      .split('\n\n')
      .slice(0, -1)
      .filter((block) => block.includes('event:'));
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (found().length >= count) break;
  }
  stop.abort();
  return found().map((block) => {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? '';
    return { id: field('id'), event: field('event'), data: JSON.parse(field('data')) as unknown };
  });
}
const list = async (path: string) => {
  const answer = await server.send({ path });
  return { ...(answer.json() as { items: Record<string, unknown>[]; position: string }), etag: String(answer.headers.etag) };
};
const put = async (row: Partial<InstanceRow> & { instance: string }): Promise<void> => {
  const encoder = await codec.encoder(topics.instances.name, InstanceRowSchema);
  const blank = {
    bundle: 'b',
    version: '1.0.0',
    state: 'up' as const,
    since: 1,
    reason: 'r',
    startedAt: 1,
    incarnation: '1',
    host: 'h',
    pid: 1,
    location: null,
    former: [],
  };
  await platform.producer.send({ topic: topics.instances.name, key: `i/${row.instance}`, value: encoder.encode({ ...blank, ...row }) });
};

describe('the instances over HTTP', () => {
  it('are listed with the position as tag, and not again while nothing changes', async () => {
    platform.ready();
    await until(() => instances.get('platform-0')?.state === 'up');
    const { items, etag, position } = await list('/api/v1/cluster/instances');
    expect(items).toMatchObject([{ instance: 'platform-0', bundle: 'spool', state: 'up', reason: 'it is up' }]);
    expect(etag).toBe(`"${position}"`);
    const same = { path: '/api/v1/cluster/instances', headers: { 'if-none-match': etag } };
    expect((await server.send(same)).status).toBe(304);
    // Heartbeats and checkpoints go on, and change nothing.
    const [before] = await kafka.admin.offsets(topics.instances.name);
    await until(() => (instances.table.positions.get('cluster.instances-0') ?? 0n) >= before!.latest);
    expect((await server.send(same)).status).toBe(304);
    await put({ instance: 'a' });
    await until(() => instances.get('a') !== undefined);
    expect((await server.send(same)).status).toBe(200);
  });

  it('tell their changes from the position of a list, and go on after a lost connection without a gap', async () => {
    await put({ instance: 'a' });
    await until(() => instances.get('a') !== undefined && instances.get('platform-0') !== undefined);
    const { position } = await list('/api/v1/cluster/instances');
    await put({ instance: 'a', state: 'suspect' });
    await put({ instance: 'b' });
    await until(() => instances.get('b') !== undefined);
    const [first] = await events(`/api/v1/cluster/instances/changes?after=${position}`, 1);
    expect(first).toMatchObject({ event: 'changed', data: { instance: 'a', state: 'suspect' } });
    await platform.producer.send({ topic: topics.instances.name, key: 'i/a', value: null });
    const rest = await events('/api/v1/cluster/instances/changes', 2, { 'last-event-id': first!.id });
    expect(rest.map(({ event, data }) => [event, data])).toMatchObject([
      ['changed', { instance: 'b' }],
      ['removed', { id: 'a' }],
    ]);
    const live = events('/api/v1/cluster/instances/changes', 1, { 'last-event-id': rest.at(-1)!.id });
    await put({ instance: 'c' });
    expect((await live)[0]).toMatchObject({ event: 'changed', data: { instance: 'c' } });
  });

  it('refuse a position that is none', async () => {
    expect((await server.send({ path: '/api/v1/cluster/instances/changes?after=nonsense' })).problem()).toMatchObject({
      code: 'INVALID_REQUEST',
    });
  });
});

describe('draining', () => {
  const drain = (id: string) => server.send({ method: 'POST', path: `/api/v1/cluster/instances/${id}/drain`, body: { reason: 'upgrade' } });

  it('empties an instance that stays and says so, and takes it out of the registry', async () => {
    const running = await startEmpty('empty-0');
    const consumed = await running.instance.run({
      consumer: 'test',
      sources: [topics.control.name],
      assignment: 'all',
      startAt: 'earliest',
      open: () =>
        Promise.resolve({
          positions: new Map(),
          epoch: -1n,
          replay: undefined,
          process: () => Promise.resolve(),
          close: () => Promise.resolve(),
        }),
    });
    await until(() => instances.get('empty-0')?.state === 'up' && registry.bundles()[0]?.instances.length === 1);
    const answer = await drain('empty-0');
    expect([answer.status, answer.json()]).toMatchObject([202, { instance: 'empty-0' }]);
    await until(() => instances.get('empty-0')?.reason === 'drained: it can be stopped');
    expect([instances.get('empty-0')!.state, consumed.status().state]).toEqual(['draining', 'stopped']);
    await until(() => registry.bundles()[0]?.instances.length === 0);
    await expect(running.instance.run({} as never)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect((await drain('empty-0')).status).toBe(202);
    await running.close();
    await until(() => instances.get('empty-0')?.state === 'gone');
    expect((await drain('empty-0')).problem()).toMatchObject({ code: 'INVALID_REQUEST' });
    const [audit] = await kafka.admin.offsets(topics.audit.name);
    expect(audit!.latest).toBeGreaterThan(0n);
  });

  it('is an order to one run: the next under the same name works', async () => {
    await (await startEmpty('empty-0')).close();
    const first = await startEmpty('empty-0');
    await until(() => instances.get('empty-0')?.state === 'up');
    await drain('empty-0');
    await until(() => instances.get('empty-0')?.state === 'draining');
    await first.close();
    const second = await startEmpty('empty-0');
    await until(() => instances.get('empty-0')?.state === 'up');
    expect(second.instance.status()).toEqual([]);
    expect(registry.bundles()[0]).toBeDefined();
  });

  it('is refused for nobody, and for the last of the platform', async () => {
    expect((await drain('nobody')).problem()).toMatchObject({ code: 'UNKNOWN_INSTANCE' });
    await until(() => instances.get('platform-0') !== undefined);
    expect((await drain('platform-0')).problem()).toMatchObject({
      code: 'INVALID_REQUEST',
      detail: expect.stringContaining('last of the platform') as string,
    });
  });
});

describe('the settings over HTTP', () => {
  const path = '/api/v1/cluster/config';
  it('are read and changed at their version', async () => {
    const first = await server.send({ path });
    expect([first.headers.etag, first.json()]).toMatchObject([
      '"0"',
      { heartbeatMs: 2000, suspectAfterMissed: 3, downMs: 10_000, leaseMs: 15_000, at: null },
    ]);
    const changed = await server.send({ method: 'PATCH', path, headers: { 'if-match': '"0"' }, body: { heartbeatMs: 1000 } });
    expect([changed.status, changed.headers.etag, changed.json()]).toMatchObject([
      200,
      '"1"',
      { heartbeatMs: 1000, downMs: 10_000, version: 1 },
    ]);
    expect((await server.send({ path, headers: { 'if-none-match': '"1"' } })).status).toBe(304);
    const late = await server.send({ method: 'PATCH', path, headers: { 'if-match': '"0"' }, body: { heartbeatMs: 3000 } });
    expect(late.problem()).toMatchObject({ status: 412, code: 'PRECONDITION_FAILED' });
    expect(platform.config.current.heartbeatMs).toBe(1000);
  });

  it('refuse what is out of range, misspelt or contradicts itself', async () => {
    for (const [body, pointer] of [
      [{ heartbeatMs: 1 }, '/heartbeatMs'],
      [{ heartbeat: 1000 }, '/heartbeat'],
      [{ downMs: 5000 }, '/downMs'],
    ] as const) {
      const answer = await server.send({ method: 'PATCH', path, body });
      expect(answer.problem()).toMatchObject({ status: 400, code: 'INVALID_REQUEST', errors: [{ pointer }] });
    }
  });
});

describe('the registry over HTTP', () => {
  it('has a tag and tells its changes, and takes a descriptor or says what is wrong with it', async () => {
    const { position } = await list('/api/v1/registry/bundles');
    const descriptor = { id: 'shop', version: '1.0.0', description: '', components: [], payloads: [] };
    const made = await server.send({ method: 'POST', path: '/api/v1/registry/bundles', body: descriptor });
    expect([made.status, made.json()]).toMatchObject([201, { id: 'shop', instances: [] }]);
    const [change] = await events(`/api/v1/registry/changes?after=${position}`, 1);
    expect(change).toMatchObject({ event: 'changed', data: { id: 'shop', version: '1.0.0' } });
    for (const what of ['bundles', 'components', 'handlers', 'payloads', 'graph']) {
      const answer = await server.send({ path: `/api/v1/registry/${what}` });
      expect(answer.status).toBe(200);
      const again = { path: `/api/v1/registry/${what}`, headers: { 'if-none-match': String(answer.headers.etag) } };
      expect((await server.send(again)).status).toBe(304);
    }
    const reader = { name: 'Reader', kind: 'projector', description: '', handles: ['Vanished'], sends: [], replayable: true };
    const refused = await server.send({
      method: 'POST',
      path: '/api/v1/registry/bundles',
      body: { ...descriptor, id: 'other', components: [reader] },
    });
    expect(refused.problem()).toMatchObject({
      status: 422,
      code: 'BUNDLE_REFUSED',
      errors: [{ pointer: '/components/0/handles/0', detail: 'Reader handles Vanished, which no bundle declares' }],
    });
  });
});
