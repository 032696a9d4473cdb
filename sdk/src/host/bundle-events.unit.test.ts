import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createMemoryCluster, topicCatalogue, type Kafka } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle, type Bundle } from '../bundle/bundle.js';
import { invoker } from '../invoker/invoker.js';
import { observer } from '../observer/observer.js';
import { projector, table } from '../projector/projector.js';
import type { ReceivedEvent } from '../routed/events.js';
import { service } from '../service/service.js';
import { startBundle, type RunningBundle } from './start-bundle.js';

const Order = aggregate('Order', {
  commands: { Place: record('shop.Place', { amount: 'int' }) },
  events: { Placed: record('shop.Placed', { amount: 'int' }) },
  initial: () => ({}),
  decide: {
    Place: ({ amount }, _state, context) => {
      // @ts-expect-error -- an aggregate is handed nothing to fire with
      expect(context.events).toBeUndefined();
      return [{ type: 'Placed', data: { amount } }];
    },
  },
  evolve: { Placed: (state) => state },
});
const Orders = projector('Orders', {
  of: Order,
  tables: { orders: table<{ amount: number }>() },
  on: {
    Placed(_event, _tables, context) {
      // @ts-expect-error -- neither is a projector
      expect(context.events).toBeUndefined();
    },
  },
});
const Watch = observer('Watch', {
  of: Order,
  on: {
    async Placed({ amount }, { events }) {
      if (amount > 100) await events.fire('suspicious', { amount });
    },
  },
});
const Bank = service('Bank', {
  commands: { Charge: record('shop.Charge', { amount: 'int' }) },
  handle: {
    async Charge({ amount }, { events }) {
      await events.fire('charged', { amount });
      return undefined;
    },
  },
});
const Hello = invoker('Hello', {
  run: async ({ events }) => {
    await events.fire('opened', {});
  },
});
const notice = { kind: 'notification', category: ['orders'], severity: 'warning' } as const;
const routed = {
  fires: {
    suspicious: { routing: { ...notice, detail: 'suspicious' } },
    charged: { routing: { ...notice, kind: 'data', severity: 'info', detail: 'charged' } },
    opened: { routing: { ...notice, severity: 'info', detail: 'opened' } },
  },
} as const;
const shop = bundle({ id: 'shop', version: '1.0.0', components: [Order, Orders, Watch, Bank, Hello], routed });
const alerts = bundle({ id: 'alerts', version: '1.0.0', components: [], routed: { root: 'shop' } });

const topics = topicCatalogue({ partitions: 1 });
const codec = createCodec({ registry: createMemoryRegistry() });
let kafka: Kafka;
let dataDir: string;
const open: RunningBundle[] = [];
beforeEach(() => {
  kafka = createMemoryCluster().connect();
  dataDir = mkdtempSync(join(tmpdir(), 'spool-bundle-events-'));
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
async function start(what: Bundle): Promise<RunningBundle> {
  const running = await startBundle(what, { kafka, codec, topics, instance: `${what.id}-0`, dataDir, log: () => undefined });
  open.push(running);
  return running;
}

describe('routed events of a bundle', () => {
  it('are fired by observers, services and invokers, and get to the subscribers of another bundle', async () => {
    const { events } = await start(alerts);
    const got: ReceivedEvent[] = [];
    await events.subscribe({ routing: 'shop.#', emitter: '*.shop.*' }, 'test', (event) => void got.push(event));
    const { gateway } = await start(shop);
    await gateway.send(Order, 'Place', 'o1', { amount: 5 }, { commandId: 'c1' });
    await gateway.send(Order, 'Place', 'o1', { amount: 500 }, { commandId: 'c2', correlationId: 'flow' });
    await gateway.send(Bank, 'Charge', null, { amount: 7 }, { commandId: 'c3' });
    await until(() => got.length === 3);
    const told = got.map(({ id, routing, data, correlationId }) => ({ id, routing, data, correlationId }));
    expect(told).toContainEqual({
      ...{ id: 'c2/0/Watch/fired/0', routing: 'shop.notification.orders.warning.suspicious' },
      ...{ data: { amount: 500 }, correlationId: 'flow' },
    });
    expect(told).toContainEqual(expect.objectContaining({ id: 'c3/Bank/fired/0', data: { amount: 7 }, correlationId: 'c3' }));
    expect(told).toContainEqual(expect.objectContaining({ routing: 'shop.notification.orders.info.opened' }));
  });

  it('open nothing before one is fired or wanted', async () => {
    await start(bundle({ id: 'shop', version: '1.0.0', components: [Order, Watch], routed }));
    expect(await kafka.admin.listTopics()).not.toContain(topics.signals('shop').name);
  });

  it('are refused by name at the start where a routing is wrong', async () => {
    const fires = { broken: { routing: { ...notice, severity: 'fatal', detail: 'x' } } } as const;
    await expect(start(bundle({ id: 'shop', version: '1.0.0', components: [], routed: { fires } }))).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('event broken') as string,
    });
  });
});
