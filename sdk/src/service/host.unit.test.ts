import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createCodec,
  createMemoryRegistry,
  headerNames,
  messageHeaders,
  record,
  ReplySchema,
  SpoolError,
  type Codec,
  type MessageMeta,
} from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createMemoryCluster, topicCatalogue, type ConsumedRecord, type Kafka, readTopic } from '@spool/streams';
import { reject } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import type { CommandResult, Priority } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { fromToken } from '../position/token.js';
import { service, type ServiceContext } from './service.js';

type Call = Pick<ServiceContext, 'idempotencyKey' | 'lockId' | 'signal'> & { readonly what: string; end(error?: Error): void };
/** The outside world: it notes every call, and may hold one until the test ends it. */
let calls: Call[];
let held: (what: string) => boolean;
const outside = async (what: string, { idempotencyKey, lockId, signal }: ServiceContext): Promise<void> => {
  let end!: (error?: Error) => void;
  const ended = new Promise<void>((resolve, fail) => {
    end = (error) => (error === undefined ? resolve() : fail(error));
  });
  calls.push({ what, idempotencyKey, lockId, signal, end });
  if (held(what)) await ended;
};
const Vouchers = service('Vouchers', {
  commands: {
    Issue: record('shop.Issue', { code: 'string' }),
    Check: record('shop.Check', { code: 'string' }),
    Refuse: record('shop.Refuse', {}),
  },
  events: { Issued: record('shop.Issued', { code: 'string' }) },
  handle: {
    Issue: async ({ code }, context) => {
      await outside(code, context);
      return { type: 'Issued', data: { code } };
    },
    Check: async ({ code }, context) => {
      await outside(code, context);
      return undefined;
    },
    Refuse: () => reject('SOLD_OUT', 'no voucher is left'),
  },
  concurrency: 4,
});
const One = service('One', {
  commands: { Do: record('shop.Do', { what: 'string' }) },
  handle: {
    Do: async ({ what }, context) => {
      await outside(what, context);
      return undefined;
    },
  },
  concurrency: 1,
  timeoutMs: 30,
});

let kafka: Kafka;
let codec: Codec;
let dataDir: string;
const topics = topicCatalogue({ partitions: 1 });
const open: RunningBundle[] = [];
let transactions: 'instance' | 'partition' = 'instance';

