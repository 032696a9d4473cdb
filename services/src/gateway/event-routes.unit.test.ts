import { tmpdir } from 'node:os';
import { SpoolError } from '@spool/schemas';
import { toToken } from '@spool/sdk';
import { topicCatalogue } from '@spool/streams';
import { createVerifier, eventTails, openEventStore, type EventStore } from '../event-store/index.js';
import { account, Account, stage, type Stage } from '../event-store/testing.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import type { EventSearch, HandledMessage, IndexedEvent } from '../telemetry/index.js';
import { eventRoutes } from './event-routes.js';
import { verifyRoutes } from './verify-routes.js';

const event = (index: number): IndexedEvent => ({
  id: `c${index}/0`,
  type: 'Paid',
  aggregateType: 'Account',
  aggregateId: 'a',
  version: index,
  at: 1000 * index,
  topic: 'evt.Account',
  partition: 0,
  offset: String(index),
  source: 'bank/Account',
  actor: '',
  commandId: `c${index}`,
  correlationId: 'flow',
  causationId: `c${index}`,
  traceId: '',
  payload: { amount: index },
});
const handled = (messageId: string, causationId: string, more: Partial<HandledMessage> = {}): HandledMessage => ({
  messageKind: 'command',
  messageId,
  causationId,
  type: 'Put',
  aggregateId: 'a',
  bundle: 'bank',
  version: '1.0.0',
  instance: 'bank-0',
  component: 'Account',
  componentKind: 'aggregate',
  at: 0.5,
  status: 'ok',
  outcome: 'applied',
  errorClass: '',
  totalUs: 7,
  ...more,
});

let on: Stage;
let server: TestServer;
let store: EventStore;
/** The aggregate that cannot be rebuilt. */
let failing: string | undefined;
let searches: EventSearch[];
let found: IndexedEvent[];
let messages: HandledMessage[];
beforeEach(async () => {
  on = await stage();
  failing = undefined;
  searches = [];
  found = [];
  messages = [];
  store = openEventStore({ instance: on.platform, registry: on.registry, gateway: on.gateway });
  server = await startTestServer({
    routes: [
      ...verifyRoutes(createVerifier({ instance: on.platform, registry: on.registry, gateway: on.gateway, scratchDir: tmpdir() }), {
        rebuild: (type, id, asked) =>
          id === failing ? Promise.reject(new SpoolError('RECORD_UNREADABLE', 'a test')) : store.rebuild(type, id, asked),
      }),
      ...eventRoutes({
        events: {
          search: (search) => Promise.resolve((searches.push(search), found.slice(0, search.limit))),
          flow: () => Promise.resolve({ events: found, messages, truncated: false }),
        },
        eventStore: store,
        registry: on.registry,
        tails: eventTails(on.platform, on.registry),
        consumers: {
          list: () =>
            Promise.resolve(
              [
                { id: 'spool.telemetry.events.Account', lag: { records: 3, seconds: 1.5 } },
                { id: 'spool.telemetry', lag: { records: 4, seconds: 0.5 } },
                { id: 'bank.Account-1.default', lag: { records: 100, seconds: 100 } },
              ].map((each) => each as never),
            ),
        },
        topics: topicCatalogue(),
      }),
    ],
  });
});
afterEach(async () => {
  await server.close();
  await store.close();
  await on[Symbol.asyncDispose]();
});

describe('the search of events over HTTP', () => {
  it('passes on what is asked for, dates in their places (Evento defect 11)', async () => {
    const answer = await server.send({
      path: '/api/v1/events/search?type=Paid&type=Closed&aggregateType=Account&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00%2B01:00&contains=x&where=a.0.b=1=2&limit=2',
    });
    expect(answer.status).toBe(200);
    expect(searches).toEqual([
      expect.objectContaining({
        types: ['Paid', 'Closed'],
        aggregateTypes: ['Account'],
        from: Date.UTC(2026, 0, 1),
        to: Date.UTC(2026, 0, 31, 23),
        contains: 'x',
        fields: [{ path: ['a', '0', 'b'], value: '1=2' }],
        newestFirst: true,
        limit: 3,
      }),
    ]);
  });

  it('pages, and tells how far ClickHouse is behind', async () => {
    found = [event(1), event(2), event(3)];
    const first = (await server.send({ path: '/api/v1/events/search?limit=2' })).json() as { items: unknown[]; nextCursor: string };
    expect(first).toMatchObject({
      items: [{ id: 'c1/0', at: '1970-01-01T00:00:01.000Z' }, { id: 'c2/0' }],
      lag: { records: 7, seconds: 1.5 },
    });
    await server.send({ path: `/api/v1/events/search?limit=2&cursor=${first.nextCursor}` });
    expect(searches[1]!.beyond).toEqual({ at: 2000, topic: 'evt.Account', partition: 0, offset: '2' });
    const other = await server.send({ path: `/api/v1/events/search?order=oldest&cursor=${first.nextCursor}` });
    expect(other.problem().code).toBe('INVALID_REQUEST');
  });

  it.each(['from=yesterday', 'where=nothing', 'limit=1001', 'type=%20', 'unknown=1'])('refuses %s', async (query) => {
    const answer = await server.send({ path: `/api/v1/events/search?${query}` });
    expect([answer.status, answer.problem().code, searches.length]).toEqual([400, 'INVALID_REQUEST', 0]);
  });
});

