import { tmpdir } from 'node:os';
import { avroContentType, FoldReplySchema, messageHeaders, record, type SpoolError } from '@spool/schemas';
import { rebuildSnapshot, type CommandResult, type RegisteredComponent } from '@spool/sdk';
import { openEventStore, type EventStore, type Moment } from './event-store.js';
import { createVerifier } from './verify/verifier.js';
import type { Violation } from './verify/violations.js';
import { account, Account, stage, until, type Stage } from './testing.js';

let on: Stage;
let store: EventStore;
beforeEach(async () => {
  on = await stage();
  store = openEventStore({ instance: on.platform, registry: on.registry, gateway: on.gateway });
});
afterEach(async () => {
  await store.close();
  await on[Symbol.asyncDispose]();
});

const put = (id: string, amount: number, note = ''): Promise<CommandResult> => on.bank.gateway.send(Account, 'Put', id, { amount, note });
const many = (id: string, count: number): Promise<CommandResult> => on.bank.gateway.send(Account, 'Many', id, { count });
const of = (aggregateId: string) => ({ aggregateType: 'Account', aggregateId, deadline: Date.now() + 10_000 });
const state = (id: string, moment: Moment = {}) => store.state({ ...of(id), ...moment });
/** How many events are folded for one read. */
const cost = async (read: () => Promise<unknown>): Promise<number> => {
  const before = on.folded();
  await read();
  return on.folded() - before;
};
/** The index has taken in what the snapshots' topic holds. */
const snapshotsSeen = (): Promise<void> =>
  until(async () => {
    const topic = on.topics.snapshots('Account').name;
    const status = on.platform.status().find(({ consumer }) => consumer === 'spool.event-store.Account');
    return (await on.kafka.admin.offsets(topic)).every(({ partition, latest }) =>
      status?.partitions.some((at) => at.topic === topic && at.partition === partition && at.position >= latest),
    );
  });

describe('a state', () => {
  it('of 10,000 events costs no more than one of 10 when there is a snapshot', async () => {
    await many('short', 10);
    for (let n = 0; n < 10; n++) await many('long', 1000);
    await snapshotsSeen();
    const short = await cost(async () => expect(await state('short')).toMatchObject({ version: 10, state: { balance: 10 } }));
    const long = await cost(async () => expect(await state('long')).toMatchObject({ version: 10_000, state: { balance: 10_000 } }));
    expect({ short, long }).toEqual({ short: 10, long: 0 });
    await many('long', 30);
    expect(await cost(async () => expect(await state('long')).toMatchObject({ state: { balance: 10_030 } }))).toBe(30);
  });

  it('of the past is folded once, and the next read of that time begins nearby', async () => {
    await many('a', 6000);
    expect(await cost(async () => expect(await state('a', { version: 3700 })).toMatchObject({ state: { balance: 3700 } }))).toBe(3700);
    expect(await cost(async () => expect(await state('a', { version: 3800 })).toMatchObject({ state: { balance: 3800 } }))).toBe(100);
    expect(await cost(() => state('a', { version: 3500 }))).toBe(0);
  });

  it('is folded anew by another version of the code, and the states of the old one are forgotten', async () => {
    await many('a', 1100);
    expect(await state('a', { version: 600 })).toMatchObject({ state: { balance: 600 } });
    await on.deploy(account('2', 10));
    expect(await state('a')).toMatchObject({ version: 1100, state: { balance: 11_000 } });
    expect(await state('a', { version: 600 })).toMatchObject({ state: { balance: 6000 } });
    expect(await cost(() => state('a', { version: 600 }))).toBe(0);
  });

  it('is there at a version, at a time, and not before the first event or after the last', async () => {
    await put('a', 1);
    const [first] = await store.events({ ...of('a'), limit: 1 });
    await until(() => Date.now() > first!.at);
    await put('a', 2);
    await put('a', 4);
    expect(await state('a', { version: 2 })).toMatchObject({ version: 2, state: { balance: 3 } });
    expect(await state('a', { at: first!.at })).toMatchObject({ version: 1, at: first!.at, deleted: false, state: { balance: 1 } });
    expect(await state('a', { at: Date.now() })).toMatchObject({ version: 3 });
    for (const moment of [{ at: first!.at - 1 }, { version: 4 }, { version: 0 }]) {
      await expect(state('a', moment)).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
    }
    await expect(state('nobody')).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
    await expect(store.state({ ...of('a'), aggregateType: 'Nothing' })).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
  });

  it('says that the aggregate was deleted, and not of the time before (Evento defect 5)', async () => {
    await put('a', 1);
    await on.bank.gateway.send(Account, 'Close', 'a', {});
    await store.snapshot('Account', 'a', { deadline: Date.now() + 5000, actor: 'ada' });
    await snapshotsSeen();
    expect(await state('a')).toMatchObject({ version: 2, deleted: true });
    expect(await state('a', { version: 1 })).toMatchObject({ deleted: false });
  });

  it('reflects a position that also tells of other topics', async () => {
    const { position } = await put('a', 1);
    const both = Buffer.from(`${Buffer.from(position, 'base64url').toString()},evt.Other-0:77`).toString('base64url');
    expect(await store.state({ ...of('a'), after: both })).toMatchObject({ version: 1 });
  });
});

