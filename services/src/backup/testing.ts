import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arrayOf, record, SagaStepSchema, type Codec, type SagaStep } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { bundle, observer, projection, projector, saga, service, startBundle, table } from '@spool/sdk';
import { indexLetters, type Kafka, type RecordPosition, type TopicCatalogue } from '@spool/streams';
import type { EventSource } from '../event-store/indexer.js';
import { foldAsker } from '../event-store/states.js';
import { Account } from '../event-store/testing.js';
import { verifySource } from '../event-store/verify/verify.js';
import type { Violation } from '../event-store/index.js';

const Totals = projector('Totals', {
  of: Account,
  tables: { totals: table<number>() },
  on: { Paid: ({ amount }, { totals }, { aggregateId }) => totals.put(aggregateId, (totals.get(aggregateId) ?? 0) + amount) },
});
const Board = projection('Board', {
  reads: Totals,
  queries: { All: { request: record('backup.All', {}), view: record('backup.Rows', { rows: arrayOf('string') }) } },
  answer: { All: (_, { totals }) => ({ rows: [...totals.range()].map(([id, sum]) => `${id}: ${sum}`) }) },
});
const Mail = service('Mail', {
  commands: { Send: record('backup.Send', { text: 'string' }) },
  events: { Sent: record('backup.Sent', { text: 'string' }) },
  handle: { Send: ({ text }) => ({ type: 'Sent', data: { text } }) },
});
/** Has a letter sent for each large payment, and is reminded of it an hour later. */
const Thanks = saga('Thanks', {
  of: [Account],
  sends: [Mail],
  initial: () => ({ said: 0 }),
  on: {
    Paid: {
      starts: true,
      by: ({ amount }, { aggregateId }) => (amount < 100 ? [] : [aggregateId]),
      react(state, { amount }, step) {
        step.send(Mail, 'Send', step.id, { text: String(amount) });
        step.schedule('remind', { afterMs: 3_600_000 });
        return state;
      },
    },
  },
  onOutcome: { Send: ({ said }) => ({ said: said + 1 }) },
  timers: { remind: (_, step) => step.send(Mail, 'Send', step.id, { text: 'again' }) },
});

/** On a machine that is busy with other tests. */
const timeoutMs = 60_000;