describe('what OpenAPI says', () => {
  it('names all of these routes', async () => {
    const { paths } = (await server.send({ path: '/openapi.json' })).json() as { paths: Record<string, unknown> };
    const flow = '/api/v1/correlations/{correlationId}';
    const routes = ['/api/v1/events/search', flow, `${flow}/steps`, '/api/v1/events', '/api/v1/event-store/verify'];
    for (const path of routes) expect(paths).toHaveProperty([path]);
  });
});

describe('a flow over HTTP', () => {
  it('is a tree of commands and events by their causes, with who handled them', async () => {
    // c1 -> c1/0 -> (a saga) c2 -> c2/0; a projector handled c1/0; the span of c3 is gone.
    found = [event(1), event(2), event(3)];
    messages = [
      handled('c1', ''),
      handled('c1/0', 'c1', { messageKind: 'event', type: 'Paid', component: 'Totals', componentKind: 'projector', at: 1500 }),
      handled('c2', 'c1/0', { at: 1800 }),
    ];
    const { nodes } = (await server.send({ path: '/api/v1/correlations/flow' })).json() as { nodes: Record<string, unknown>[] };
    expect(nodes.map(({ depth, kind, id, type }) => `${String(depth)} ${String(kind)} ${String(id)} ${String(type)}`)).toEqual([
      '0 command c1 Put',
      '1 event c1/0 Paid',
      '2 command c2 Put',
      '3 event c2/0 Paid',
      '0 command c3 null',
      '1 event c3/0 Paid',
    ]);
    expect(nodes[1]).toMatchObject({
      bundle: 'bank',
      component: 'Account',
      event: { version: 1, offset: '1' },
      handledBy: [{ component: 'Totals', at: '1970-01-01T00:00:01.500Z' }],
    });
  });

  it('shows messages that claim to cause each other, once', async () => {
    messages = [handled('x', 'y'), handled('y', 'x')];
    const { nodes } = (await server.send({ path: '/api/v1/correlations/flow' })).json() as { nodes: { id: string; depth: number }[] };
    expect(nodes.map(({ id, depth }) => `${depth} ${id}`)).toEqual(['0 x', '1 y']);
  });
});

