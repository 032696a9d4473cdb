import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { connectKafka, topicCatalogue, type Kafka } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import type { QuerySubscription } from '../gateway/messages.js';
import { startBundle, type BundleConfig, type RunningBundle } from '../host/start-bundle.js';
import { Counter, Totals } from '../testing/counter.js';
import { projection } from './projection.js';

let kafka: Kafka;
let config: Omit<BundleConfig, 'instance'>;
const open: RunningBundle[] = [];
beforeEach(async () => {
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  config = {
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` }),
    dataDir: mkdtempSync(join(tmpdir(), 'spool-subscriptions-')),
    log: () => undefined,
  };
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(config.dataDir, { recursive: true, force: true });
});

const queries = { Sum: { request: record('live.Sum', { of: 'int' }), view: record('live.SumView', { sum: 'long' }) } };
/** Each instance notes which subscriptions it serves. */
async function start(instance: string) {
  const serves = new Set<number>();
  const Live = projection('Live', {
    reads: Totals,
    queries,
    answer: {
      Sum: ({ of }, { totals }) => {
        serves.add(of);
        return { sum: totals.get('all')?.sum ?? 0 };
      },
    },
  });
  const running = await startBundle(bundle({ id: 'live', version: '1.0.0', components: [Counter, Totals, Live] }), { ...config, instance });
  open.push(running);
  const owned = (): number => running.instance.status().find(({ consumer }) => consumer.startsWith('live.Live-'))?.partitions.length ?? 0;
  return { running, serves, owned, Live };
}
async function reads(updates: QuerySubscription<{ sum: number }>, sum: number): Promise<number[]> {
  const seen: number[] = [];
  for (;;) {
    const { value, done } = await updates.next();
    if (done === true) throw new Error('the subscription ended');
    seen.push(value.view.sum);
    if (value.view.sum === sum) return seen;
  }
}

describe('subscriptions on a real broker', () => {
  it('go on when the instance that serves them closes, and never back', async () => {
    const one = await start('live-0');
    const two = await start('live-1');
    await until(() => one.owned() > 0 && two.owned() > 0 && one.owned() + two.owned() === 3);
    const { gateway } = one.running;
    const add = (n: number) => gateway.send(Counter, 'Add', 'a', { n }, { timeoutMs: 20_000 });
    let { position } = await add(1);
    const subscriptions: QuerySubscription<{ sum: number }>[] = [];
    // Until both serve some.
    while (one.serves.size === 0 || two.serves.size === 0 || subscriptions.length < 4) {
      const updates = gateway.subscribe(one.Live, 'Sum', { of: subscriptions.length }, { after: position, leaseMs: 3000 });
      expect(await reads(updates, 1)).toEqual([1]);
      subscriptions.push(updates);
    }
    ({ position } = await add(10));
    for (const each of subscriptions) expect(await reads(each, 11)).toEqual([11]);
    await open.splice(open.indexOf(two.running), 1)[0]!.close();
    await add(100);
    for (const each of subscriptions) expect(await reads(each, 111)).toEqual([111]);
    await add(1000);
    for (const each of subscriptions) expect(await reads(each, 1111)).toEqual([1111]);
    expect(one.serves.size).toBe(subscriptions.length);
    for (const each of subscriptions) await each.return();
  });
});
