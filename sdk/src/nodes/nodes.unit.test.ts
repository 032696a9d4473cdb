import { until } from '@spool/schemas/testing';
import { createMemoryKafka, createMemoryStore } from '@spool/streams';
import { carried, describeEventTransport } from '../routed/conformance/transport.js';
import type { CarriedEvent, EventTransport } from '../routed/transport.js';
import { toRecord } from './arrival.js';
import { testCluster, type TestCluster } from './testing.js';
import type { Node } from './nodes.js';

for (const way of ['kafka', 'http'] as const) {
  describeEventTransport({
    name: `nodes over ${way}`,
    async open() {
      const cluster = testCluster(createMemoryKafka());
      cluster.way = way;
      const [one, two] = [(await cluster.start('one')).node, (await cluster.start('two')).node];
      for (const each of [one, two]) await (await each.subscribe({ routing: 'none' }, () => undefined)).close();
      await until(() => one.lanes().length === 2 && two.lanes().length === 2);
      return { one, two, secondNode: 'two', [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
    },
  });
}

let cluster: TestCluster;
const kafka = createMemoryKafka();
let tests = 0;
beforeEach(() => (cluster = testCluster(kafka, `t${tests++}.`)));
afterEach(() => cluster[Symbol.asyncDispose]());

const event = (rest: Partial<CarriedEvent> = {}): CarriedEvent => carried('app.data.x.info.made', rest);
const toTwo = { scope: 'node', node: 'two' } as const;
const idsOf = async (node: EventTransport): Promise<string[]> => {
  const seen: string[] = [];
  await node.subscribe({ routing: '#' }, ({ id }) => void seen.push(id));
  return seen;
};
const laneTo = (node: Node, name: string) => node.lanes().find((lane) => lane.node === name)!;
/** Sends so many, a few at a time. */
async function sendMany(node: Node, count: number, rest: Partial<CarriedEvent> = {}): Promise<readonly string[]> {
  const events = Array.from({ length: count }, () => event(rest));
  for (let n = 0; n < count; n += 10) await Promise.all(events.slice(n, n + 10).map((each) => node.send(each, toTwo)));
  return events.map(({ id }) => id);
}

describe.each(['kafka', 'http'] as const)('events of nodes over %s', (way) => {
  beforeEach(() => (cluster.way = way));

  it('wait for a node that is away, and come in order when it returns; transient ones are dropped and counted', async () => {
    const one = await cluster.start('one');
    const store = createMemoryStore();
    const two = await cluster.start('two', { store, run: 'first' });
    const before = await idsOf(two.node);
    const first = await sendMany(one.node, 20);
    await until(() => before.length === 20);
    await two.kill();
    const away = await sendMany(one.node, 30);
    await sendMany(one.node, 7, { delivery: 'transient' });
    expect(laneTo(one.node, 'two')).toMatchObject({ dropped: 7, waiting: 0, sent: 50 });

    const again = await cluster.start('two', { store: copyOf(store), run: 'second' });
    const after = await idsOf(again.node);
    const then = await sendMany(one.node, 20);
    const transient = await sendMany(one.node, 5, { delivery: 'transient' });
    await until(() => after.length === 55);
    expect([before, after]).toEqual([first, [...away, ...then, ...transient]]);
    expect(again.node.received()).toEqual([{ sender: 'one', durable: 70, transient: 5, missing: 0 }]);
  });

  it('begin behind those of an earlier run of their sender, and what that run says later is passed over', async () => {
    const two = await cluster.start('two');
    const seen = await idsOf(two.node);
    const one = await cluster.start('one', { run: 'first' });
    const first = await sendMany(one.node, 10);
    await one.kill();
    const again = await cluster.start('one', { run: 'second' });
    const second = await sendMany(again.node, 10);
    await until(() => seen.length === 20);
    const producer = await kafka.producer();
    const late = { event: event(), sender: 'one', run: 'first', number: 11, to: undefined };
    await producer.send(toRecord(`t${tests - 1}.inbox.two`, late));
    const third = await sendMany(again.node, 10);
    await until(() => seen.length >= 30);
    expect(seen).toEqual([...first, ...second, ...third]);
    await producer.close();
  });

  it('count as missing what was for a run of the node that is over', async () => {
    const one = await cluster.start('one');
    const two = await cluster.start('two', { run: 'second' });
    const seen = await idsOf(two.node);
    await sendMany(one.node, 1);
    await until(() => seen.length === 1);
    const producer = await kafka.producer();
    const stale = { event: event({ delivery: 'transient' }), sender: 'three', run: 'a', number: 3, to: 'first' };
    await producer.send(toRecord(`t${tests - 1}.inbox.two`, stale));
    await until(() => two.node.received().length === 2);
    expect(two.node.received()).toContainEqual({ sender: 'three', durable: 0, transient: 0, missing: 3 });
    expect(seen).toHaveLength(1);
    await producer.close();
  });

  it('for one node wait for no other, and are refused when too many wait', async () => {
    const one = await cluster.start('one', { maxWaiting: 3 });
    const [two, three] = [await cluster.start('two'), await cluster.start('three')];
    const [seen, beside] = [await idsOf(two.node), await idsOf(three.node)];
    await sendMany(one.node, 1);
    await until(() => seen.length === 1);
    const held = Array.from({ length: 5 }, () =>
      one.node.send(event(), toTwo).then(
        () => 'sent',
        (error: unknown) => (error as { code: string }).code,
      ),
    );
    await one.node.send(event(), { scope: 'node', node: 'three' });
    expect((await Promise.all(held)).sort()).toEqual(['OVERLOADED', 'OVERLOADED', 'sent', 'sent', 'sent']);
    await until(() => beside.length === 1);
  });
});

it('the way of events is switched while they flow: none is lost, none comes twice, none overtakes another', async () => {
  const one = await cluster.start('one');
  const two = await cluster.start('two');
  const seen = await idsOf(two.node);
  const sent: string[] = [];
  const ways = new Set<string>();
  for (let round = 0; round < 20; round++) {
    cluster.way = round % 2 === 0 ? 'http' : 'kafka';
    const pending = Array.from({ length: 200 }, () => event({ delivery: round % 3 === 0 ? 'transient' : 'durable' }));
    sent.push(...pending.map(({ id }) => id));
    await Promise.all(pending.map((each) => one.node.send(each, toTwo)));
    // Back-off of the direct way after the first was not taken.
    if (round < 4) await new Promise((resolve) => setTimeout(resolve, 300));
    ways.add(laneTo(one.node, 'two').way);
  }
  await until(() => seen.length === sent.length);
  expect(seen).toEqual(sent);
  expect(ways).toEqual(new Set(['kafka', 'http']));
  expect(two.node.received()).toMatchObject([{ missing: 0 }]);
});

it('what a subscriber keeps counts once, though the node is killed before it has told its place', async () => {
  const one = await cluster.start('one');
  const store = createMemoryStore();
  const two = await cluster.start('two', { store });
  const handled: string[] = [];
  let hold: Promise<void> | undefined;
  const count = (node: Node) =>
    node.subscribe({ routing: '#' }, async ({ id }) => {
      handled.push(id);
      node.rows.put(id, ((node.rows.get(id) as number | undefined) ?? 0) + 1);
      await hold;
    });
  await count(two.node);
  const ids = [...(await sendMany(one.node, 10))];
  await until(() => handled.length === 10);
  let release!: () => void;
  hold = new Promise((resolve) => (release = resolve));
  ids.push(...(await sendMany(one.node, 10)));
  await until(() => handled.length === 11);
  // What is on its disk at this moment.
  const left = copyOf(store);
  release();
  await two.kill();
  hold = undefined;
  const again = await cluster.start('two', { store: left });
  await count(again.node);
  await until(() => again.node.received()[0]?.durable === 20);
  expect(ids.map((id) => again.node.rows.get(id))).toEqual(ids.map(() => 1));
  expect(handled.length).toBeGreaterThan(20);
});

it('what a subscriber has not handled when it leaves comes when there is one again, and what comes meanwhile waits', async () => {
  const one = await cluster.start('one');
  const store = createMemoryStore();
  const two = await cluster.start('two', { store });
  const handled: string[] = [];
  const slow = await two.node.subscribe({ routing: '#' }, async ({ id }) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    handled.push(id);
  });
  const ids = [...(await sendMany(one.node, 50))];
  await until(() => handled.length > 5);
  await slow.close();
  const before = handled.length;
  ids.push(...(await sendMany(one.node, 10)));
  await two.kill();
  const again = await cluster.start('two', { store: copyOf(store) });
  const rest = await idsOf(again.node);
  await until(() => rest.length > 0 && handled.length + rest.length >= ids.length);
  expect(handled).toHaveLength(before);
  expect([...handled, ...rest]).toEqual(ids);
});

it('its place goes on while a subscriber is busy with what is local', async () => {
  const one = await cluster.start('one');
  const store = createMemoryStore();
  const two = await cluster.start('two', { store });
  await two.node.subscribe({ routing: '#' }, () => new Promise((resolve) => setTimeout(resolve, 5)));
  const busy = setInterval(() => void two.node.send(event(), { scope: 'local' }), 4);
  await sendMany(one.node, 10);
  const kept = () => (store.get('senders', 'one') as { readonly durable: number } | undefined)?.durable;
  await until(() => kept() === 10).finally(() => clearInterval(busy));
});

it('a node that never subscribed is not there for others, and one that sends for another is refused', async () => {
  const one = await cluster.start('one');
  await cluster.start('two');
  await expect(one.node.send(event(), toTwo)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  await one.node.send(event(), { scope: 'global' });
  await idsOf(one.node);
  const three = await cluster.start('three');
  await idsOf(three.node);
  await until(() => one.node.lanes().length === 2);
});

/** A store as it is now: the former one goes on without it. */
function copyOf(store: ReturnType<typeof createMemoryStore>): ReturnType<typeof createMemoryStore> {
  const copy = createMemoryStore();
  const changes = new Map(['senders', 'rows'].map((table) => [table, new Map(store.range(table))] as const));
  copy.commit(changes, store.checkpoint);
  return copy;
}