describe('a flow step by step', () => {
  type State = { readonly balance: number } | null;
  type Item = { readonly id: string; readonly before: State; readonly after: State; readonly changes: unknown };
  const steps = async (query = '') =>
    (await server.send({ path: `/api/v1/correlations/flow/steps${query}` })).json() as { items: Item[]; nextCursor: string };

  it('has each event with the state of its aggregate before and after it, behind its cause whatever the clocks say', async () => {
    for (const [id, count] of [['a', 3], ['b', 300]] as const) await on.bank.gateway.send(Account, 'Many', id, { count }); // prettier-ignore
    // c1 -> a1 -> (a saga) c2 -> b299, whose owner's clock is late; c3 -> a3; a service wrote s1; of b all else is no part of the flow.
    const of = (id: string, aggregateId: string, version: number, at: number, more: Partial<IndexedEvent> = {}): IndexedEvent => {
      const commandId = id.split('/')[0]!;
      return { ...event(version), id, aggregateId, at, commandId, causationId: commandId, ...more };
    };
    found = [
      of('c1/0', 'a', 1, 20),
      of('c2/0', 'b', 299, 28),
      of('c3/0', 'a', 3, 10),
      of('c4/0', 'mail', 1, 40, { aggregateType: 'Mailer' }),
    ];
    messages = [
      handled('c1', '', { at: 15 }),
      handled('c1/0', 'c1', { messageKind: 'event', at: 25 }),
      handled('c2', 'c1/0', { at: 30 }),
      handled('q1', 'c1/0', { messageKind: 'query', at: 31 }),
    ];
    const before = on.folded();
    const { items } = await steps();
    expect(items.map(({ id, before, after }) => [id, before?.balance, after?.balance])).toEqual([
      ['c3', undefined, undefined],
      ['c1', undefined, undefined],
      ['c1/0', 0, 1],
      ['c3/0', 2, 3],
      ['c2', undefined, undefined],
      ['c2/0', 298, 299],
      ['c4', undefined, undefined],
      ['c4/0', undefined, undefined],
    ]);
    expect(items[5]).toMatchObject({ depth: 3, changes: [{ op: 'replace', path: '/balance', before: 298, after: 299 }] });
    expect(items[7]).toMatchObject({ before: null, after: null, changes: [] });
    // One fold for each aggregate: what lies between is passed over once.
    expect(on.folded() - before).toBe(3 + 299);
  });

  it('comes in pages', async () => {
    await on.bank.gateway.send(Account, 'Many', 'a', { count: 3 });
    found = [event(1), event(2), event(3)];
    const first = await steps('?limit=3');
    expect(first.items.map(({ id }) => id)).toEqual(['c1', 'c1/0', 'c2']);
    const rest = await steps(`?limit=3&cursor=${first.nextCursor}`);
    expect(rest).toMatchObject({ items: [{ id: 'c2/0', before: { balance: 1 } }, { id: 'c3' }, { id: 'c3/0', after: { balance: 3 } }] });
    expect(rest.nextCursor).toBeUndefined();
    found = [];
    const gone = await server.send({ path: `/api/v1/correlations/flow/steps?cursor=${first.nextCursor}` });
    expect(gone.problem().code).toBe('INVALID_REQUEST');
    expect(await steps()).toMatchObject({ items: [] });
  });

  it('ends with messages that claim to cause each other', async () => {
    messages = [handled('x', 'y'), handled('y', 'x')];
    expect((await steps()).items.map(({ id }) => id).sort()).toEqual(['x', 'y']);
  });
});

/** Reads server-sent events until there are so many of a kind. */
async function receive(path: string, kind: string, count: number, headers: Record<string, string> = {}) {
  const stop = new AbortController();
  const answer = await fetch(server.url + path, { headers: { accept: 'text/event-stream', ...headers }, signal: stop.signal });
  let text = '';
  const blocks = () => text.split('\n\n').slice(0, -1).map((block) => Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s))) as Record<string, string>); // prettier-ignore
  const found = () => blocks().filter((block) => block.event === kind);
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (found().length >= count) break;
  }
  stop.abort();
  return found().map(({ id, data }) => ({ id: id!, data: JSON.parse(data!) as { version: number; payload: { amount: number } } }));
}

describe('the tail over HTTP', () => {
  it('goes on behind Last-Event-ID, also when the server is another one', async () => {
    await on.bank.gateway.send(Account, 'Many', 'a', { count: 5 });
    const first = await receive('/api/v1/events?from=earliest&aggregateType=Account', 'event', 3);
    expect(first.slice(0, 3).map(({ data }) => data.version)).toEqual([1, 2, 3]);
    await on.bank.gateway.send(Account, 'Many', 'a', { count: 1 });
    const rest = await receive('/api/v1/events?from=earliest&aggregateType=Account', 'event', 3, { 'last-event-id': first[2]!.id });
    expect(rest.slice(0, 3).map(({ data }) => data.version)).toEqual([4, 5, 6]);
  });

  it('gives a slow client all of it: what it has not read waits in the log', async () => {
    const count = 6000;
    for (let sent = 0; sent < count; sent += 1000) await on.bank.gateway.send(Account, 'Many', 'a', { count: 1000 });
    const answer = await fetch(`${server.url}/api/v1/events?from=earliest`);
    // It reads nothing until the server must wait for it.
    await new Promise((resolve) => setTimeout(resolve, 200));
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of answer.body!) {
      text += decoder.decode(chunk as Uint8Array, { stream: true });
      if (text.includes(`"version":${count}`)) break;
    }
    expect(text).not.toContain('event: resync');
    const versions = [...text.matchAll(/"version":(\d+)/g)].map(([, version]) => Number(version));
    expect(versions).toEqual(Array.from({ length: count }, (_, n) => n + 1));
  });

  it('refuses a position that is none before it begins', async () => {
    for (const path of ['/api/v1/events?from=%21%21', '/api/v1/events?type=1']) {
      expect((await server.send({ path })).problem().code).toBe('INVALID_REQUEST');
    }
    const beyond = toToken(new Map([['evt.Account-0', 999n as never]]));
    expect((await server.send({ path: `/api/v1/events?from=${beyond}` })).problem().code).toBe('OFFSET_OUT_OF_RANGE');
  });
});

