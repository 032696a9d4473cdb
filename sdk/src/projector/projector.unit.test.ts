import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createMemoryRegistry, record, toSpoolError } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, readTopic } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle, type BundleOptions } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { fromToken } from '../position/token.js';
import type { QueryTarget } from '../messages.js';
import { projection } from '../projection/projection.js';
import type { Queries } from '../payloads.js';
import { service } from '../service/service.js';
import { Counter, Sums, Totals } from '../testing/counter.js';
import { projector, table } from './projector.js';

const Door = aggregate('Door', {
  commands: { Turn: record('door.Turn', {}) },
  events: { Turned: record('door.Turned', { colour: 'string' }) },
  initial: () => ({}),
  decide: { Turn: () => [{ type: 'Turned', data: { colour: 'red' } } as const] },
  evolve: { Turned: (state) => state },
});
/** Of another bundle; counters have events of that name too. */
const Wall = aggregate('Wall', {
  commands: { Paint: record('wall.Paint', { colour: 'string' }) },
  events: { Added: record('wall.Added', { colour: 'string' }) },
  initial: () => ({}),
  decide: { Paint: ({ colour }) => [{ type: 'Added', data: { colour } }] },
  evolve: { Added: (state) => state },
});
const Bell = service('Bell', {
  commands: { Ring: record('bell.Ring', {}) },
  events: { Rung: record('bell.Rung', { times: 'int' }) },
  handle: { Ring: () => ({ type: 'Rung', data: { times: 2 } }) as const },
});
const Everything = projector('Everything', {
  of: [Counter, Door, Bell, Wall],
  tables: { lines: table<string>() },
  on: {
    Added: (event, { lines }, { source }) => append(lines, `${source} ${'n' in event ? event.n : event.colour}`),
    Turned: (_, { lines }, { source, aggregateId, version }) => append(lines, `${source} ${aggregateId} turned, ${version}`),
    Rung: ({ times }, { lines }) => append(lines, `rung ${times}`),
  },
});
const append = (lines: { get(key: string): string | undefined; put(key: string, row: string): void }, line: string): void =>
  lines.put('all', [lines.get('all') ?? [], line].flat().join('; '));
const text = { request: record('any.TextOf', {}), view: record('any.Text', { text: 'string' }) };
const Said = projection('Said', {
  reads: Everything,
  queries: { WhatHappened: text },
  answer: { WhatHappened: (_, { lines }) => ({ text: lines.get('all') ?? '' }) },
});

