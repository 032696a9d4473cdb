import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BundleAnnouncedSchema,
  BundleLeftSchema,
  createCodec,
  createMemoryRegistry,
  messageHeaders,
  SpanSchema,
  type AvroSchema,
  type Codec,
  type Interaction,
  type SchemaRegistry,
  type Span,
  type SpoolError,
} from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { openRegistry, type BundleDescriptor, type Registry } from '@spool/sdk';
import {
  createMemoryCluster,
  openInstance,
  topicCatalogue,
  type Instance,
  type Kafka,
  type RunningProcessor,
  type TableReader,
} from '@spool/streams';
import { graphOf, interactionProcessor, openInteractions, openRegistrar, registryProcessor, type Registrar } from './index.js';

const topics = topicCatalogue({ partitions: 2 });
const actor = { name: 'ada', roles: ['operator'] };
let kafka: Kafka;
let codec: Codec;
let schemas: SchemaRegistry;
let dataDir: string;
let platform: Instance;
let processor: RunningProcessor;
let registry: Registry;
let registrar: Registrar;
let interactions: TableReader<Interaction> | undefined;
let written: number;

beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  schemas = createMemoryRegistry();
  codec = createCodec({ registry: schemas });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-registry-'));
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  processor = await platform.run(registryProcessor(platform));
  registry = await openRegistry({ kafka, codec, topics, onError: () => undefined });
  registrar = await openRegistrar({ instance: platform, registry, schemas });
  written = 0;
  registry.onChange(() => (written += 1));
});
afterEach(async () => {
  await interactions?.close();
  interactions = undefined;
  await registry.close();
  await platform.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const schema = (name: string, ...fields: string[]): AvroSchema => ({
  type: 'record',
  name,
  namespace: 'shop',
  fields: fields.map((field) => ({ name: field, type: 'string' })),
});
const payload = (kind: 'command' | 'event', type: string, component: string, ...fields: string[]) => ({
  type,
  kind,
  component,
  topic: (kind === 'command' ? topics.commands : topics.events)(component).name,
  schemaName: `shop.${type}`,
  schema: schema(type, ...fields),
});
const component = (name: string, kind: 'aggregate' | 'projector', handles: string[], sends: string[] = []) => ({
  name,
  kind,
  description: '',
  handles,
  sends,
  replayable: kind === 'projector',
});
const shop = (version = '1.0.0'): BundleDescriptor => ({
  id: 'shop',
  version,
  description: 'Sells',
  components: [component('Order', 'aggregate', ['Place'], ['Placed']), component('Sales', 'projector', ['Placed'])],
  payloads: [payload('command', 'Place', 'Order', 'what'), payload('event', 'Placed', 'Order', 'what')],
});
const announce = (instance: string, incarnation: string, descriptor = shop(), at = Date.now()): Promise<unknown> =>
  publish(BundleAnnouncedSchema.fullName, async () => {
    const encoder = await codec.encoder(topics.announcements.name, BundleAnnouncedSchema);
    const { id: bundle, version } = descriptor;
    return encoder.encode({ bundle, version, instance, incarnation, host: 'h', pid: 1, descriptor: JSON.stringify(descriptor), at });
  });
const leave = (instance: string, incarnation: string, version = '1.0.0'): Promise<unknown> =>
  publish(BundleLeftSchema.fullName, async () => {
    const encoder = await codec.encoder(topics.announcements.name, BundleLeftSchema);
    return encoder.encode({ bundle: 'shop', version, instance, incarnation, at: Date.now() });
  });
async function publish(type: string, encode: () => Promise<Buffer>): Promise<void> {
  const headers = messageHeaders({ id: 'x', type, source: 'test', time: Date.now() });
  await platform.producer.send({ topic: topics.announcements.name, key: 'shop', value: await encode(), headers });
  await settled();
}
async function settled(): Promise<void> {
  await processor.caughtUp();
  const [end] = await kafka.admin.offsets(topics.bundles.name);
  await until(() => (registry.table.positions.get(`${topics.bundles.name}-0`) ?? 0n) >= end!.latest);
}
const instancesOf = (version = '1.0.0') => registry.bundles().find((each) => each.version === version)?.instances;

describe('the registry', () => {
  it('writes what changed and nothing that is only said again', async () => {
    await announce('shop-0', 'a');
    await announce('shop-0', 'a');
    await announce('shop-1', 'b');
    await announce('shop-1', 'b', shop(), Date.now() + 60_000);
    await leave('shop-0', 'a');
    await leave('shop-0', 'a');
    expect([instancesOf(), written, registry.bundles()[0]!.generation]).toEqual([['shop-1'], 3, 3]);
  });

  it('loses no run to the late leave of the run before, nor to what that one still announces', async () => {
    await announce('shop-0', 'a');
    await announce('shop-0', 'b');
    await leave('shop-0', 'a');
    expect(instancesOf()).toEqual(['shop-0']);
    await announce('shop-0', 'a');
    await leave('shop-0', 'a');
    expect(instancesOf()).toEqual(['shop-0']);
    await leave('shop-0', 'b');
    await announce('shop-0', 'b');
    expect(instancesOf()).toEqual([]);
  });

  it('comes back from the log as it was, and goes on where it was', async () => {
    await announce('shop-0', 'a');
    await announce('shop-0', 'b');
    await processor.close();
    rmSync(join(dataDir, 'platform-0'), { recursive: true, force: true });
    processor = await platform.run(registryProcessor(platform));
    await leave('shop-0', 'a');
    await announce('shop-1', 'c', shop('1.1.0'));
    expect([instancesOf(), instancesOf('1.1.0'), written]).toEqual([['shop-0'], ['shop-1'], 3]);
  });

  it('passes over what it cannot read', async () => {
    await platform.producer.send({ topic: topics.announcements.name, key: 'shop', value: Buffer.from('nothing') });
    await announce('shop-0', 'a');
    expect(instancesOf()).toEqual(['shop-0']);
  });
});

describe('a descriptor over HTTP', () => {
  const reasons = async (descriptor: BundleDescriptor): Promise<string[]> => {
    const error = await registrar.register(descriptor, actor).then(
      () => undefined,
      (thrown: unknown) => thrown as SpoolError,
    );
    if (error === undefined) return [];
    expect(error.code).toBe('BUNDLE_REFUSED');
    return error.violations.map(({ pointer, message }) => `${pointer} ${message}`);
  };
  const other = (parts: Partial<BundleDescriptor>): BundleDescriptor => ({
    id: 'other',
    version: '1.0.0',
    description: '',
    components: [],
    payloads: [],
    ...parts,
  });

  it('is registered with its topics and schemas, once, and can be sent to', async () => {
    const row = await registrar.register(shop(), actor);
    expect(row).toMatchObject({ id: 'shop', instances: [], generation: 1 });
    expect((await registrar.register(shop(), actor)).generation).toBe(1);
    expect(registry.payload('command', 'Place')?.topic).toBe('cmd.Order');
    expect(await kafka.admin.listTopics()).toEqual(expect.arrayContaining(['cmd.Order', 'evt.Order', 'snap.Order']));
    expect(await schemas.subjects()).toEqual(expect.arrayContaining(['cmd.Order-shop.Place', 'evt.Order-shop.Placed']));
    const [audit] = await kafka.admin.offsets(topics.audit.name);
    expect(audit!.latest).toBeGreaterThanOrEqual(2n);
  });

  it('is refused for a handler of what nobody declares', async () => {
    expect(await reasons(other({ components: [component('Reader', 'projector', ['Placed', 'Vanished'])] }))).toEqual([
      '/components/0/handles/0 Reader handles Placed, which no bundle declares',
      '/components/0/handles/1 Reader handles Vanished, which no bundle declares',
    ]);
    await registrar.register(shop(), actor);
    expect(await reasons(other({ components: [component('Reader', 'projector', ['Placed'])] }))).toEqual([]);
  });

  it('is refused for a second owner of a command', async () => {
    await registrar.register(shop(), actor);
    const rival = other({
      components: [component('Rival', 'aggregate', ['Place'])],
      payloads: [payload('command', 'Place', 'Rival', 'what')],
    });
    expect(await reasons(rival)).toEqual(['/payloads/0/type the command Place is owned by shop/Order']);
    expect(await reasons(other({ components: [component('Rival', 'aggregate', ['Place'])] }))).toEqual([
      '/components/0/handles/0 the command Place is handled by shop/Order: a command has one owner',
    ]);
    const twice = { ...shop('2.0.0'), components: [...shop().components, component('Copy', 'aggregate', ['Place'])] };
    expect(await reasons(twice)).toEqual(['/components/2/handles/0 the command Place is handled by Order too: a command has one owner']);
  });

  it('is refused for a schema that does not go with the versions before', async () => {
    await registrar.register(shop(), actor);
    const changed = {
      ...shop('2.0.0'),
      payloads: [payload('command', 'Place', 'Order', 'what'), payload('event', 'Placed', 'Order', 'which')],
    };
    const found = await reasons(changed);
    expect(found.length).toBeGreaterThan(0);
    for (const reason of found)
      expect(reason).toMatch(/^\/payloads\/1\/schema not compatible with version 1 of shop\.Placed: .*(what|which)/);
    expect(registry.bundles().map(({ version }) => version)).toEqual(['1.0.0']);
    expect((await schemas.versions('evt.Order-shop.Placed')).length).toBe(1);
  });

  it('is refused for a schema that is none, a name that is another, a topic that is not its own, and an owner that is not there', async () => {
    const [place, placed] = shop().payloads as [BundleDescriptor['payloads'][number], BundleDescriptor['payloads'][number]];
    const wrong = other({
      components: [component('Order', 'aggregate', ['Place'])],
      payloads: [
        { ...place, topic: 'audit' },
        { ...placed, schema: { type: 'record', name: 'Broken' } },
        { ...payload('event', 'Shipped', 'Order'), schemaName: 'shop.Else' },
        payload('event', 'Lost', 'Nobody'),
      ],
    });
    const found = await reasons(wrong);
    expect(found[0]).toBe('/payloads/3/component there is no component Nobody in this bundle');
    expect(found[1]).toBe('/payloads/0/topic the command Place of Order travels on cmd.Order');
    expect(found[2]).toMatch(/^\/payloads\/1\/schema /);
    expect(found[3]).toBe('/payloads/2/schema defines shop.Shipped, and schemaName says shop.Else');
  });

  it('is refused for commands of a service beside its lanes', async () => {
    const service = { ...component('Mail', 'aggregate', ['Send']), kind: 'service' as const };
    const on = (topic: string) => other({ components: [service], payloads: [{ ...payload('command', 'Send', 'Mail'), topic }] });
    expect(await reasons(on('cmd.Mail'))).toEqual(['/payloads/0/topic the command Send of Mail travels on svc.Mail.normal']);
    expect(await reasons(on('svc.Mail.normal'))).toEqual([]);
  });

  it('is refused under a version that instances hold with another descriptor', async () => {
    await announce('shop-0', 'a');
    expect(await reasons(shop())).toEqual([]);
    expect(await reasons({ ...shop(), description: 'Buys' })).toEqual([
      '/version shop 1.0.0 is held by shop-0 with another descriptor: raise the version',
    ]);
  });
});

describe('the graph', () => {
  const seen = (source: string, payloadType: string, of: string): Interaction => {
    const [bundle, name] = of.split('/') as [string, string];
    return { source, payloadType, messageKind: 'command', bundle, component: name, lastSeenAt: 1000 };
  };

  it('joins what is declared with what was seen, and marks where they differ', async () => {
    const extra = { ...shop(), components: [...shop().components, component('Stock', 'projector', ['Placed'])] };
    await announce('shop-0', 'a', extra);
    const { nodes, edges } = graphOf(registry, [
      seen('gateway', 'Place', 'shop/Order'),
      seen('shop/Order', 'Placed', 'shop/Sales'),
      seen('shop/Sales', 'Place', 'shop/Order'),
      seen('shop/Order', 'Secret', 'ghost/Spy'),
    ]);
    expect(nodes.map(({ id }) => id).sort()).toEqual([
      'bundle:shop',
      'component:ghost/Spy',
      'component:shop/Order',
      'component:shop/Sales',
      'component:shop/Stock',
      'outside:gateway',
      'payload:Place',
      'payload:Placed',
      'payload:Secret',
    ]);
    const told = edges.map(
      ({ from, to, declared, lastSeenAt, drift }) => `${from} ${to} ${declared} ${lastSeenAt === null ? 'never' : 'seen'} ${drift ?? '-'}`,
    );
    expect(told.sort()).toEqual([
      'component:shop/Order payload:Placed true seen -',
      'component:shop/Order payload:Secret false seen undeclared',
      'component:shop/Sales payload:Place false seen undeclared',
      'outside:gateway payload:Place false seen -',
      'payload:Place component:shop/Order true seen -',
      'payload:Placed component:shop/Sales true seen -',
      'payload:Placed component:shop/Stock true never never-seen',
      'payload:Secret component:ghost/Spy false seen undeclared',
    ]);
  });

  it('has what the spans tell, and writes it at most once a minute', async () => {
    await platform.run(await interactionProcessor(platform));
    interactions = await openInteractions(platform);
    let rows = 0;
    interactions.onChange(() => (rows += 1));
    const encoder = await codec.encoder(topics.spans.name, SpanSchema);
    const send = (source: string | null): Promise<unknown> =>
      platform.producer.send({ topic: topics.spans.name, key: 'i', value: encoder.encode({ ...blankSpan, source }) });
    // It starts at the end of the log, and where that was is not told.
    for (const deadline = Date.now() + 10_000; interactions.size === 0 && Date.now() < deadline;) {
      await send('shop/Order');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await platform.producer.send({ topic: topics.spans.name, key: 'i', value: Buffer.from('no span') });
    for (const source of ['shop/Order', 'gateway', 'shop/Order', null]) await send(source);
    await until(() => interactions!.size === 3);
    expect(rows).toBe(3);
    const row = [...interactions.entries()].map(([, each]) => each).find(({ source }) => source === 'shop/Order');
    expect(row).toMatchObject({ payloadType: 'Placed', messageKind: 'event', bundle: 'shop', component: 'Sales' });
  });
});

const blankSpan: Span = {
  traceId: '0',
  spanId: '0',
  parentSpanId: null,
  messageKind: 'event',
  startedAt: 0,
  queueUs: 0,
  handleUs: 0,
  commitUs: 0,
  totalUs: 0,
  status: 'ok',
  outcome: null,
  errorClass: null,
  bundle: 'shop',
  version: '1.0.0',
  instance: 'shop-0',
  component: 'Sales',
  componentKind: 'projector',
  handler: 'Sales.Placed',
  payloadType: 'Placed',
  aggregateId: null,
  topic: null,
  partition: null,
  offset: null,
  messageId: null,
  correlationId: null,
  causationId: null,
  replayId: null,
  source: null,
  weight: 1,
};
