import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CommandOutcomesSchema,
  createCodec,
  createMemoryRegistry,
  headerNames,
  messageHeaders,
  record,
  ReplySchema,
  SpoolError,
  TaskCheckpointSchema,
  type Codec,
} from '@spool/schemas';
import {
  createMemoryCluster,
  offset,
  topicCatalogue,
  type ConsumedRecord,
  type Kafka,
  type MemoryCluster,
  readTopic,
} from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import type { CommandResult, ExpectedVersion } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import type { Interceptor } from '../interceptor/interceptor.js';
import { aggregate, reject } from './aggregate.js';
import { takeSnapshot } from './host.js';

const Account = aggregate('Account', {
  commands: {
    Open: record('bank.Open', { owner: 'string' }),
    Deposit: record('bank.Deposit', { amount: 'int' }),
    Split: record('bank.Split', { into: 'int' }),
    Crash: record('bank.Crash', {}),
    Close: record('bank.Close', {}),
  },
  events: {
    Opened: record('bank.Opened', { owner: 'string', number: 'string' }),
    Deposited: record('bank.Deposited', { amount: 'int', pad: 'string' }),
    Closed: record('bank.Closed', {}),
  },
  initial: () => ({ balance: 0 }),
  decide: {
    Open: { requires: 'new', decide: ({ owner }, _, { newId }) => [{ type: 'Opened', data: { owner, number: newId() } }] },
    Deposit: {
      requires: 'existing',
      decide: ({ amount }, { balance }) =>
        balance + amount < 0 ? reject('OVERDRAWN', `only ${balance} left`) : [{ type: 'Deposited', data: { amount, pad: '' } }],
    },
    Split: ({ into }) => Array.from({ length: into }, () => ({ type: 'Deposited' as const, data: { amount: 1, pad: '' } })),
    Crash: () => {
      throw new TypeError('a bug');
    },
    Close: () => [{ type: 'Closed' as const, data: {} }],
  },
  evolve: {
    Opened: (state) => state,
    Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
    Closed: () => ({ balance: 0 }),
  },
  deletes: ['Closed'],
  snapshotEvery: 5,
});

let cluster: MemoryCluster;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let clock: number;
const topics = topicCatalogue({ partitions: 1 });
const open: RunningBundle[] = [];