/** A log that outlives its bundles. */
function world() {
  let clock = 1_000_000;
  let starts = 0;
  const kafka = createMemoryCluster({ clock: () => clock }).connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ partitions: 2 });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-projector-'));
  return {
    kafka,
    topics,
    pass: (ms: number) => (clock += ms),
    /** On an empty disk each time. */
    start: (components: BundleOptions['components'], others: Partial<BundleOptions> = {}): Promise<RunningBundle> =>
      startBundle(bundle({ id: 'any', version: '1.0.0', components, ...others }), {
        ...{ kafka, codec, topics, dataDir: join(dataDir, String(starts++)), instance: `${others.id ?? 'any'}-0`, log: () => undefined },
        now: () => clock,
      }),
    async [Symbol.asyncDispose]() {
      await kafka.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Of a bundle that has just started: what is asked before it listens is not heard. */
async function answer<Q extends Queries, K extends keyof Q & string>(running: RunningBundle, of: QueryTarget<string, Q>, type: K) {
  for (;;) {
    const found = await running.gateway.ask(of, type, {} as never, { timeoutMs: 500 }).catch((error: unknown) => {
      if (toSpoolError(error).entry.retryable !== 'backoff') throw error;
    });
    if (found !== undefined) return found.view;
  }
}

describe('a projector of several sources', () => {
  it('gets the events of aggregates and services, each by the schema of its source, and its position is over all of them', async () => {
    await using log = world();
    await using others = await log.start([Wall], { id: 'others' });
    await using running = await log.start([Counter, Door, Bell, Everything, Said]);
    const { gateway } = running;
    const sent = [
      await gateway.send(Counter, 'Add', 'a', { n: 7 }),
      await others.gateway.send(Wall, 'Paint', 'a', { colour: 'red' }),
      await gateway.send(Bell, 'Ring', 'a', {}),
    ];
    for (const { position } of sent) await gateway.ask(Said, 'WhatHappened', {}, { after: position });
    const { view, position } = await gateway.ask(Said, 'WhatHappened', {});
    expect(view.text.split('; ').sort()).toEqual(['Counter 7', 'Wall red', 'rung 2']);
    const topics = new Set([...fromToken(position).keys()].map((key) => key.slice(0, key.lastIndexOf('-'))));
    expect(topics).toEqual(new Set(['evt.Counter', 'evt.Bell', 'evt.Wall']));
  });

  it('gets them in the order of their time when it is built from the log', async () => {
    await using log = world();
    const wanted: string[] = [];
    {
      await using first = await log.start([Counter, Door, Bell]);
      for (let n = 0; n < 20; n++) {
        log.pass(10);
        await first.gateway.send(Counter, 'Add', `c${n}`, { n });
        log.pass(10);
        await first.gateway.send(Door, 'Turn', 'front', {});
        wanted.push(`Counter ${n}`, `Door front turned, ${n + 1}`);
      }
    }
    await using second = await log.start([Counter, Door, Bell, Everything, Said]);
    expect((await answer(second, Said, 'WhatHappened')).text.split('; ')).toEqual(wanted);
  });
});
it('a position in a partition of which nothing has been read yet is waited for', async () => {
  let release!: () => void;
  const released = new Promise<void>((resolve) => (release = resolve));
  const Slow = projector('Slow', {
    of: [Counter, Door],
    tables: { doors: table<string>() },
    on: {
      Added: () => released,
      Turned: ({ colour }, { doors }) => doors.put('last', colour),
    },
  });
  const Last = projection('Last', {
    reads: Slow,
    queries: { LastDoor: { request: record('any.LastDoorOf', {}), view: record('any.LastDoor', { colour: 'string' }) } },
    answer: { LastDoor: (_, { doors }) => ({ colour: doors.get('last') ?? '' }) },
  });
  await using log = world();
  await using running = await log.start([Counter, Door, Slow, Last]);
  const { gateway } = running;
  expect(await answer(running, Last, 'LastDoor')).toEqual({ colour: '' });
  await gateway.send(Counter, 'Add', 'a', { n: 1 });
  const { position: after } = await gateway.send(Door, 'Turn', 'front', {});
  const answered = gateway.ask(Last, 'LastDoor', {}, { after });
  // Nothing of doors is handled before.
  await gateway.ask(Last, 'LastDoor', {});
  release();
  expect((await answered).view).toEqual({ colour: 'red' });
});

describe('a projector of batches', () => {
  const batches: number[] = [];
  const Batched = projector('Batched', {
    of: [Counter, Bell],
    tables: { totals: table<{ events: number; sum: number }>() },
    onBatch: (events, { totals }) => {
      batches.push(events.length);
      let { events: count, sum } = totals.get('all') ?? { events: 0, sum: 0 };
      for (const event of events) {
        if (event.type === 'Added' && event.data.n === 13) throw new Error('13 is not a number to add');
        count += 1;
        sum += event.type === 'Added' ? event.data.n : event.data.times;
      }
      totals.put('all', { events: count, sum });
    },
  });
  const Sum = projection('Sum', {
    reads: Batched,
    queries: { SumOfBatches: { request: record('any.SumOf', {}), view: record('any.Sum', { events: 'int', sum: 'int' }) } },
    answer: { SumOfBatches: (_, { totals }) => totals.get('all') },
  });
  const filled = async (log: ReturnType<typeof world>): Promise<void> => {
    await using first = await log.start([Counter, Bell]);
    for (let n = 1; n <= 20; n++) await first.gateway.send(Counter, 'Add', `c${n % 4}`, { n });
    await first.gateway.send(Bell, 'Ring', null, {});
  };

  it('takes all that is there at once, and the one that fails is parked with what follows of it, and nothing else', async () => {
    await using log = world();
    await filled(log);
    batches.length = 0;
    await using second = await log.start([Counter, Bell, Batched, Sum]);
    const view = await answer(second, Sum, 'SumOfBatches');
    // c1 has 1, 5, 9, 13 and 17: the last two are parked.
    expect(view).toEqual({ events: 21 - 2, sum: 210 - 13 - 17 + 2 });
    expect(batches[0]).toBeGreaterThan(1);
    const letters = await readTopic(log.kafka, 'dlq.any.Batched-1.default');
    expect(letters.map(({ key, headers }) => `${key?.toString()} ${headers['dlq-code']?.toString()}`)).toEqual([
      'c1 INTERNAL',
      'c1 FOLLOWS_PARKED',
    ]);
  });

  it('shows each event of them to the interceptors; what these refuse is found out one by one', async () => {
    await using log = world();
    await filled(log);
    const seen: string[] = [];
    const guard = {
      kinds: ['projector'] as const,
      before({ component, type, meta }: { component: string; type: string; meta: { subject?: string | undefined } }) {
        if (meta.subject === 'c1') throw new Error('not this one');
        seen.push(`${component} ${type} ${meta.subject}`);
      },
    };
    await using second = await log.start([Counter, Bell, Batched, Sum], { interceptors: [guard] });
    const view = await answer(second, Sum, 'SumOfBatches');
    expect(view.events).toBe(16);
    expect(seen).toContain('Batched Added c2');
  });
});

describe('the contexts of a projector', () => {
  const InBoth = projector('InBoth', {
    of: Counter,
    contexts: ['default', 'import'],
    tables: { sums: table<number>() },
    on: { Added: ({ n }, { sums }) => sums.put('all', (sums.get('all') ?? 0) + n) },
  });
  const All = projector('All', {
    of: Counter,
    contexts: 'all',
    tables: { sums: table<number>() },
    on: { Added: ({ n }, { sums }) => sums.put('all', (sums.get('all') ?? 0) + n) },
  });
  const query = (type: string) => ({ request: record(`any.${type}Of`, {}), view: record(`any.${type}`, { sum: 'int' }) });
  const OfBoth = projection('OfBoth', {
    reads: InBoth,
    queries: { SumInBoth: query('SumInBoth') },
    answer: { SumInBoth: (_, { sums }) => ({ sum: sums.get('all') ?? 0 }) },
  });
  const OfAll = projection('OfAll', {
    reads: All,
    queries: { SumOfAll: query('SumOfAll') },
    answer: { SumOfAll: (_, { sums }) => ({ sum: sums.get('all') ?? 0 }) },
  });

  it('have a consumer and a read model each, and a query is answered from that of its own (Evento defect 11)', async () => {
    await using log = world();
    await using running = await log.start([Counter, InBoth, All, Totals, OfBoth, OfAll, Sums]);
    const { gateway } = running;
    const places = [];
    for (const [n, context] of [
      [1, 'default'],
      [10, 'import'],
      [100, 'import'],
      [1000, 'other'],
    ] as const) {
      places.push((await gateway.send(Counter, 'Add', 'a', { n }, { context })).position);
    }
    const after = places.at(-1)!;
    const sums = async (context: string) => (await gateway.ask(OfBoth, 'SumInBoth', {}, { context, after })).view.sum;
    expect(await sums('default')).toBe(1);
    expect(await sums('import')).toBe(110);
    await expect(sums('other')).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: 'OfBoth answers in default, import, and this query is of the context other',
    });
    for (const context of ['default', 'elsewhere'])
      expect((await gateway.ask(OfAll, 'SumOfAll', {}, { context, after })).view.sum).toBe(1111);
    // Bound to the default alone where nothing is said.
    expect((await gateway.ask(Sums, 'Total', {}, { after })).view).toEqual({ events: 1, sum: 1 });
    expect(running.instance.status().map(({ consumer }) => consumer)).toEqual(
      expect.arrayContaining(['any.InBoth-1.default', 'any.InBoth-1.import', 'any.All-1.all', 'any.Totals-1.default']),
    );
  });

  it('have subscriptions of their own', async () => {
    await using log = world();
    await using running = await log.start([Counter, InBoth, OfBoth]);
    const { gateway } = running;
    await answer(running, OfBoth, 'SumInBoth');
    await using updates = gateway.subscribe(OfBoth, 'SumInBoth', {}, { context: 'import' });
    const next = async () => (await updates.next()).value?.view.sum;
    expect(await next()).toBe(0);
    await gateway.send(Counter, 'Add', 'a', { n: 1 });
    await gateway.send(Counter, 'Add', 'a', { n: 10 }, { context: 'import' });
    expect(await next()).toBe(10);
  });
});

