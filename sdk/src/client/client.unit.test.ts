import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { createMemoryKafka } from '@spool/streams';
import { Counter, counting, Sums } from '../testing/counter.js';
import { startInMemory, type BundleInMemory } from '../testing/start-in-memory.js';
import { connectClient, type Client } from './client.js';

let whole: BundleInMemory;
let client: Client;
beforeEach(async () => {
  whole = await startInMemory(counting);
  const { kafka, codec } = whole.running.instance;
  client = await connectClient({ kafka, codec, clientId: 'shop' });
});
afterEach(async () => {
  await client.close();
  await whole.close();
});

describe('a client', () => {
  it('sends and asks, by definitions and by names', async () => {
    await client.send(Counter, 'Add', 'a', { n: 2 });
    const { position } = await client.sendJson('Add', 'a', { n: 3 });
    expect((await client.ask(Sums, 'Total', {}, { after: position })).view).toEqual({ events: 2, sum: 5 });
    expect((await client.askJson('Total', {})).view).toEqual({ events: 2, sum: 5 });
    expect(client.registry.bundles().map(({ id }) => id)).toEqual(['counting']);
  });

  it('subscribes to queries, typed or as JSON', async () => {
    await client.send(Counter, 'Add', 'a', { n: 2 });
    const { position } = await client.send(Counter, 'Add', 'a', { n: 3 });
    const typed = client.subscribeQuery(Sums, 'Total', {}, { after: position });
    const plain = client.subscribeJson('Total', {}, { after: position });
    for (const each of [typed, plain]) expect((await each.next()).value).toMatchObject({ view: { sum: 5 } });
    await client.send(Counter, 'Add', 'a', { n: 1 });
    for (const each of [typed, plain]) expect((await each.next()).value).toMatchObject({ view: { sum: 6 } });
    await typed.return();
    // One that is left open ends with the client.
    const left = plain.next().catch((error: unknown) => error);
    await client.close();
    expect(await left).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('hears errors as they are', async () => {
    await client.send(Counter, 'Add', 'a', { n: 1 });
    await expect(client.send(Counter, 'Add', 'a', { n: 1 }, { expectedVersion: 5 })).rejects.toMatchObject({
      code: 'VERSION_CONFLICT',
      facts: { actualVersion: 1 },
    });
    await expect(client.sendJson('Subtract', 'a', {})).rejects.toMatchObject({ code: 'UNKNOWN_COMMAND' });
  });

  it('subscribes to events, from now on or from the beginning, typed or as JSON', async () => {
    await client.send(Counter, 'Add', 'a', { n: 1 });
    const now = await client.subscribe(Counter);
    const all = await client.subscribe('Counter', { from: 'earliest' });
    await client.send(Counter, 'Add', 'a', { n: 2 }, { commandId: 'c2', correlationId: 'flow' });
    const { value } = await now.next();
    expect(value).toMatchObject({
      type: 'Added',
      data: { n: 2 },
      id: 'c2/0',
      source: 'counting/Counter',
      aggregateId: 'a',
      version: 2,
      correlationId: 'flow',
      causationId: 'c2',
    });
    const seen: unknown[] = [];
    for await (const event of all) if (seen.push(event.data) === 2) break;
    expect(seen).toEqual([{ n: 1 }, { n: 2 }]);
    expect(await all.next()).toEqual({ done: true, value: undefined });
  });

  it('resumes after any event, and after a command', async () => {
    const sent = [];
    for (let n = 1; n <= 4; n++) sent.push(await client.send(Counter, 'Add', 'a', { n }));
    const first = await client.subscribe(Counter, { from: 'earliest' });
    await first.next();
    const second = (await first.next()).value as { position: string };
    await first.return();
    expect(first.position).toBe(second.position);
    for (const after of [second.position, sent[1]!.position]) {
      const resumed = await client.subscribe(Counter, { from: { after } });
      expect([(await resumed.next()).value, (await resumed.next()).value]).toMatchObject([{ data: { n: 3 } }, { data: { n: 4 } }]);
    }
    await expect(client.subscribe(Counter, { from: { after: 'nonsense' } })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('passes over other contexts and other types', async () => {
    await client.send(Counter, 'Add', 'a', { n: 1 }, { context: 'import' });
    await client.send(Counter, 'Add', 'a', { n: 2 });
    const live = await client.subscribe(Counter, { from: 'earliest' });
    expect((await live.next()).value).toMatchObject({ data: { n: 2 } });
    const everything = await client.subscribe(Counter, { from: 'earliest', contexts: 'all' });
    expect((await everything.next()).value).toMatchObject({ data: { n: 1 } });
    const none = await client.subscribe(Counter, { from: 'earliest', types: ['Subtracted'] });
    const next = none.next();
    await sleep(20);
    await none.return();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('ends a subscription that waits: by its signal, and with the client', async () => {
    const stop = new AbortController();
    const one = await client.subscribe(Counter, { signal: stop.signal });
    const other = await client.subscribe('Counter');
    const waiting = [one.next(), other.next()];
    stop.abort();
    expect(await waiting[0]).toEqual({ done: true, value: undefined });
    await client.close();
    expect(await waiting[1]).toEqual({ done: true, value: undefined });
  });

  it('is refused where no platform has run', async () => {
    await using kafka = createMemoryKafka();
    const codec = createCodec({ registry: createMemoryRegistry() });
    await expect(connectClient({ kafka, codec, clientId: 'shop', namespace: 'acme.' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^no platform has run there under the namespace "acme\.": /) as string,
    });
  });
});
