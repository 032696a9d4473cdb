import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BalanceDecisionSchema,
  BundleSignalSchema,
  createCodec,
  createMemoryRegistry,
  type BalanceDecision,
  type BundleSignal,
  type Codec,
} from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import {
  createMemoryCluster,
  openInstance,
  partitionKey,
  tailTopic,
  topicCatalogue,
  type Instance,
  type Kafka,
  type RunningProcessor,
} from '@spool/streams';
import { autoscaleRoutes } from '../gateway/autoscale-routes.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { openBalances, type Balances } from './balances.js';
import { openPolicies, type Policies } from './policies.js';
import { autoscalerProcessor } from './processor.js';

const topics = topicCatalogue({ partitions: 1 });
const heartbeatMs = 2000;
let clock: number;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let platform: Instance;
let balances: Balances;
let policies: Policies;
let processor: RunningProcessor;
let server: TestServer;
let told: BalanceDecision[];
let encode: (signal: BundleSignal) => Buffer;
const open: { close(): Promise<void> }[] = [];

async function startPlatform(): Promise<void> {
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: () => clock };
  platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  policies = await openPolicies(platform);
  processor = await platform.run(autoscalerProcessor(platform, policies));
  open.push(platform, policies);
}
beforeEach(async () => {
  clock = 1_000_000;
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-autoscaler-'));
  await startPlatform();
  const onError = (): void => undefined;
  balances = await openBalances({ kafka, codec, topics, onError });
  server = await startTestServer({ routes: [...autoscaleRoutes({ balances, policies })] });
  const encoder = await codec.encoder(topics.autoscaleSignals.name, BundleSignalSchema);
  encode = (signal) => encoder.encode(signal);
  told = [];
  const decoder = codec.decoder(BalanceDecisionSchema);
  const tail = await tailTopic({
    kafka,
    topic: topics.autoscaleDecisions.name,
    onRecord: async ({ value }) => void told.push(await decoder.decode(value!)),
    onError,
  });
  open.push(balances, server, tail);
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const calm: Omit<BundleSignal, 'bundle' | 'version' | 'instance' | 'incarnation' | 'at'> = {
  ready: true,
  arrivals: 70,
  departures: 70,
  failures: 0,
  handled: 70,
  p99Ms: 5,
  inFlight: 1,
  utilisation: 0.7,
  lag: 0,
  lagSeconds: 0,
  partitions: 12,
  eventLoopDelayMs: 1,
  rssBytes: 1,
  feeling: 'content',
  frozen: null,
};
/** A heartbeat later these instances speak, until all that stands on the log is decided. */
async function speak(...signals: readonly Partial<BundleSignal>[]): Promise<BalanceDecision | undefined> {
  clock += heartbeatMs;
  for (const [index, signal] of signals.entries()) {
    const who = { bundle: 'shop', version: '1.0.0', instance: `shop-${index}`, incarnation: 'x', at: clock };
    const value = encode({ ...calm, ...who, ...signal });
    await platform.producer.send({ topic: topics.autoscaleSignals.name, key: 'shop', value });
  }
  await processor.caughtUp();
  const [end] = await kafka.admin.offsets(topics.balances.name);
  await until(() => (balances.table.positions.get(partitionKey(end!)) ?? 0n) >= end!.latest);
  return balances.get('shop');
}
async function speakFor(ms: number, ...signals: readonly Partial<BundleSignal>[]): Promise<BalanceDecision | undefined> {
  let last: BalanceDecision | undefined;
  for (let passed = 0; passed < ms; passed += heartbeatMs) last = await speak(...signals);
  return last;
}
/** Three times what one can do comes, and waits. */
const flood = { arrivals: 300, departures: 100, utilisation: 1, lag: 3000, lagSeconds: 10 };

describe('the balancer', () => {
  it('waits until everybody can have spoken, then keeps what is right', async () => {
    await speak({});
    await speak({});
    expect(balances.get('shop')).toBeUndefined();
    expect(await speak({})).toMatchObject({ desired: 1, current: 1, min: 1, max: 1, utilisation: 0.7, partitions: 12 });
  });

  it('wants more once a flood has lasted, tells it once, and says afterwards how long it took to drain', async () => {
    await policies.change('shop', { max: 10 }, undefined, { name: 'ada', roles: ['operator'] });
    await until(() => policies.of('shop').max === 10);
    await speakFor(3 * heartbeatMs, {});
    expect(await speak(flood)).toMatchObject({ desired: 1, lag: 3000 });
    const wanted = await speakFor(12_000, flood);
    expect(wanted!.desired).toBeGreaterThanOrEqual(4);
    expect(wanted!.reason).toContain('instances');
    await until(() => told.some(({ desired }) => desired === wanted!.desired));
    const changes = told.filter(({ desired, current }) => desired > current);
    const { id, predictedDrainMs, at } = changes.reduce((most, change) => (change.desired > most.desired ? change : most));
    expect(predictedDrainMs).toBeGreaterThan(0);
    const each = { arrivals: 75, departures: 80, utilisation: 0.8, lag: 700 };
    await speakFor(8000, each, each, each, each);
    const drained = [each, each, each, each].map((one) => ({ ...one, lag: 0 }));
    // The decision of a heartbeat is made when the first speaks: what the others say counts in the next.
    await speak(...drained);
    await speak(...drained);
    await until(() => told.some((decision) => decision.id === id && decision.actualDrainMs !== null));
    expect(told.filter((decision) => decision.id === id)).toMatchObject([
      { predictedDrainMs, actualDrainMs: null },
      { predictedDrainMs, actualDrainMs: clock - at },
    ]);
  });

  it('takes one that suffers for fully used, whatever its event loop says', async () => {
    await speakFor(3 * heartbeatMs, { utilisation: 0.1, feeling: 'suffering' });
    expect(balances.get('shop')).toMatchObject({ utilisation: 1, suffering: 1 });
  });

  it('changes nothing while figures tell of a replay', async () => {
    await speakFor(3 * heartbeatMs, {});
    expect(await speakFor(20_000, { ...flood, frozen: 'replay' })).toMatchObject({
      desired: 1,
      frozen: 'replay',
      reason: 'nothing changes during a replay',
    });
  });

  it('counts those that start, and forgets those that fell silent', async () => {
    await speakFor(3 * heartbeatMs, {}, { ready: false, utilisation: 0 });
    expect(balances.get('shop')).toMatchObject({ instances: 1, starting: 1, current: 2, arrivals: 140 });
    expect(await speakFor(8000, {})).toMatchObject({ instances: 1, starting: 0 });
  });

  it('does not decide from what was measured before an outage', async () => {
    await speakFor(3 * heartbeatMs, {});
    const { at } = balances.get('shop')!;
    await speak({ ...flood, at: clock - 60_000 });
    expect(balances.get('shop')!.at).toBe(at);
  });

  it('goes on after a restart with what it had learned', async () => {
    await speakFor(20_000, {});
    await platform.close();
    await startPlatform();
    // The capacity is known: idle instances are not taken for weak ones.
    await speakFor(3 * heartbeatMs, { arrivals: 300, departures: 0, utilisation: 0 });
    expect(balances.get('shop')!.byUtilisation).toBeCloseTo(300 / (100 * 0.7), 1);
  });
});

describe('the routes of the balancer', () => {
  const get = async (path: string) => await fetch(`${server.url}/api/v1/autoscale${path}`);
  it("give what KEDA's metrics-api asks for, and why", async () => {
    expect((await get('/shop')).status).toBe(404);
    await speakFor(3 * heartbeatMs, {});
    expect(await (await get('/shop')).json()).toMatchObject({ desired: 1, current: 1, load: { arrivals: 70, frozen: null } });
    expect(await (await get('')).json()).toMatchObject({ items: [{ bundle: 'shop', desired: 1 }] });
  });

  it('change the bounds, which the next decision keeps, and only from the version that was read', async () => {
    await speakFor(3 * heartbeatMs, {});
    const before = await get('/shop/policy');
    expect(await before.json()).toMatchObject({ min: 1, max: 1, version: 0, at: null });
    const patch = async (body: object, ifMatch: string) =>
      await fetch(`${server.url}/api/v1/autoscale/shop/policy`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json', 'if-match': ifMatch },
        body: JSON.stringify(body),
      });
    const etag = before.headers.get('etag')!;
    const after = await patch({ min: 3, max: 10 }, etag);
    expect(await after.json()).toMatchObject({ min: 3, max: 10, version: 1 });
    await until(() => policies.of('shop').version === 1);
    expect(await speak({})).toMatchObject({ desired: 3, min: 3 });
    expect((await patch({ min: 1 }, etag)).status).toBe(412);
    const refused = await patch({ max: 2 }, after.headers.get('etag')!);
    expect([refused.status, await refused.json()]).toMatchObject([400, { code: 'INVALID_REQUEST' }]);
  });
});