/** A bundle that has a component of each kind which keeps something, on a machine of its own. */
export async function openBank(kafka: Kafka, codec: Codec, topics: TopicCatalogue) {
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-bank-'));
  const seen = new Set<string>();
  const Watch = observer('Watch', {
    of: Account,
    on: {
      Paid({ note }, { aggregateId, version }) {
        if (note === 'poison') throw new TypeError('a bug');
        seen.add(`${aggregateId} ${version}`);
      },
    },
  });
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  const components = [Account, Totals, Board, Mail, Thanks, Watch];
  const running = await startBundle(bundle({ id: 'bank', version: '1.0.0', components }), { ...shared, instance: 'bank-0' });
  const { gateway } = running;
  const read = async <T>(topic: string, each: (value: Buffer) => T | Promise<T>): Promise<T[]> => {
    const found: T[] = [];
    await using reader = await kafka.reader({ maxWaitMs: 5 });
    for (const { partition, latest } of await kafka.admin.offsets(topic)) {
      reader.assign({ topic, partition }, 'earliest');
      for (let next = 0n; next < latest;) {
        for (const slice of await reader.fetch()) {
          for (const { value } of slice.records) if (value !== null) found.push(await each(value));
          next = slice.nextOffset;
        }
      }
      reader.unassign({ topic, partition });
    }
    return found;
  };
  const steps = (): Promise<SagaStep[]> => read(topics.events('Thanks').name, (value) => codec.decoder(SagaStepSchema).decode(value));
  return {
    /** What the observer was given here. */
    seen,
    steps,
    pay: (id: string, amount: number, note = '', options = {}) =>
      gateway.send(Account, 'Put', id, { amount, note }, { timeoutMs, ...options }),
    many: (id: string, count: number) => gateway.send(Account, 'Many', id, { count }, { timeoutMs }),
    mail: (lock: string, text: string) => gateway.send(Mail, 'Send', lock, { text }, { timeoutMs }),
    rows: async (after: string) => (await gateway.ask(Board, 'All', {}, { after, timeoutMs })).view.rows,
    letters: async () => {
      const topic = topics.deadLetters('bank.Watch-1.default').name;
      const partitions = (await kafka.admin.offsets(topic)).map(({ partition }) => ({ topic, partition }));
      return (await Promise.all(partitions.map((partition) => indexLetters({ kafka, partition })))).flat();
    },
    /** The key of the record at a place; undefined where there is none. */
    async keyAt(place: RecordPosition): Promise<string | undefined> {
      await using reader = await kafka.reader({ maxWaitMs: 5 });
      reader.assign(place, place.offset);
      for (;;) {
        for (const { records, nextOffset, lastStableOffset } of await reader.fetch()) {
          const [first] = records;
          if (first !== undefined || nextOffset >= lastStableOffset)
            return first?.offset === place.offset ? first.key?.toString() : undefined;
        }
      }
    },
    /** What the observer has handled is committed about once a second; what is not would be given to it again. */
    watched: async () => {
      const topic = topics.events('Account').name;
      const at = new Map(
        (await kafka.admin.committedOffsets('bank.Watch-1.default', [topic])).map((each) => [each.partition, each.offset]),
      );
      return (await kafka.admin.offsets(topic)).every(({ partition, latest }) => latest === 0n || at.get(partition) === latest);
    },
    /** What is wrong with the log and its snapshots. */
    async violations(): Promise<readonly Violation[]> {
      const found: Violation[] = [];
      const ask = foldAsker({ codec, topics, now: Date.now }, gateway);
      const sources: EventSource[] = [
        { kind: 'aggregate', name: 'Account' },
        { kind: 'service', name: 'Mail' },
        { kind: 'saga', name: 'Thanks' },
      ];
      const options = { kafka, codec, topics, now: Date.now, ask, scratchDir: dataDir, onViolation: (each: Violation) => found.push(each) };
      for (const source of sources) await verifySource(source, options);
      return found;
    },
    async close() {
      await running.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

type Bank = Awaited<ReturnType<typeof openBank>>;

/** What a bank has to have after a restore. @param saved stops the bank that works, and gives one that works on the restored cluster */
export async function expectRestored(bank: Bank, saved: () => Promise<Bank>): Promise<void> {
  // 1. Work of all kinds, until nothing is under way.
  for (let n = 0; n < 40; n++) await bank.pay(`a${n % 5}`, n);
  await bank.many('a0', 130);
  const once = await bank.pay('a1', 7, '', { commandId: 'once' });
  await bank.pay('large', 500);
  for (const text of ['one', 'two']) await bank.mail('lock', text);
  await bank.pay('p', 1, 'poison');
  const last = await bank.pay('p', 2);
  await until(
    async () => bank.seen.size === 40 + 1 + 130 + 1 && (await bank.letters()).length === 2 && (await bank.steps()).length === 2,
    timeoutMs,
  );
  await until(() => bank.watched(), timeoutMs);
  const rows = await bank.rows(last.position);
  const letters = await bank.letters();
  const before = await bank.steps();

  const restored = await saved();
  // 2. States and versions: what comes next fits, and what was answered is not done again.
  expect(await restored.pay('a1', 7, '', { commandId: 'once' })).toMatchObject({
    status: 'duplicate',
    version: once.version,
    events: once.events,
  });
  expect(await restored.pay('a1', 1, '', { expectedVersion: once.version })).toMatchObject({
    status: 'applied',
    version: once.version + 1,
  });
  expect(await restored.pay('a0', 1, '', { expectedVersion: 138 })).toMatchObject({ version: 139 });
  expect((await restored.mail('lock', 'three')).version).toBe(3);
  // 3. The read model, row by row.
  const more = await restored.pay('large', 300, '', { expectedVersion: 1 });
  const sums = (of: readonly string[]) => Object.fromEntries(of.map((row) => row.split(': ') as [string, string]));
  const sum = sums(rows);
  const expected = { ...sum, a0: String(Number(sum.a0) + 1), a1: String(Number(sum.a1) + 1), large: '800' };
  expect(sums(await restored.rows(more.position))).toEqual(expected);
  // 4. The saga goes on with its instance, the observer behind what it has seen, and parked keys stay parked.
  await restored.pay('p', 3);
  await until(
    async () => restored.seen.size === 3 && (await restored.letters()).length === 3 && (await restored.steps()).length === 4,
    timeoutMs,
  );
  expect([...restored.seen].sort()).toEqual(['a0 139', `a1 ${once.version + 1}`, 'large 2']);
  const parked = await restored.letters();
  expect(parked.map(({ lane }) => lane)).toEqual(Array(3).fill(letters[0]!.lane));
  expect(await Promise.all(parked.map(({ source }) => restored.keyAt(source!)))).toEqual(['p', 'p', 'p']);
  const steps = await restored.steps();
  expect(steps.slice(0, 2)).toEqual(before);
  expect(steps.map(({ version, state }) => [version, state])).toEqual([
    [1, '{"said":0}'],
    [2, '{"said":1}'],
    [3, '{"said":1}'],
    [4, '{"said":2}'],
  ]);
  expect(steps[3]!.timers).toHaveLength(1);
  expect(await restored.violations()).toEqual([]);
}
