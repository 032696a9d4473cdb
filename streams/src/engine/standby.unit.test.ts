import { until } from '@spool/schemas/testing';
import { rmSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMemoryCluster, type MemoryCluster } from '../kafka/memory/connect.js';
import type { Kafka, Producer } from '../kafka/port.js';
import { openLmdbStore } from '../store/lmdb-store.js';
import { runProcessor, type RunningProcessor } from './processor.js';
import type { RestoreProgress, TaskCheckpoint } from './restore.js';
import { standbyCopy } from './standby.js';
import type { StoreSpec } from './stores.js';
import { transactionalWork, type TransactionalWorkOptions } from './transactional-work.js';
import { createSharedWriter } from './writer.js';

/** A keyed count, exactly once, its checkpoint as JSON instead of the contract. */
const consumer = 'counter';
const counts: StoreSpec<number> = {
  name: 'counts',
  encode: (value) => Buffer.from(String(value)),
  decode: (bytes) => Number(bytes.toString()),
};
const checkpoints = {
  encodeCheckpoint: ({ inputs, covered: _, ...rest }: TaskCheckpoint): Buffer =>
    Buffer.from(JSON.stringify({ ...rest, inputs: [...inputs].map(([key, at]) => [key, at.toString()]) })),
  decodeCheckpoint(value: Buffer): TaskCheckpoint {
    const { inputs, ...rest } = JSON.parse(value.toString()) as TaskCheckpoint & { inputs: [string, string][] };
    return { ...rest, covered: null, inputs: new Map(inputs.map(([key, at]) => [key, BigInt(at) as never])) };
  },
};

let cluster: MemoryCluster;
let kafka: Kafka;
let producer: Producer;
let folder: string;
let clock = 0;
const running = new Map<string, RunningProcessor>();
const restored: RestoreProgress[] = [];
const problems: unknown[] = [];

beforeEach(async () => {
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  producer = await kafka.producer();
  folder = mkdtempSync(join(tmpdir(), 'spool-standby-'));
  restored.length = 0;
  problems.length = 0;
  clock = Date.now();
  await kafka.admin.ensureTopics([
    { name: 'in', partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: 'out', partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: 'log', partitions: 2, cleanup: 'compact', retentionMs: -1 },
    { name: `dlq.${consumer}`, partitions: 2, cleanup: 'delete', retentionMs: -1 },
  ]);
});
afterEach(async () => {
  for (const processor of running.values()) await processor.close();
  running.clear();
  await kafka.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(instance: string, standbys = 0, more: Partial<TransactionalWorkOptions> = {}): Promise<RunningProcessor> {
  const path = (task: string): string => join(folder, instance, task);
  const shared = (task: string) => ({
    kafka,
    consumer,
    task,
    store: openLmdbStore({ path: path(task) }),
    changelog: { topic: 'log', partition: Number(task) },
    stores: [counts as StoreSpec],
    now: () => clock,
    ...checkpoints,
  });
  const writer = createSharedWriter({ kafka, prefix: `${consumer}.${instance}` });
  const processor = await runProcessor(
    {
      consumer,
      sources: ['in'],
      assignment: 'group',
      startAt: 'earliest',
      standbys,
      open: (task) =>
        transactionalWork({
          ...shared(task.id),
          generation: task.assignment!.generation,
          signal: task.signal,
          writer,
          onRestore: (progress) => restored.push(progress),
          handle(record, { table, emit }) {
            const rows = table<number>('counts');
            const key = record.key!.toString();
            const count = (rows.get(key) ?? 0) + 1;
            rows.put(key, count);
            emit({ topic: 'out', key, value: Buffer.from(String(count)) });
          },
          ...more,
        }),
      openStandby: ({ id }) => Promise.resolve(standbyCopy({ ...shared(id), onError: (error) => problems.push(error) })),
      close: () => writer.close(),
    },
    {
      kafka,
      now: Date.now,
      log: () => undefined,
      stored: () => {
        try {
          return readdirSync(join(folder, instance));
        } catch {
          return [];
        }
      },
    },
  );
  running.set(instance, processor);
  return processor;
}
async function stop(instance: string): Promise<void> {
  await running.get(instance)!.close();
  running.delete(instance);
}
const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
const send = async (): Promise<void> => {
  await producer.sendAll(keys.map((key) => ({ topic: 'in', key, value: null })));
};
const everyone = (): RunningProcessor[] => [...running.values()];
/** All records are handled, by whoever has them. */
async function settled(total: number): Promise<void> {
  const done = (): bigint =>
    everyone()
      .flatMap((one) => one.status().partitions)
      .reduce((sum, { position }) => sum + position, 0n);
  await until(() => done() === BigInt(total));
}
/** The outputs of each key, in order. */
async function outputs(): Promise<Map<string, number[]>> {
  const reader = await kafka.reader({ maxWaitMs: 10 });
  const found = new Map<string, number[]>();
  for (const { topic, partition, latest } of await kafka.admin.offsets('out')) {
    reader.assign({ topic, partition }, 'earliest');
    for (let at = 0n; at < latest;) {
      for (const slice of await reader.fetch()) {
        at = slice.nextOffset;
        for (const { key, value } of slice.records)
          found.set(key!.toString(), [...(found.get(key!.toString()) ?? []), Number(value!.toString())]);
      }
    }
    reader.unassign({ topic, partition });
  }
  await reader.close();
  return found;
}
const rounds = (count: number) => new Map(keys.map((key) => [key, Array.from({ length: count }, (_, index) => index + 1)]));
const sorted = (map: Map<string, number[]>) => new Map([...map].sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1))));
const warm = (): number => everyone().reduce((sum, one) => sum + one.status().standbys.length, 0);

