import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createEvents, type Events, type EventsOptions, type ReceivedEvent } from './events.js';
import { createEventHub, type EventHub } from './memory.js';
import { avroSerializer, messagePackSerializer, type Serializer } from './serializer.js';
import type { EventTransport } from './transport.js';

const expired = { root: 'app', kind: 'exception', category: ['auth'], severity: 'error', detail: 'expired' } as const;
const made = { root: 'app', kind: 'data', category: ['order'], severity: 'info', detail: 'made' } as const;

let told: string[];
let hub: EventHub;
let opened: number;
let closed: number;
beforeEach(() => {
  told = [];
  hub = createEventHub((_, message, fields) => void told.push(`${message}: ${String(fields?.['error'])}`));
  [opened, closed] = [0, 0];
});

let ids = 0;
const eventsOf = (id: string, rest: Partial<EventsOptions> = {}): Events =>
  createEvents({
    emitter: { host: 'h', kind: 'gateway', id },
    transport: () => {
      opened += 1;
      const transport = hub.connect(id);
      const counted: EventTransport = { ...transport, close: () => ((closed += 1), transport.close()) };
      return Promise.resolve(counted);
    },
    log: (_, message, fields) => void told.push(`${message}: ${String(fields?.['error'])}`),
    now: () => 5,
    newId: () => `e${ids++}`,
    ...rest,
  });

describe('events within a process', () => {
  it('reach every subscriber as they are, though one of them fails, and need no transport', async () => {
    await using events = eventsOf('one');
    events.declare('flushed');
    const seen: unknown[] = [];
    const data = { since: new Date(0), by: () => 'anything' };
    await events.subscribe('flushed', 'bad', () => {
      throw new Error('it fails');
    });
    await events.subscribe('flushed', 'good', (event) => void seen.push(event));
    const id = await events.fire('flushed', data, { correlationId: 'c' });
    await until(() => seen.length === 1 && told.length === 1);
    expect(seen).toEqual([{ id, routing: undefined, emitter: { host: 'h', kind: 'gateway', id: 'one' }, at: 5, correlationId: 'c', data }]);
    expect((seen[0] as ReceivedEvent).data).toBe(data);
    expect(told[0]).toMatch(/a subscriber failed at an event: Error: it fails/);
    expect(opened).toBe(0);
  });

  it('are fired by a method that was called, without its caller seeing it, until it is as it was', async () => {
    await using events = eventsOf('one');
    events.declare('saved');
    const seen: unknown[] = [];
    await events.subscribe('saved', 's', ({ data }) => void seen.push(data));
    const store = {
      prefix: 'p',
      save(key: string): string {
        return this.prefix + key;
      },
      load: (key: string): Promise<string> => (key === 'no' ? Promise.reject(new Error('not there')) : Promise.resolve(key)),
    };
    const { save } = store;
    const undo = events.fireOnCall(store, 'save', 'saved', ([key], result) => ({ key, result }));
    events.fireOnCall(store, 'load', 'saved', ([key], result) => ({ key, result }));
    expect(store.save('a')).toBe('pa');
    await expect(store.load('no')).rejects.toThrow('not there');
    expect(await store.load('b')).toBe('b');
    await until(() => seen.length === 2);
    expect(seen).toEqual([
      { key: 'a', result: 'pa' },
      { key: 'b', result: 'b' },
    ]);
    undo();
    expect(store.save).toBe(save);
  });

  it('are refused when they are not declared, or declared or subscribed twice', async () => {
    await using events = eventsOf('one');
    events.declare('a');
    events.declare('a');
    expect(() => events.declare('a', { routing: made })).toThrow(/declared already, with another/);
    await expect(events.fire('b', 1)).rejects.toThrow(/the event b is not declared/);
    await expect(events.subscribe('b', 's', () => undefined)).rejects.toThrow(/not declared/);
    await events.subscribe('a', 's', () => undefined);
    await expect(events.subscribe('a', 's', () => undefined)).rejects.toThrow(/subscribed already/);
    await events.unsubscribe('a', 's');
    await events.subscribe('a', 's', () => undefined);
  });
});