describe('what a projector asks', () => {
  const asked: { actor: string | undefined; context: string | undefined; causationId: string | undefined }[] = [];
  const notes = {
    kinds: ['projection'] as const,
    before: ({ meta }: { meta: { actor?: string | undefined; context?: string | undefined; causationId?: string | undefined } }) =>
      void asked.push({ actor: meta.actor, context: meta.context, causationId: meta.causationId }),
  };
  const Painted = projector('Painted', {
    of: Door,
    gate: true,
    asks: [Sums],
    tables: { doors: table<{ colour: string; sum: number }>() },
    on: {
      Turned: async ({ colour }, { doors }, { aggregateId, queries }) => {
        const { view } = await queries.ask(Sums, 'Total', {}, { timeoutMs: 300 });
        doors.put(aggregateId, { colour, sum: view.sum });
      },
    },
  });
  const Doors = projection('Doors', {
    reads: Painted,
    queries: {
      DoorOf: { request: record('any.DoorOf', { id: 'string' }), view: record('any.DoorView', { colour: 'string', sum: 'int' }) },
    },
    answer: { DoorOf: ({ id }, { doors }) => doors.get(id) },
  });

  it('is answered, and carries on what its event carries', async () => {
    await using log = world();
    await using running = await log.start([Counter, Door, Totals, Sums, Painted, Doors], { interceptors: [notes] });
    const { gateway } = running;
    const { position: after } = await gateway.send(Counter, 'Add', 'a', { n: 5 });
    await gateway.ask(Sums, 'Total', {}, { after });
    asked.length = 0;
    const painted = await gateway.send(Door, 'Turn', 'front', {}, { actor: 'ada', context: 'default' });
    const { view } = await gateway.ask(Doors, 'DoorOf', { id: 'front' }, { after: painted.position });
    expect(view).toEqual({ colour: 'red', sum: 5 });
    expect(asked[0]).toEqual({ actor: 'ada', context: 'default', causationId: painted.events[0]!.id });
  });

  it('is asked again while nobody answers', async () => {
    await using log = world();
    {
      await using counters = await log.start([Counter], { id: 'counters' });
      await counters.gateway.send(Counter, 'Add', 'a', { n: 5 });
    }
    await using doors = await log.start([Door, { ...Painted, gate: false } as typeof Painted, Doors], { id: 'doors' });
    const { position: after } = await doors.gateway.send(Door, 'Turn', 'front', {});
    const painter = () => doors.instance.status().find(({ consumer }) => consumer.includes('Painted'));
    while (painter()?.error === undefined) await sleep(10);
    expect(painter()).toMatchObject({ state: 'running', error: expect.stringContaining('INDETERMINATE') as string });
    await using _ = await log.start([Counter, Totals, Sums], { id: 'counters' });
    const { view } = await doors.gateway.ask(Doors, 'DoorOf', { id: 'front' }, { after, timeoutMs: 30_000 });
    expect(view).toEqual({ colour: 'red', sum: 5 });
  });

  it('is refused when the answer would wait for itself', async () => {
    await using log = world();
    const Mirror = projector('Mirror', { of: Door, asks: [{ name: 'OfOther', queries: {} }], tables: {}, on: {} });
    const Mirrored = projection('Mirrored', { reads: Mirror, queries: {}, answer: {} });
    const Other = projector('Other', { of: Door, asks: [Mirrored], tables: {}, on: {} });
    const OfOther = projection('OfOther', { reads: Other, queries: {}, answer: {} });
    await expect(log.start([Door, Mirror, Mirrored, Other, OfOther])).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('Mirror asks OfOther, and Mirrored answers from Mirror: it would wait for itself') as string,
    });
  });
});