beforeEach(() => {
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-host-'));
  clock = Date.now();
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

let transactions: 'instance' | 'partition' = 'partition';
async function start(instance = 'bank-0', outcomeRetentionMs = 60_000, interceptors: readonly Interceptor[] = []): Promise<RunningBundle> {
  const running = await startBundle(bundle({ id: 'bank', version: '1.0.0', components: [Account], interceptors }), {
    kafka,
    codec,
    topics,
    instance,
    dataDir,
    log: () => undefined,
    now: () => clock,
    outcomeRetentionMs,
    transactions,
  });
  open.push(running);
  return running;
}
const stop = async (): Promise<void> => {
  await open.pop()!.close();
};
const log = (topic: string): Promise<readonly ConsumedRecord[]> => readTopic(kafka, topic);
const versions = async (): Promise<string[]> =>
  (await log(topics.events('Account').name)).map(({ key, headers }) => `${key}@${headers[headerNames.aggregateVersion]}`);
const code = async (pending: Promise<CommandResult>): Promise<string> =>
  pending.then(
    ({ status }) => status,
    (error: unknown) => (error as SpoolError).code,
  );

describe.each(['partition', 'instance'] as const)('an aggregate host, a transaction for each %s', (scope) => {
  beforeEach(() => {
    transactions = scope;
  });

  it('tells of a conflict when what it rests on is committed, for an owner that was replaced unawares must not answer', async () => {
    let reached = (): void => undefined;
    let letGo = (): void => undefined;
    let held = false;
    const openWriter = kafka.transactionalProducer.bind(kafka);
    Object.assign(kafka, {
      transactionalProducer: async (options: Parameters<Kafka['transactionalProducer']>[0]) => {
        const writer = await openWriter(options);
        return {
          transactionalId: writer.transactionalId,
          async commit(records: Parameters<typeof writer.commit>[0]) {
            if (held) {
              reached();
              await new Promise<void>((resolve) => (letGo = resolve));
            }
            return writer.commit(records);
          },
          close: () => writer.close(),
          [Symbol.asyncDispose]: () => writer.close(),
        };
      },
    });
    const { gateway } = await start();
    await gateway.send(Account, 'Open', 'a1', { owner: 'Ada' });
    const replies = async (): Promise<bigint> =>
      (await kafka.admin.offsets(topics.replies('bank').name)).reduce((sum, { latest }) => sum + latest, 0n);
    const before = await replies();
    held = true;
    const committing = new Promise<void>((resolve) => (reached = resolve));
    const sent = gateway.send(Account, 'Deposit', 'a1', { amount: 1 }, { expectedVersion: 7 });
    sent.catch(() => undefined);
    await committing;
    expect(await replies()).toBe(before);
    held = false;
    letGo();
    await expect(sent).rejects.toMatchObject({ code: 'VERSION_CONFLICT', facts: { actualVersion: 1 } });
  });

  it('appends several events of one command at once, with versions, ids and their cause (Evento defects 1 and 2)', async () => {
    const { gateway } = await start();
    await gateway.send(Account, 'Open', 'a', { owner: 'x' }, { commandId: 'c1' });
    const result = await gateway.send(Account, 'Split', 'a', { into: 3 }, { commandId: 'c2', correlationId: 'flow' });
    expect(result).toMatchObject({
      status: 'applied',
      version: 4,
      events: [2, 3, 4].map((version, index) => ({ id: `c2/${index}`, type: 'Deposited', version })),
    });
    const [, second] = await log(topics.events('Account').name);
    expect(Object.fromEntries(Object.entries(second!.headers).map(([name, value]) => [name, value.toString()]))).toMatchObject({
      ce_id: 'c2/0',
      ce_type: 'Deposited',
      ce_source: 'bank/Account',
      ce_subject: 'a',
      correlationid: 'flow',
      causationid: 'c2',
      aggregateversion: '2',
    });
  });

  it('refuses by the domain, by existence and by version, and writes no event', async () => {
    const { gateway } = await start();
    await gateway.send(Account, 'Open', 'a', { owner: 'x' });
    await expect(gateway.send(Account, 'Deposit', 'a', { amount: -1 })).rejects.toMatchObject({
      code: 'REJECTED',
      facts: { reason: 'OVERDRAWN' },
      message: 'only 0 left',
    });
    await expect(gateway.send(Account, 'Open', 'a', { owner: 'x' })).rejects.toMatchObject({
      code: 'REJECTED',
      facts: { reason: 'ALREADY_EXISTS' },
    });
    await expect(gateway.send(Account, 'Deposit', 'b', { amount: 1 })).rejects.toMatchObject({
      code: 'REJECTED',
      facts: { reason: 'DOES_NOT_EXIST' },
    });
    await expect(gateway.send(Account, 'Deposit', 'a', { amount: 1 }, { expectedVersion: 7 })).rejects.toMatchObject({
      code: 'VERSION_CONFLICT',
      facts: { actualVersion: 1 },
    });
    expect(await code(gateway.send(Account, 'Deposit', 'a', { amount: 1 }, { expectedVersion: 1 }))).toBe('applied');
    expect(await versions()).toEqual(['a@1', 'a@2']);
  });

  it('takes a command for an aggregate that must exist or must not', async () => {
    const { gateway } = await start();
    const split = (expectedVersion: ExpectedVersion) => code(gateway.send(Account, 'Split', 'a', { into: 1 }, { expectedVersion }));
    expect(await split('exists')).toBe('VERSION_CONFLICT');
    expect(await split('none')).toBe('applied');
    expect(await split('none')).toBe('VERSION_CONFLICT');
    expect(await split('exists')).toBe('applied');
    expect(await split('any')).toBe('applied');
    expect(await versions()).toEqual(['a@1', 'a@2', 'a@3']);
  });

  it('keeps a deleted aggregate deleted, when it is restored from a snapshot too (Evento defect 5)', async () => {
    const first = await start();
    await first.gateway.send(Account, 'Split', 'a', { into: 5 });
    await first.gateway.send(Account, 'Close', 'a', {});
    const afterwards = { code: 'REJECTED', facts: { reason: 'DELETED' } };
    await expect(first.gateway.send(Account, 'Split', 'a', { into: 1 })).rejects.toMatchObject(afterwards);
    await first.gateway.request({ topic: topics.commands('Account').name, key: 'a', type: takeSnapshot, id: 's1', value: Buffer.alloc(0) });
    await stop();
    rmSync(dataDir, { recursive: true, force: true });
    cluster.truncate({ topic: topics.events('Account').name, partition: 0 }, offset(6));
    const { gateway } = await start('bank-1');
    await expect(gateway.send(Account, 'Open', 'a', { owner: 'x' })).rejects.toMatchObject(afterwards);
    await expect(gateway.send(Account, 'Split', 'a', { into: 1 })).rejects.toMatchObject(afterwards);
  });

  it('takes a snapshot on demand, of which a restore begins', async () => {
    const first = await start();
    await first.gateway.send(Account, 'Split', 'a', { into: 2 });
    const asked = { topic: topics.commands('Account').name, key: 'a', type: takeSnapshot, value: Buffer.alloc(0) };
    expect(await first.gateway.request({ ...asked, id: 's1' })).toMatchObject({ outcome: 'applied', version: 2 });
    await stop();
    expect((await log(topics.snapshots('Account').name)).filter(({ key }) => key!.toString() === 's/a')).toHaveLength(1);
  });

  it('goes through the interceptors, the first one outermost, and is refused by one that throws', async () => {
    const told: string[] = [];
    const { gateway } = await start('bank-0', 60_000, [
      {
        kinds: ['aggregate'],
        before: ({ type }) => void told.push(`before ${type}`),
        after: ({ type }, result) => void told.push(`after ${type} ${(result as unknown[]).length}`),
        onError: ({ type }, error) => void told.push(`error ${type} ${error.code}`),
      },
      {
        before({ payload }) {
          if ((payload as { into?: number }).into === 9) throw new SpoolError('FORBIDDEN', 'not nine');
        },
      },
      { kinds: ['saga'], before: () => void told.push('never') },
    ]);
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 2 }))).toBe('applied');
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 9 }))).not.toBe('applied');
    expect(told).toEqual(['before Split', 'after Split 2', 'before Split', 'error Split FORBIDDEN']);
    expect(await versions()).toEqual(['a@1', 'a@2']);
  });

  it('puts a reply that is asked for by key into the transaction of the events', async () => {
    const { gateway, instance } = await start();
    const inbox = topics.replies('inbox');
    await kafka.admin.ensureTopics([inbox]);
    const encoder = await codec.encoder(topics.commands('Account').name, Account.commands.Split);
    const ask = (id: string, into: number) =>
      instance.producer.send({
        topic: topics.commands('Account').name,
        key: 'a',
        value: encoder.encode({ into }),
        headers: messageHeaders({ id, type: 'Split', replyTo: { topic: inbox.name, partition: 0 }, replyKey: 'saga-7' }),
      });
    await ask('c1', 2);
    await ask('c2', 400_000);
    await ask('c1', 2);
    await gateway.send(Account, 'Split', 'b', { into: 1 });
    const decoder = codec.decoder(ReplySchema);
    const replies = (await log(inbox.name)).map(async ({ key, value, headers }) => {
      const { outcome, version } = await decoder.decode(value!);
      return [key!.toString(), headers[headerNames.commandId]!.toString(), outcome, version];
    });
    expect(await Promise.all(replies)).toEqual([
      ['saga-7', 'c1', 'applied', 2],
      ['saga-7', 'c2', 'failed', null],
      ['saga-7', 'c1', 'duplicate', 2],
    ]);
  });

  it('lets only one of many commands with the same expected version through', async () => {
    const { gateway } = await start();
    await gateway.send(Account, 'Open', 'a', { owner: 'x' });
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, () => code(gateway.send(Account, 'Deposit', 'a', { amount: 1 }, { expectedVersion: 1 }))),
    );
    expect(outcomes.filter((each) => each === 'applied')).toHaveLength(1);
    expect(outcomes.filter((each) => each === 'VERSION_CONFLICT')).toHaveLength(19);
  });

  it('gives a repeated command its recorded outcome, a rejection too, after a restart and the loss of its disk (Evento defect 10)', async () => {
    const first = await start();
    await first.gateway.send(Account, 'Open', 'a', { owner: 'x' }, { commandId: 'c1' });
    const applied = await first.gateway.send(Account, 'Split', 'a', { into: 2 }, { commandId: 'c2' });
    expect(await code(first.gateway.send(Account, 'Deposit', 'a', { amount: -9 }, { commandId: 'c3' }))).toBe('REJECTED');
    await stop();
    rmSync(dataDir, { recursive: true, force: true });
    const second = await start('bank-1');
    const repeated = await second.gateway.send(Account, 'Split', 'a', { into: 2 }, { commandId: 'c2' });
    expect(repeated).toMatchObject({ status: 'duplicate', version: applied.version, events: applied.events });
    await second.gateway.send(Account, 'Split', 'a', { into: 20 });
    expect(await code(second.gateway.send(Account, 'Deposit', 'a', { amount: -9 }, { commandId: 'c3' }))).toBe('REJECTED');
    expect((await versions()).slice(0, 4)).toEqual(['a@1', 'a@2', 'a@3', 'a@4']);
  });

  it('forgets outcomes when their time has passed, on the topic too', async () => {
    const { gateway } = await start('bank-0', 1000);
    await gateway.send(Account, 'Split', 'a', { into: 1 }, { commandId: 'c1' });
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 1 }, { commandId: 'c1' }))).toBe('duplicate');
    clock += 2000;
    await gateway.send(Account, 'Split', 'b', { into: 1 });
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 1 }, { commandId: 'c1' }))).toBe('applied');
    const tombstones = (await log(topics.snapshots('Account').name))
      .filter(({ value }) => value === null)
      .map(({ key }) => key!.toString());
    expect(tombstones.filter((key) => key.startsWith('o/'))).toHaveLength(1);
  });

  it('executes no command after its deadline (Evento defect 9)', async () => {
    const { gateway } = await start();
    const producer = await kafka.producer();
    const topic = topics.commands('Account').name;
    const encoder = await codec.encoder(topic, Account.commands.Split);
    const headers = messageHeaders({ id: 'late', type: 'Split', deadline: clock - 1 });
    await producer.send({ topic, key: 'a', value: encoder.encode({ into: 1 }), headers });
    await gateway.send(Account, 'Split', 'b', { into: 1 });
    expect(await versions()).toEqual(['b@1']);
  });

  it('answers a bug in decide with an error, and goes on with the aggregate', async () => {
    const { gateway } = await start();
    expect(await code(gateway.send(Account, 'Crash', 'a', {}))).toBe('INTERNAL');
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 1 }))).toBe('applied');
  });

  it('refuses a command whose events Kafka would not take, and goes on', async () => {
    const { gateway } = await start();
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 400_000 }))).toBe('RECORD_TOO_LARGE');
    expect(await code(gateway.send(Account, 'Split', 'a', { into: 1 }))).toBe('applied');
  });

  it.each(['committed', 'aborted', 'open'] as const)(
    'resolves a commit whose outcome was lost (it was %s): events, outcome and position are there together, once (Evento defect 3)',
    async (ending) => {
      const { gateway } = await start();
      await gateway.send(Account, 'Split', 'a', { into: 1 });
      const checkpoint = (await log(topics.snapshots('Account').name)).findLast(({ key }) => key!.toString() === 'c/0');
      const { owner } = await codec.decoder(TaskCheckpointSchema).decode(checkpoint!.value!);
      cluster.breakCommit(owner, ending);
      // The owner reads back what became of it; the caller hears of it by the retry at the latest.
      const first = await code(gateway.send(Account, 'Split', 'a', { into: 1 }, { commandId: 'c', timeoutMs: 3000 }));
      expect(['applied', 'duplicate', 'INDETERMINATE']).toContain(first);
      expect(['applied', 'duplicate']).toContain(await code(gateway.send(Account, 'Split', 'a', { into: 1 }, { commandId: 'c' })));
      await gateway.send(Account, 'Split', 'a', { into: 1 });
      expect(await versions()).toEqual(['a@1', 'a@2', 'a@3']);
      const records = await log(topics.snapshots('Account').name);
      const groups = records.filter(({ key, value }) => value !== null && key!.toString().startsWith('o/'));
      const recorded = await Promise.all(groups.map(async ({ value }) => codec.decoder(CommandOutcomesSchema).decode(value!)));
      expect(recorded.flatMap(({ outcomes }) => outcomes).filter(({ commandId }) => commandId === 'c')).toHaveLength(1);
      const last = records.findLast(({ key }) => key!.toString() === 'c/0')!;
      const [end] = await kafka.admin.offsets(topics.commands('Account').name);
      expect((await codec.decoder(TaskCheckpointSchema).decode(last.value!)).inputs.map((at) => BigInt(at.offset))).toEqual([end!.latest]);
    },
  );

  it('restores from snapshots and the tail of the events, not from the beginning', async () => {
    const first = await start();
    for (let n = 0; n < 4; n++) await first.gateway.send(Account, 'Split', 'a', { into: 3 });
    await stop();
    const snapshots = (await log(topics.snapshots('Account').name)).filter(({ key }) => key!.toString() === 's/a');
    expect(snapshots.length).toBeGreaterThan(0);
    rmSync(dataDir, { recursive: true, force: true });
    // Without the events that the snapshot covers, as if they had never been.
    cluster.truncate({ topic: topics.events('Account').name, partition: 0 }, offset(11));
    const { gateway } = await start('bank-1');
    expect((await gateway.send(Account, 'Split', 'a', { into: 1 }, { expectedVersion: 12 })).version).toBe(13);
  });

  it('gives evolve the same id, version and time on replay as on write (Evento defect 6)', async () => {
    const Clock = aggregate('Clock', {
      commands: { Tick: record('clock.Tick', {}), Tell: record('clock.Tell', {}) },
      events: { Ticked: record('clock.Ticked', {}) },
      initial: (): readonly string[] => [],
      decide: { Tick: () => [{ type: 'Ticked' as const, data: {} }], Tell: (_, seen) => reject('SEEN', seen.join()) },
      evolve: { Ticked: (seen, _, { aggregateId, version, at }) => [...seen, `${aggregateId} ${version} ${at}`] },
    });
    const began = clock;
    const run = async (instance: string): Promise<RunningBundle> => {
      const config = { kafka, codec, topics, instance, dataDir, log: () => undefined, now: () => clock, transactions };
      const running = await startBundle(bundle({ id: 'clocks', version: '1.0.0', components: [Clock] }), config);
      open.push(running);
      return running;
    };
    const first = await run('clocks-0');
    await first.gateway.send(Clock, 'Tick', 'a', {});
    clock += 5000;
    await first.gateway.send(Clock, 'Tick', 'a', {});
    await stop();
    rmSync(dataDir, { recursive: true, force: true });
    clock += 3_600_000;
    const second = await run('clocks-1');
    await expect(second.gateway.send(Clock, 'Tell', 'a', {})).rejects.toMatchObject({ message: `a 1 ${began},a 2 ${began + 5000}` });
  });

  it('parks what is no command, and handles those behind it', async () => {
    const { gateway } = await start();
    const producer = await kafka.producer();
    await producer.send({ topic: topics.commands('Account').name, key: 'a', value: Buffer.from('not a command') });
    expect(await code(gateway.send(Account, 'Split', 'b', { into: 1 }))).toBe('applied');
    const letters = await log(topics.deadLetters('bank.Account-1.default').name);
    expect(letters.map(({ value, headers }) => `${value} ${headers['dlq-code']}`)).toEqual(['not a command INVALID_REQUEST']);
  });
});