describe('the difference of two states', () => {
  it('tells what changed, from before the first event on', async () => {
    await put('a', 1, 'one');
    await put('a', 2, 'two');
    const difference = await store.difference({ ...of('a'), from: { version: 0 }, to: {} });
    expect(difference).toMatchObject({ from: { version: 0, at: 0, state: { balance: 0 } }, to: { version: 2 } });
    expect(difference.changes).toEqual([
      { op: 'replace', path: '/balance', before: 0, after: 3 },
      { op: 'add', path: '/notes/0', after: 'one' },
      { op: 'add', path: '/notes/1', after: 'two' },
    ]);
    const { changes } = await store.difference({ ...of('a'), from: { version: 2 }, to: { version: 1 } });
    expect(changes).toEqual([
      { op: 'replace', path: '/balance', before: 3, after: 1 },
      { op: 'remove', path: '/notes/1', before: 'two' },
    ]);
  });
});

describe('a walk over events', () => {
  const walk = (id: string, versions: readonly number[]) => store.walk({ ...of(id), versions });
  const range = (from: number, to: number): readonly number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at);

  it('folds each event once, and begins nearby', async () => {
    await many('a', 3000);
    expect(await cost(async () => expect(await walk('a', range(2001, 2500))).toHaveLength(500))).toBe(2500);
    const cheap = await cost(async () => {
      const steps = await walk('a', range(2501, 2510));
      expect(steps.map(({ version, before, after }) => [version, before, after])).toEqual(
        range(2501, 2510).map((version) => [version, { balance: version - 1, notes: [] }, { balance: version, notes: [] }]),
      );
      expect(steps[0]!.changes).toEqual([{ op: 'replace', path: '/balance', before: 2500, after: 2501 }]);
    });
    expect(cheap).toBe(10);
    expect(await cost(async () => expect(await walk('a', [1, 2500])).toMatchObject([{ version: 1 }, { after: { balance: 2500 } }]))).toBe(
      // Two of the start, and from the last state that was kept before version 2,499.
      2 - 1 + 500,
    );
    expect(await walk('a', [])).toEqual([]);
  });

  it('gives the first ones alone when the states are large, and always one', async () => {
    for (let n = 0; n < 9; n++) await put('a', 1, `${n}`.repeat(90_000));
    const steps = await walk('a', range(1, 9));
    // The states of versions 1 to 7 have more than two million characters together.
    expect(steps.map(({ version }) => version)).toEqual(range(1, 7));
    expect(await walk('a', range(9, 9))).toMatchObject([{ version: 9, after: { balance: 9 } }]);
  });

  it('is folded by one version of the code', async () => {
    await many('a', 600);
    await walk('a', range(1, 600));
    await on.deploy(account('2', 10));
    expect(await walk('a', [1, 600])).toMatchObject([{ after: { balance: 10 } }, { before: { balance: 5990 }, after: { balance: 6000 } }]);
  });

  it('says that a bundle is too old to tell the states on the way', async () => {
    await many('a', 3);
    const folds = on.codec.decoder(FoldReplySchema);
    const encoder = await on.codec.encoder('reply.gateway', FoldReplySchema);
    const request = async (...of: Parameters<Stage['gateway']['request']>) => {
      const reply = await on.gateway.request(...of);
      return { ...reply, view: encoder.encode({ ...(await folds.decode(reply.view!)), states: [] }) };
    };
    await using old = openEventStore({ instance: on.platform, registry: on.registry, gateway: { request } });
    await expect(old.walk({ ...of('a'), versions: [2] })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await old.state(of('a'))).toMatchObject({ version: 3 });
  });
});

describe('a snapshot on demand', () => {
  it('is taken by the owner, and is where the next read begins', async () => {
    await many('a', 50);
    expect(await store.snapshot('Account', 'a', { deadline: Date.now() + 5000, actor: 'ada' })).toBe(50);
    await snapshotsSeen();
    expect(await cost(() => state('a'))).toBe(0);
  });

  it('is refused for what is not there', async () => {
    const asked = { deadline: Date.now() + 5000, actor: 'ada' };
    await expect(store.snapshot('Account', 'nobody', asked)).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
    await expect(store.snapshot('Nothing', 'a', asked)).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
  });
});