it('an instance takes over from the copy that it kept, and reads the tail of the changelog alone', async () => {
  await start('a', 1);
  await start('b', 1);
  await until(() => warm() === 2);
  await send();
  await settled(20);
  const ends = await kafka.admin.offsets('log');
  const copies = running.get('b')!.status().standbys;
  expect(copies).toHaveLength(1);
  restored.length = 0;
  await stop('a');
  await send();
  await settled(40);
  expect(sorted(await outputs())).toEqual(rounds(2));
  const taken = restored.filter(({ partition }) => String(partition) === copies[0]);
  const early = taken.filter(({ partition, position }) => position < ends[partition]!.latest);
  expect([taken.length > 0, early, problems]).toEqual([true, [], []]);
});

it('a copy begins anew when its store belongs to another log', async () => {
  const store = openLmdbStore({ path: join(folder, 'b', '0') });
  store.commit(new Map([['counts', new Map([['stranger', 7]])]]), {
    positions: new Map([['log-0', 9999n as never]]),
    epoch: -1n,
    replay: undefined,
  });
  await store.close();
  await start('a', 1);
  await send();
  await settled(20);
  await start('b', 1);
  await until(() => warm() === 2);
  await stop('a');
  await send();
  await settled(40);
  expect(sorted(await outputs())).toEqual(rounds(2));
});

it('an instance that comes back gets the partitions whose stores it has', async () => {
  await start('a');
  await start('b');
  await until(() => running.get('b')!.status().partitions.length === 1);
  const before = running
    .get('b')!
    .status()
    .partitions.map(({ partition }) => partition);
  await stop('b');
  await until(() => running.get('a')!.status().partitions.length === 2);
  await start('b');
  await until(() => running.get('b')!.status().partitions.length === 1);
  expect(
    running
      .get('b')!
      .status()
      .partitions.map(({ partition }) => partition),
  ).toEqual(before);
});

it('a task whose disk is lost has its tables back from the changelog', async () => {
  await start('a');
  await send();
  await settled(20);
  await stop('a');
  rmSync(join(folder, 'a'), { recursive: true });
  await start('a');
  await send();
  await settled(40);
  expect(sorted(await outputs())).toEqual(rounds(2));
});

it('a store that has not followed for as long as tombstones are kept is rebuilt', async () => {
  await start('a');
  await send();
  await settled(20);
  await stop('a');
  const spoil = openLmdbStore({ path: join(folder, 'a', '0') });
  spoil.commit(new Map([['counts', new Map([['deleted meanwhile', 1]])]]), spoil.checkpoint);
  await spoil.close();
  clock += 25 * 60 * 60 * 1000;
  await start('a');
  await send();
  await settled(40);
  await stop('a');
  await using store = openLmdbStore({ path: join(folder, 'a', '0') });
  expect([...store.range('counts')].every(([, value]) => value === 2)).toBe(true);
  expect(sorted(await outputs())).toEqual(rounds(2));
});

it('at least once: a group is repeated when its end is not known, and none is lost', async () => {
  const plain = await kafka.producer();
  let broken = true;
  const failing: Producer = {
    ...plain,
    send: (record) => plain.send(record),
    close: () => plain.close(),
    [Symbol.asyncDispose]: () => plain.close(),
    async sendAll(records) {
      // The outputs are held, and the position is not.
      const isPosition = records.length === 1 && records[0]!.topic === 'log';
      if (isPosition && broken) {
        broken = false;
        throw new Error('connection lost');
      }
      return plain.sendAll(records);
    },
  };
  await start('a', 0, { producer: failing });
  await send();
  await settled(20);
  const found = await outputs();
  for (const key of keys) expect(found.get(key)?.[0]).toBe(1);
  expect(Math.max(...[...found.values()].map(({ length }) => length))).toBe(2);
});

it('timers fire on the wall clock though nothing arrives, once, in a transaction of their own', async () => {
  await start('a', 0, {
    now: Date.now,
    handle: (record, context) => context.schedule({ name: 'due', key: record.key!.toString(), clock: 'wall', at: context.now + 30 }),
    onTimer({ key }, { emit }) {
      emit({ topic: 'out', key, value: Buffer.from('1') });
    },
  });
  await send();
  await until(
    () =>
      running
        .get('a')!
        .status()
        .partitions.reduce((sum, { position }) => sum + position, 0n) === 20n,
  );
  for (let left = 200; (await outputs()).size < keys.length && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, 10));
  await stop('a');
  await start('a');
  expect(sorted(await outputs())).toEqual(rounds(1));
});