describe('events between processes', () => {
  it('take the same calls; errors of all gateways are one line', async () => {
    await using one = eventsOf('one');
    await using two = eventsOf('two');
    one.declare('expired', { routing: expired });
    two.declare('expired', { routing: expired });
    const seen: unknown[] = [];
    const byName: unknown[] = [];
    await two.subscribe(
      { routing: '#.error.*', emitter: '*.gateway.*' },
      'alarm',
      ({ routing, data, emitter }) => void seen.push([routing, data, emitter.id]),
    );
    await two.subscribe('expired', 'log', ({ data }) => void byName.push(data));
    await one.fire('expired', { user: 'ada' });
    await until(() => seen.length === 1 && byName.length === 1);
    expect(seen).toEqual([['app.exception.auth.error.expired', { user: 'ada' }, 'one']]);
  });

  it('bind the transport at the first subscriber, and let it go at the last', async () => {
    await using events = eventsOf('one');
    events.declare('expired', { routing: expired });
    events.declare('here');
    await events.subscribe('here', 's', () => undefined);
    expect(opened).toBe(0);
    await events.subscribe('expired', 'a', () => undefined);
    await events.subscribe({ routing: '#' }, 'b', () => undefined);
    expect([opened, closed]).toEqual([1, 0]);
    await events.unsubscribe('expired', 'a');
    expect(closed).toBe(0);
    await events.unsubscribe({ routing: '#' }, 'b');
    expect([opened, closed]).toEqual([1, 1]);
    await events.subscribe('expired', 'a', () => undefined);
    expect(opened).toBe(2);
  });

  it('are written as their routing has it, and an event without a schema is refused by its name', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const avro = avroSerializer(codec, 'sig.app', { made: record('app.Made', { n: 'int' }) as never });
    const serializers: readonly { for: { routing: string }; serializer: Serializer }[] = [
      { for: { routing: 'app.data.#' }, serializer: avro },
      { for: { routing: 'app.#' }, serializer: messagePackSerializer },
    ];
    await using one = eventsOf('one', { serializers });
    await using two = eventsOf('two', { serializers });
    one.declare('made', { routing: made });
    one.declare('moved', { routing: { ...made, detail: 'moved' } });
    one.declare('expired', { routing: expired });
    const seen: unknown[] = [];
    await two.subscribe({ routing: 'app.#' }, 's', ({ data }) => void seen.push(data));
    const bytes = new Uint8Array([0, 200]);
    await one.fire('made', { n: 1 });
    await one.fire('expired', { bytes });
    await until(() => seen.length === 2);
    expect(seen).toEqual([{ n: 1 }, { bytes }]);
    await expect(one.fire('moved', { n: 1 })).rejects.toMatchObject({
      code: 'SCHEMA_UNKNOWN',
      message: expect.stringMatching(/the event moved/) as string,
    });
    await expect(one.fire('made', { n: 'x' })).rejects.toMatchObject({ code: 'INVALID_PAYLOAD' });
    // Whoever does not know the format is told so, and goes on.
    await using three = eventsOf('three');
    const json: unknown[] = [];
    await three.subscribe({ routing: 'app.#' }, 's', ({ data }) => void json.push(data));
    await one.fire('expired', {});
    await until(() => told.some((line) => line.includes('nobody here reads application/msgpack')));
    expect(json).toEqual([]);
  });

  it('wait for a node that is away when they are durable, and not when they are transient', async () => {
    await using one = eventsOf('one');
    one.declare('made', { routing: made });
    one.declare('beat', { routing: { ...made, detail: 'beat' }, delivery: 'transient' });
    const to = { scope: 'node', node: 'two' } as const;
    await one.fire('made', 1, { to });
    await one.fire('beat', 2, { to });
    await using two = eventsOf('two');
    const seen: unknown[] = [];
    await two.subscribe({ routing: 'app.#' }, 's', ({ data }) => void seen.push(data));
    await until(() => seen.length === 1);
    expect([seen, hub.dropped]).toEqual([[1], 1]);
  });

  it('end when they are closed, and need a transport', async () => {
    const events = eventsOf('one');
    events.declare('made', { routing: made });
    await events.subscribe('made', 's', () => undefined);
    await events.close();
    expect(closed).toBe(1);
    await expect(events.fire('made', 1)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const { transport: _, ...alone } = { emitter: { host: 'h', kind: 'k', id: 'i' }, transport: undefined, log: () => undefined };
    await using without = createEvents({ ...alone, now: () => 0, newId: () => 'e' });
    without.declare('made', { routing: made });
    await expect(without.fire('made', 1)).rejects.toThrow(/need a transport, and there is none/);
  });
});