beforeEach(() => {
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-service-'));
  calls = [];
  held = () => false;
});
afterEach(async () => {
  for (const call of calls) call.end();
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
async function start(): Promise<RunningBundle> {
  const running = await startBundle(bundle({ id: 'shop', version: '1.0.0', components: [Vouchers, One] }), {
    kafka,
    codec,
    topics,
    instance: 'shop-0',
    dataDir,
    log: () => undefined,
    transactions,
  });
  open.push(running);
  return running;
}
const stop = (): Promise<void> => open.pop()!.close();
const log = (topic: string): Promise<readonly ConsumedRecord[]> => readTopic(kafka, topic);
const events = async (): Promise<string[]> =>
  (await log(topics.events('Vouchers').name)).map(
    ({ key, headers }) => `${headers[headerNames.id]} ${key}@${headers[headerNames.aggregateVersion]}`,
  );
const letters = async (): Promise<number> => (await log(topics.deadLetters('shop.Vouchers-1.default').name)).length;
/** A command that nobody waits for, unless `meta` says so. */
async function post(id: string, key: string, meta: Partial<MessageMeta> = {}, priority: Priority = 'normal'): Promise<void> {
  await using producer = await kafka.producer();
  const topic = topics.service('Vouchers', priority).name;
  const value = (await codec.encoder(topic, Vouchers.commands.Issue)).encode({ code: id });
  await producer.send({ topic, key, value, headers: messageHeaders({ id, type: 'Issue', source: 'test', ...meta }) });
}
const errorOf = (pending: Promise<CommandResult>): Promise<SpoolError> =>
  pending.then(
    () => {
      throw new Error('it went well');
    },
    (error: unknown) => error as SpoolError,
  );

describe.each(['instance', 'partition'] as const)('a service, a transaction for each %s', (scope) => {
  beforeEach(() => {
    transactions = scope;
  });

  it('gives an event, nothing or a refusal, with a version for each lock and a stream of its own without one', async () => {
    const { gateway } = await start();
    const first = await gateway.send(Vouchers, 'Issue', 'lock', { code: 'a' }, { commandId: 'c1' });
    expect(first).toMatchObject({ status: 'applied', version: 1, events: [{ id: 'c1/0', type: 'Issued', version: 1 }] });
    expect(await gateway.send(Vouchers, 'Issue', 'lock', { code: 'b' }, { commandId: 'c2' })).toMatchObject({ version: 2 });
    expect(await gateway.send(Vouchers, 'Check', 'lock', { code: 'c' }, { commandId: 'c3' })).toMatchObject({ version: 2, events: [] });
    expect(await gateway.send(Vouchers, 'Issue', null, { code: 'd' }, { commandId: 'c4' })).toMatchObject({ version: 1 });
    expect(await errorOf(gateway.send(Vouchers, 'Refuse', 'lock', {}))).toMatchObject({ code: 'REJECTED', facts: { reason: 'SOLD_OUT' } });
    expect(await events()).toEqual(['c1/0 lock@1', 'c2/0 lock@2', 'c4/0 c4@1']);
    expect(calls.map(({ idempotencyKey, lockId }) => [idempotencyKey, lockId])).toEqual([
      ['c1', 'lock'],
      ['c2', 'lock'],
      ['c3', 'lock'],
      ['c4', undefined],
    ]);
    const [written] = await log(topics.events('Vouchers').name);
    expect(fromToken(first.position).get(`${topics.events('Vouchers').name}-0`)).toBe(written!.offset + 1n);
    expect(written!.headers[headerNames.commandId]!.toString()).toBe('c1');
    expect(await errorOf(gateway.send(Vouchers, 'Issue', 'lock', { code: 'e' }, { expectedVersion: 1 }))).toMatchObject({
      code: 'VERSION_CONFLICT',
      facts: { actualVersion: 2 },
    });
  });

  it('gives a repeated command its recorded outcome, after a restart and the loss of its disk too, and calls nobody (Evento defect 10)', async () => {
    const { gateway } = await start();
    const first = await gateway.send(Vouchers, 'Issue', 'lock', { code: 'a' }, { commandId: 'c1' });
    await errorOf(gateway.send(Vouchers, 'Refuse', null, {}, { commandId: 'c2' }));
    await gateway.send(Vouchers, 'Check', 'lock', { code: 'c' }, { commandId: 'c3' });
    for (const lost of [false, true]) {
      await stop();
      if (lost) rmSync(dataDir, { recursive: true, force: true });
      const again = (await start()).gateway;
      const repeated = await again.send(Vouchers, 'Issue', 'lock', { code: 'a' }, { commandId: 'c1', priority: 'high' });
      expect(repeated).toMatchObject({ status: 'duplicate', version: 1, events: first.events });
      const key = `${topics.events('Vouchers').name}-0`;
      expect(fromToken(repeated.position).get(key)).toBeGreaterThanOrEqual(fromToken(first.position).get(key)!);
      expect(await errorOf(again.send(Vouchers, 'Refuse', null, {}, { commandId: 'c2' }))).toMatchObject({ code: 'REJECTED' });
      expect(await again.send(Vouchers, 'Check', 'lock', { code: 'c' }, { commandId: 'c3' })).toMatchObject({ status: 'duplicate' });
    }
    expect(calls).toHaveLength(2);
    expect(await events()).toEqual(['c1/0 lock@1']);
    expect(await open[0]!.gateway.send(Vouchers, 'Issue', 'lock', { code: 'b' }, { commandId: 'c5' })).toMatchObject({ version: 2 });
  });

  it('handles different locks side by side, as many as it may, and one lock in order', async () => {
    held = () => true;
    const { gateway } = await start();
    const sent = ['a', 'b', 'a', 'c', 'd', 'e'].map((lock, at) => gateway.send(Vouchers, 'Issue', lock, { code: `${lock}${at}` }));
    await until(() => calls.length === 4);
    expect(calls.map(({ what }) => what)).toEqual(['a0', 'b1', 'c3', 'd4']);
    calls[1]!.end();
    await sent[1];
    await until(() => calls.length === 5);
    expect(calls[4]!.what).toBe('e5');
    calls[0]!.end();
    await until(() => calls.length === 6);
    expect(calls[5]!.what).toBe('a2');
    held = () => false;
    for (const call of calls) call.end();
    await Promise.all(sent);
    expect((await log(topics.events('Vouchers').name)).length).toBe(6);
  });

  it('keeps a lock until its handler ends, though the signal has fired and nobody waits any more (Evento defect 9)', async () => {
    held = (what) => what === 'first';
    const { gateway } = await start();
    const first = errorOf(gateway.send(Vouchers, 'Issue', 'lock', { code: 'first' }, { commandId: 'c1', timeoutMs: 1500 }));
    await until(() => calls.length === 1);
    const second = gateway.send(Vouchers, 'Issue', 'lock', { code: 'second' }, { commandId: 'c2' });
    expect((await first).code).toBe('INDETERMINATE');
    await until(() => calls[0]!.signal.aborted);
    // Whatever else comes is handled meanwhile, and behind the lock nothing moves.
    for (let n = 0; n < 20; n++) await gateway.send(Vouchers, 'Check', null, { code: `other ${n}` });
    expect(calls.filter(({ lockId }) => lockId === 'lock')).toHaveLength(1);
    calls[0]!.end();
    expect(await second).toMatchObject({ version: 2 });
    // It came to an end after all, and that is recorded.
    expect(await gateway.send(Vouchers, 'Issue', 'lock', { code: 'first' }, { commandId: 'c1' })).toMatchObject({ status: 'duplicate' });
    expect(await events()).toEqual(['c1/0 lock@1', 'c2/0 lock@2']);
  });

  it('writes a reply with a key into the transaction of the outcome', async () => {
    await start();
    const replyTo = { topic: 'answers', partition: 0 };
    await kafka.admin.ensureTopics([{ name: 'answers', partitions: 1, configs: {} } as never]);
    await post('c1', 'lock', { replyTo, replyKey: 'saga-1' });
    await post('c1', 'lock', { replyTo, replyKey: 'saga-1' });
    await until(async () => (await log('answers')).length === 2);
    const replies = await log('answers');
    expect(replies.map(({ key }) => key!.toString())).toEqual(['saga-1', 'saga-1']);
    expect(await Promise.all(replies.map(async ({ value }) => (await codec.decoder(ReplySchema).decode(value!)).outcome))).toEqual([
      'applied',
      'duplicate',
    ]);
    expect(calls).toHaveLength(1);
  });
});

describe('a service', () => {
  beforeEach(() => {
    transactions = 'instance';
  });

  it('lets urgent commands overtake, and leaves the others their share, with one slot and a backlog of each', async () => {
    held = (what) => what === 'gate';
    const { gateway } = await start();
    const gate = gateway.send(One, 'Do', null, { what: 'gate' }, { priority: 'low', timeoutMs: 60_000 });
    await until(() => calls.length === 1);
    const sent: Promise<unknown>[] = [gate];
    for (const priority of ['low', 'normal', 'high'] as const)
      for (let n = 0; n < 24; n++) sent.push(gateway.send(One, 'Do', null, { what: priority }, { priority }));
    await until(() =>
      open[0]!.instance.status().some(({ partitions }) => partitions.some(({ topic, end }) => topic.includes('One.high') && end >= 24n)),
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    calls[0]!.end();
    await Promise.all(sent);
    const order = calls.slice(1).map(({ what }) => what);
    const first = order.slice(0, 24);
    expect(order[0]).toBe('high');
    expect(['high', 'normal', 'low'].map((each) => first.filter((what) => what === each).length)).toEqual([16, 6, 2]);
    // The urgent ones are done first, and by then the others have had their part.
    expect(order.lastIndexOf('high')).toBe(35);
  });

  it('tries again what fails for the moment, while others go on, and says at the deadline that nobody knows', async () => {
    let failures = 3;
    held = (what) => what === 'broken' || (what === 'shaky' && failures > 0);
    const { gateway } = await start();
    const shaky = gateway.send(Vouchers, 'Issue', 'x', { code: 'shaky' }, { commandId: 'c1' });
    const ender = setInterval(() => {
      for (const call of calls.splice(0).filter(({ what }) => held(what))) {
        if (call.what === 'shaky') failures -= 1;
        call.end(call.what === 'shaky' ? Object.assign(new Error('reset'), { code: 'ECONNRESET' }) : new SpoolError('UNAVAILABLE', 'down'));
      }
    }, 2);
    try {
      expect(await gateway.send(Vouchers, 'Issue', 'y', { code: 'fine' })).toMatchObject({ status: 'applied' });
      expect(await shaky).toMatchObject({ status: 'applied', version: 1 });
      expect(failures).toBe(0);
      const broken = gateway.send(Vouchers, 'Issue', 'x', { code: 'broken' }, { commandId: 'c2', timeoutMs: 400 });
      expect((await errorOf(broken)).code).toBe('INDETERMINATE');
      // Its lock is free then, and the command may be sent again.
      held = () => false;
      expect(await gateway.send(Vouchers, 'Issue', 'x', { code: 'broken' }, { commandId: 'c2' })).toMatchObject({
        status: 'applied',
        version: 2,
      });
    } finally {
      clearInterval(ender);
    }
  });

  it('interrupts a try that takes too long, and tries again', async () => {
    held = () => true;
    const { gateway } = await start();
    const pending = gateway.send(One, 'Do', null, { what: 'slow' }, { commandId: 'c1' });
    await until(() => calls[0]?.signal.aborted === true);
    calls[0]!.end(new Error(String(calls[0]!.signal.reason)));
    await until(() => calls.length === 2);
    calls[1]!.end();
    expect(await pending).toMatchObject({ status: 'applied' });
    expect(calls.map(({ idempotencyKey }) => idempotencyKey)).toEqual(['c1', 'c1']);
  });

  it('tells of a fault and records nothing; where nobody waits it parks the command and what follows under its lock', async () => {
    held = (what) => what.startsWith('bug');
    const { gateway, instance } = await start();
    const failed = errorOf(gateway.send(Vouchers, 'Issue', 'lock', { code: 'bug' }, { commandId: 'c1' }));
    await until(() => calls.length === 1);
    calls[0]!.end(new TypeError('a bug'));
    expect((await failed).code).toBe('INTERNAL');
    expect(await letters()).toBe(0);
    held = (what) => what === 'bug2';
    expect(await gateway.send(Vouchers, 'Issue', 'lock', { code: 'bug' }, { commandId: 'c1' })).toMatchObject({ status: 'applied' });

    await post('bug2', 'lock');
    await until(() => calls.length === 3);
    calls[2]!.end(new TypeError('a bug'));
    await until(async () => (await letters()) === 1);
    expect(await errorOf(gateway.send(Vouchers, 'Issue', 'lock', { code: 'behind' }, { commandId: 'c3' }))).toMatchObject({
      code: 'INDETERMINATE',
    });
    await until(async () => (await letters()) === 2);
    expect(await gateway.send(Vouchers, 'Issue', 'free', { code: 'fine' })).toMatchObject({ status: 'applied' });
    expect(calls.map(({ what }) => what)).toEqual(['bug', 'bug', 'bug2', 'fine']);
    expect(instance.status().find(({ consumer }) => consumer.startsWith('shop.Vouchers'))?.error).toBeUndefined();
  });

  it('does nothing for a command whose deadline has passed', async () => {
    await start();
    const replyTo = { topic: 'answers', partition: 0 };
    await kafka.admin.ensureTopics([{ name: 'answers', partitions: 1, configs: {} } as never]);
    await post('late', 'lock', { deadline: Date.now() - 1, replyTo });
    await until(async () => (await log('answers')).length === 1);
    expect((await codec.decoder(ReplySchema).decode((await log('answers'))[0]!.value!)).outcome).toBe('expired');
    expect(calls).toEqual([]);
  });
});