describe('a rebuilt snapshot', () => {
  const asked = () => ({ deadline: Date.now() + 10_000, actor: 'ada' });
  const reports: Violation[] = [];
  const verify = async () => {
    reports.length = 0;
    const verifier = createVerifier({ instance: on.platform, registry: on.registry, gateway: on.gateway, scratchDir: tmpdir() });
    const check = await verifier.prepare({ sources: ['Account'], replay: true });
    const compared: number[] = [];
    const signal = new AbortController().signal;
    await check({ signal, onViolation: (violation) => reports.push(violation), onReport: (report) => compared.push(report.compared) });
    return { compared, found: reports.map(({ code, version }) => [code, version]) };
  };

  it('replaces the state of the owner, its snapshots, and the states that were kept of it, by the fold of all events', async () => {
    await many('a', 1200);
    await store.snapshot('Account', 'a', asked());
    await many('a', 30);
    await snapshotsSeen();
    expect(await state('a', { version: 700 })).toMatchObject({ state: { balance: 700 } });
    // The code changes, and its version does not: what was folded before is wrong.
    await on.deploy(account('1', 10));
    expect(await state('a')).toMatchObject({ version: 1230, state: { balance: 1200 + 300 } });
    expect(await verify()).toEqual({ compared: [1], found: [['SNAPSHOT_DIFFERS', 1200]] });
    expect(await cost(async () => expect(await store.rebuild('Account', 'a', asked())).toBe(1230))).toBe(1230);
    await snapshotsSeen();
    expect(await state('a')).toMatchObject({ version: 1230, state: { balance: 12_300 } });
    expect(await state('a', { version: 700 })).toMatchObject({ state: { balance: 7000 } });
    // The owner goes on with it: its next snapshot is the fold of all events too.
    await many('a', 100);
    expect(await verify()).toEqual({ compared: [2], found: [] });
  });

  it('goes on with what it has folded when the aggregate changes meanwhile', async () => {
    await many('a', 500);
    let writes = 2;
    await using busy = openEventStore({
      instance: on.platform,
      registry: on.registry,
      gateway: {
        async request(message) {
          if (message.type === rebuildSnapshot && writes-- > 0) await many('a', 3);
          return on.gateway.request(message);
        },
      },
    });
    expect(await cost(async () => expect(await busy.rebuild('Account', 'a', asked())).toBe(506))).toBe(506);
    expect(await verify()).toMatchObject({ found: [] });
  });

  it('keeps a deleted aggregate deleted (Evento defect 5)', async () => {
    await put('a', 1);
    await on.bank.gateway.send(Account, 'Close', 'a', {});
    expect(await store.rebuild('Account', 'a', asked())).toBe(2);
    await expect(put('a', 1)).rejects.toMatchObject({ code: 'REJECTED' });
    expect(await verify()).toEqual({ compared: [1], found: [] });
  });

  it('is refused for what is not there', async () => {
    await expect(store.rebuild('Account', 'nobody', asked())).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
    await expect(store.rebuild('Nothing', 'a', asked())).rejects.toMatchObject({ code: 'UNKNOWN_AGGREGATE' });
  });
});

describe('services and sagas', () => {
  it('have streams like aggregates, once there is a topic, and no state', async () => {
    const topic = on.topics.events('Mailer');
    const components = [{ kind: 'service', name: 'Mailer' }] as unknown as readonly RegisteredComponent[];
    const registry = { components: () => components, component: () => components[0], onChange: () => () => undefined };
    await using services = openEventStore({ instance: on.platform, registry, gateway: on.gateway });
    const request = { aggregateType: 'Mailer', aggregateId: 'm', deadline: Date.now() + 10_000 };
    const missing = await services.events({ ...request, limit: 9 }).catch((error: unknown) => (error as SpoolError).code);
    expect(missing).toBe('UNKNOWN_AGGREGATE');
    await on.kafka.admin.ensureTopics([topic]);
    const encoder = await on.codec.encoder(topic.name, record('mail.Sent', { to: 'string' }));
    const headers = messageHeaders({ id: 'c1/0', type: 'Sent', aggregateVersion: 1, contentType: avroContentType, causationId: 'c1' });
    await on.platform.producer.send({ topic: topic.name, key: 'm', value: encoder.encode({ to: 'x' }), headers });
    expect(await services.events({ ...request, limit: 9 })).toMatchObject([{ type: 'Sent', version: 1, payload: { to: 'x' } }]);
    await expect(services.walk({ ...request, versions: [1] })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(services.state(request)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});