describe('the verification over HTTP', () => {
  type Told = [event: string, data: Record<string, unknown>];
  const verify = async (body: unknown) => {
    const { status, text } = await server.send({ method: 'POST', path: '/api/v1/event-store/verify', body });
    const told = [...text.matchAll(/event: (\w+)\ndata: (.*)\n/g)].map(([, event, data]): Told => [
      event!,
      JSON.parse(data!) as Record<string, unknown>,
    ]);
    return { status, told };
  };

  it('tells of each thing that is wrong, and then how much was looked at', async () => {
    await on.bank.gateway.send(Account, 'Many', 'a', { count: 100 });
    expect(await verify({})).toMatchObject({
      status: 200,
      told: [
        ['report', { source: 'Account', events: 100, snapshots: 1, compared: 1, violations: 0 }],
        ['done', { violations: 0 }],
      ],
    });
    await on.platform.producer.send({ topic: 'evt.Account', key: 'a', value: Buffer.from('x') });
    const { told } = await verify({ sources: ['Account'], replay: false });
    expect(told).toMatchObject([
      ['violation', { code: 'EVENT_UNREADABLE', aggregateId: 'a' }],
      ['report', { compared: 0 }],
      ['done', {}],
    ]);
  });

  it('rebuilds the snapshots that are not what their events fold into, and goes on past one that cannot be', async () => {
    for (const id of ['a', 'b']) await on.bank.gateway.send(Account, 'Many', id, { count: 100 });
    await on.deploy(account('1', 10));
    const differ = [
      [
        'violation',
        { code: 'SNAPSHOT_DIFFERS', aggregateId: 'a', version: 100, states: { expected: { balance: 1000 }, found: { balance: 100 } } },
      ],
      ['violation', { code: 'SNAPSHOT_DIFFERS', aggregateId: 'b', version: 100 }],
      ['report', { violations: 2 }],
    ];
    // Aggregates are folded side by side, and told as they come.
    const rank = ['violation', 'report', 'rebuilt', 'done'];
    const place = ([event, { aggregateId }]: Told): string => `${rank.indexOf(event)} ${String(aggregateId)}`;
    const sorted = ({ told }: { told: Told[] }) => told.sort((a, b) => (place(a) < place(b) ? -1 : 1));
    const only = { sources: ['Account'] };
    expect(sorted(await verify(only))).toMatchObject([...differ, ['done', {}]]);
    failing = 'a';
    expect(sorted(await verify({ ...only, rebuild: true }))).toMatchObject([
      ...differ,
      ['rebuilt', { aggregateType: 'Account', aggregateId: 'a', failed: { code: 'RECORD_UNREADABLE' } }],
      ['rebuilt', { aggregateType: 'Account', aggregateId: 'b', version: 100 }],
      ['done', { violations: 2 }],
    ]);
    failing = undefined;
    expect(await verify({ ...only, rebuild: true })).toMatchObject({ told: [['violation', { aggregateId: 'a' }], ['report', {}], ['rebuilt', { version: 100 }], ['done', {}]] }); // prettier-ignore
    expect(await verify(only)).toMatchObject({
      told: [
        ['report', { compared: 2, violations: 0 }],
        ['done', {}],
      ],
    });
  });

  it('says when it could not be found out, and refuses names that nobody has', async () => {
    const unknown = await server.send({ method: 'POST', path: '/api/v1/event-store/verify', body: { sources: ['Nothing'] } });
    expect(unknown.problem().code).toBe('UNKNOWN_AGGREGATE');
    const body = { sources: ['Account'], from: 'yesterday' };
    expect((await server.send({ method: 'POST', path: '/api/v1/event-store/verify', body })).problem().code).toBe('INVALID_REQUEST');
  });
});
