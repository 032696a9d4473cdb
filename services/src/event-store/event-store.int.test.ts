import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnClickHouse, testKafka, type SpawnedClickHouse } from '@spool/embedded';
import { createCodec, createHttpRegistry, messageHeaders } from '@spool/schemas';
import {
  bundle,
  createGateway,
  openRegistry,
  openReplies,
  projector,
  startBundle,
  table,
  type Gateway,
  type Registry,
  type RunningBundle,
} from '@spool/sdk';
import { connectKafka, openInstance, topicCatalogue, type Instance, type Kafka } from '@spool/streams';
import { registryProcessor } from '../registry/index.js';
import { startSchemaRegistry } from '../schema-registry/index.js';
import { startTelemetry, type EventSearch, type TelemetryService } from '../telemetry/index.js';
import { causationTree } from './causation.js';
import { openEventStore } from './event-store.js';
import { flowSteps, inCausalOrder } from './flow-steps.js';
import { eventTails } from './fan-out.js';
import { Account, pulled, until } from './testing.js';

const Totals = projector('Totals', {
  of: Account,
  tables: { totals: table<number>() },
  on: { Paid: ({ amount }, { totals }) => totals.put('all', (totals.get('all') ?? 0) + amount) },
});

describe('the event store on a real broker and a real ClickHouse', () => {
  let folder: string;
  let server: SpawnedClickHouse;
  let kafka: Kafka;
  let namespace: string;
  let schemas: { readonly url: string };
  let platform: Instance;
  let registry: Registry;
  let gateway: Gateway;
  let bank: RunningBundle;
  let telemetry: TelemetryService;
  const closing: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    closing.push(part);
    return part;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-event-store-'));
    server = keep(await spawnClickHouse({ dataDir: join(folder, 'clickhouse') }));
    kafka = keep(await connectKafka({ brokers: testKafka(), clientId: 'event-store-test' }));
    namespace = `t${randomUUID().slice(0, 8)}.`;
    schemas = keep(await startSchemaRegistry({ kafka, port: 0, topic: `${namespace}_schemas`, log: () => undefined }));
    const codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
    const topics = topicCatalogue({ namespace });
    const shared = { kafka, codec, topics, dataDir: folder, log: () => undefined, now: Date.now };
    const onError = (): void => undefined;
    platform = keep(await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' }));
    await platform.run(registryProcessor(platform));
    registry = keep(await openRegistry({ kafka, codec, topics, onError }));
    const replies = keep(await openReplies({ kafka, codec, topic: topics.replies('gateway'), slot: 0, now: Date.now, onError }));
    gateway = createGateway({ codec, topics, producer: platform.producer, replies, registry, source: 'gateway', now: Date.now });
    const components = [Account, Totals];
    bank = keep(await startBundle(bundle({ id: 'bank', version: '1.0.0', components }), { ...shared, instance: 'bank-0' }));
    await until(() => registry.component('Account') !== undefined);
    const clickhouse = { url: server.url, ...server.writer, database: 'event_store' };
    telemetry = keep(await startTelemetry({ instance: platform, registry, clickhouse, gatherMs: 50, discoverMs: 200 }));
  }, 120_000);
  afterAll(async () => {
    for (const part of closing.reverse()) await part.close();
    await rm(folder, { recursive: true, force: true });
  }, 120_000);

  it('finds events by what they are and what they hold, page by page, and shows a flow as a tree', async () => {
    const { events } = telemetry;
    const search = async (asked: Partial<EventSearch>) => events.search({ newestFirst: false, limit: 100, ...asked });
    for (let n = 0; n < 25; n++) {
      const note = n === 7 ? `it's 100% "fun"_\\n ä` : `note ${n}`;
      await bank.gateway.send(
        Account,
        'Put',
        `s${n % 3}`,
        { amount: n, note },
        { commandId: `cmd-${n}`, correlationId: 'find', actor: 'ada' },
      );
    }
    await bank.gateway.send(Account, 'Close', 's0', {}, { commandId: 'cmd-close', correlationId: 'find' });
    await until(async () => (await search({})).length === 26);
    const amounts = async (asked: Partial<EventSearch>) =>
      (await search(asked)).map(({ payload }) => (payload as { amount?: number }).amount ?? 'closed');

    expect(await amounts({ types: ['Closed'] })).toEqual(['closed']);
    expect(await amounts({ types: ['Closed', 'Paid'], aggregateTypes: ['Account'], aggregateId: 's0' })).toEqual([0, 3, 6, 9, 12, 15, 18, 21, 24, 'closed']); // prettier-ignore
    expect(await amounts({ aggregateTypes: ['Other'] })).toEqual([]);
    expect(await amounts({ commandId: 'cmd-4' })).toEqual([4]);
    expect(await amounts({ eventId: 'cmd-5/0', causationId: 'cmd-5', actor: 'ada' })).toEqual([5]);
    expect(await amounts({ fields: [{ path: ['amount'], value: '12' }] })).toEqual([12]);
    expect(await amounts({ fields: [{ path: ['note'], value: 'note 3' }] })).toEqual([3]);
    expect(await amounts({ fields: [{ path: ['note', '0'], value: '' }] })).toEqual([]);
    expect(await amounts({ fields: [{ path: ['nothing'], value: '' }] })).toEqual([]);
    // Neither a quote nor a wildcard of LIKE means anything but itself.
    expect(await amounts({ contains: '100%' })).toEqual([7]);
    expect(await amounts({ contains: 'note _2' })).toEqual([]);
    expect(await amounts({ contains: "it's" })).toEqual([7]);
    expect(await amounts({ contains: "' OR 1 = 1 --" })).toEqual([]);
    expect(await amounts({ contains: '\\\\n' })).toEqual([7]);
    expect(await amounts({ fields: [{ path: ['note'], value: `it's 100% "fun"_\\n ä` }] })).toEqual([7]);

    const all = await search({});
    const from = all[10]!.at;
    expect(await search({ from })).toEqual(all.filter(({ at }) => at >= from));
    expect(await search({ to: from })).toEqual(all.filter(({ at }) => at < from));

    const paged: string[] = [];
    for (let beyond: EventSearch['beyond']; ;) {
      const page = await search({ newestFirst: true, limit: 7, ...(beyond === undefined ? {} : { beyond }) });
      paged.push(...page.map(({ id }) => id));
      beyond = page.at(-1);
      if (page.length < 7) break;
    }
    expect(paged).toEqual((await search({ newestFirst: true })).map(({ id }) => id));
    expect(new Set(paged).size).toBe(26);

    // A flow: the command, its event, and the projector that handled it.
    await until(async () => (await events.flow('find')).messages.length >= 26 + 25);
    const tree = causationTree(await events.flow('find'));
    expect(tree.map(({ depth, kind, id }) => `${depth} ${kind} ${id}`).slice(0, 4)).toEqual([
      '0 command cmd-0',
      '1 event cmd-0/0',
      '0 command cmd-1',
      '1 event cmd-1/0',
    ]);
    expect(tree[0]).toMatchObject({
      type: 'Put',
      bundle: 'bank',
      component: 'Account',
      handledBy: [{ outcome: 'applied', instance: 'bank-0' }],
    });
    expect(tree[1]).toMatchObject({ type: 'Paid', causationId: 'cmd-0', handledBy: [{ component: 'Totals', componentKind: 'projector' }] });
    expect(tree).toHaveLength(52);
    await using store = openEventStore({ instance: platform, registry, gateway });
    const steps = await flowSteps(inCausalOrder(tree), store, (type) => type === 'Account', Date.now() + 20_000);
    expect(steps.map(({ node, step }) => `${node.id} ${String(step?.version)}`).slice(-2)).toEqual([
      'cmd-close undefined',
      'cmd-close/0 10',
    ]);
    expect(steps.at(-1)!.step).toMatchObject({ after: { balance: 0 + 3 + 6 + 9 + 12 + 15 + 18 + 21 + 24 }, changes: [] });
  }, 120_000);

  it('follows the log from its beginning into the present, and goes on after a break', async () => {
    const total = 120;
    const sending = (async () => {
      for (let n = 0; n < total; n++)
        await bank.gateway.send(Account, 'Put', `t${n % 11}`, { amount: n, note: '' }, { correlationId: 'tail' });
    })();
    const found: number[] = [];
    let resume: string | undefined;
    while (found.length < total) {
      // Broken off now and then, in the middle of whatever was fetched; a new process takes over.
      const until = Math.min(total, found.length + 37);
      const stop = new AbortController();
      const tail = await eventTails(platform, registry).open({ from: 'earliest', correlationId: 'tail', resume, signal: stop.signal });
      for await (const { position, event } of pulled(tail)) {
        resume = position;
        if (event !== undefined) found.push((event.payload as { amount: number }).amount);
        if (found.length === until) break;
      }
      stop.abort();
    }
    await sending;
    expect(found.toSorted((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, n) => n));
  }, 120_000);

  it('reads a state through a snapshot that was asked for', async () => {
    await using store = openEventStore({ instance: platform, registry, gateway });
    await bank.gateway.send(Account, 'Many', 'u', { count: 120 });
    const deadline = Date.now() + 20_000;
    expect(await store.snapshot('Account', 'u', { deadline, actor: 'ada' })).toBe(120);
    expect(await store.state({ aggregateType: 'Account', aggregateId: 'u', deadline })).toMatchObject({
      version: 120,
      state: { balance: 120 },
    });
    expect(await store.rebuild('Account', 'u', { deadline, actor: 'ada' })).toBe(120);
    const { changes } = await store.difference({
      ...{ aggregateType: 'Account', aggregateId: 'u', deadline },
      from: { version: 100 },
      to: {},
    });
    expect(changes).toEqual([{ op: 'replace', path: '/balance', before: 100, after: 120 }]);
  }, 120_000);

  it('is verified by a command of its own, which ends with 1 when an event was planted', async () => {
    const clean = await runVerify(['--aggregate', 'Account']);
    expect(clean).toMatchObject({ code: 0, errors: '' });
    expect(clean.lines).toHaveLength(1);
    expect(clean.lines[0]).toMatch(
      /^Account: \d+ events of \d+, [1-9]\d* snapshots \([1-9]\d* compared with their events, 0 by other code\): all is well$/,
    );
    const topic = platform.topics.events('Account').name;
    const encoder = await platform.codec.encoder(topic, Account.events.Paid);
    const headers = messageHeaders({ id: 'planted', type: 'Paid', aggregateVersion: 7, writerEpoch: 1000 });
    const { partition, offset } = await platform.producer.send({
      topic,
      key: 'w',
      value: encoder.encode({ amount: 1, note: '' }),
      headers,
    });
    const found = await runVerify(['--json']);
    expect(found).toMatchObject({ code: 1, errors: '' });
    expect(JSON.parse(found.lines[0]!)).toEqual({
      violation: {
        ...{ code: 'VERSION_GAP', topic, partition, offset: String(offset), aggregateType: 'Account', aggregateId: 'w' },
        ...{ expected: 'version 1', found: 'version 7' },
      },
    });
    expect(await runVerify(['--aggregate', 'Nothing'])).toMatchObject({
      code: 2,
      errors: expect.stringContaining('UNKNOWN_AGGREGATE') as string,
    });
    expect((await runVerify(['--from', 'yesterday'])).code).toBe(2);
  }, 120_000);

  const runVerify = (args: readonly string[]): Promise<{ code: number; lines: readonly string[]; errors: string }> =>
    new Promise((resolve) => {
      const main = fileURLToPath(new URL('./verify/main.js', import.meta.url));
      const env = { ...process.env, KAFKA_BROKERS: testKafka().join(','), SPOOL_NAMESPACE: namespace, SCHEMA_REGISTRY_URL: schemas.url };
      const child = execFile(process.execPath, [main, ...args], { env, timeout: 100_000 }, (_, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, lines: stdout.split('\n').filter((line) => line !== ''), errors: stderr });
      });
    });
});
