import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createMemoryCluster, type MemoryCluster } from '../kafka/memory/connect.js';
import { offset, type ConsumedRecord, type Kafka, type Producer } from '../kafka/port.js';
import { createMemoryStore } from '../store/memory-store.js';
import type { Store } from '../store/store.js';
import type { ControlOrder } from './control.js';
import { localWork, type LocalContext } from './local-work.js';
import { runProcessor, type RunningProcessor } from './processor.js';

/** Counts records per key, and their values in order: what any loss, repetition or disorder changes. */
interface Seen {
  readonly count: number;
  readonly values: string;
}
const rowOf = (store: Store, key: string): Seen | undefined => store.get('seen', key) as Seen | undefined;
function count(record: ConsumedRecord, { table }: LocalContext): void {
  const rows = table<Seen>('seen');
  const key = record.key!.toString();
  const before = rows.get(key) ?? { count: 0, values: '' };
  rows.put(key, { count: before.count + 1, values: before.values + record.value!.toString() });
}

let cluster: MemoryCluster;
let kafka: Kafka;
let producer: Producer;
let store: Store;
const running: RunningProcessor[] = [];

beforeEach(async () => {
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  producer = await kafka.producer();
  store = createMemoryStore();
  await kafka.admin.ensureTopics([
    { name: 'in', partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: 'dlq.counter', partitions: 2, cleanup: 'delete', retentionMs: -1 },
  ]);
});
afterEach(async () => {
  for (const processor of running.splice(0)) await processor.close();
  await kafka.close();
});

const send = async (...pairs: string[]): Promise<void> => {
  await producer.sendAll(pairs.map((pair) => ({ topic: 'in', key: pair.split(':')[0]!, value: Buffer.from(pair.split(':')[1]!) })));
};
async function start(
  handle: (record: ConsumedRecord, context: LocalContext) => void | Promise<void> = count,
  maxGroupRecords = 2000,
): Promise<RunningProcessor> {
  const processor = await runProcessor(
    {
      consumer: 'counter',
      sources: ['in'],
      assignment: 'all',
      startAt: 'earliest',
      maxGroupRecords,
      open: () => Promise.resolve(localWork({ consumer: 'counter', store, deadLetters: producer, now: Date.now, handle })),
    },
    { kafka, now: Date.now, log: () => undefined },
  );
  running.push(processor);
  return processor;
}
async function ends(): Promise<Map<string, ReturnType<typeof offset>>> {
  return new Map((await kafka.admin.offsets('in')).map((at) => [`in-${at.partition}`, at.latest]));
}
const zero = new Map([
  ['in-0', offset(0)],
  ['in-1', offset(0)],
]);
const rewind = async (epoch: bigint, reset = true): Promise<ControlOrder> => ({
  consumer: 'counter',
  action: 'rewind',
  epoch,
  replayId: `r${epoch}`,
  starts: zero,
  targets: await ends(),
  reset,
});
async function parked(): Promise<string[]> {
  const reader = await kafka.reader();
  for (const partition of [0, 1]) reader.assign({ topic: 'dlq.counter', partition }, 'earliest');
  const found: string[] = [];
  for (let quiet = 0; quiet < 2;) {
    const slices = (await reader.fetch()).filter((slice) => slice.records.length > 0);
    quiet = slices.length === 0 ? quiet + 1 : 0;
    for (const { records } of slices) for (const { key, value, headers } of records) found.push(`${key}:${value} ${headers['dlq-code']}`);
  }
  await reader.close();
  return found;
}

describe('a processor on its own store', () => {
  it('handles each record once, in order per key, over a restart in the middle', async () => {
    await send('a:1', 'b:1', 'a:2');
    await (await start()).caughtUp();
    await running.pop()!.close();
    await send('a:3', 'b:2');
    await (await start()).caughtUp();
    expect([rowOf(store, 'a'), rowOf(store, 'b')]).toEqual([
      { count: 3, values: '123' },
      { count: 2, values: '12' },
    ]);
  });

  it('is caught up on a log that ends in transaction markers and aborted records', async () => {
    const writer = await kafka.transactionalProducer({ transactionalId: 't' });
    await writer.commit([{ topic: 'in', partition: 0, key: 'a', value: Buffer.from('1') }]);
    cluster.breakCommit('t', 'aborted');
    await expect(writer.commit([{ topic: 'in', partition: 0, key: 'a', value: Buffer.from('x') }])).rejects.toMatchObject({
      code: 'TRANSACTION_INDETERMINATE',
    });
    await (await start()).caughtUp();
    expect(rowOf(store, 'a')).toEqual({ count: 1, values: '1' });
  });

  it('holds a transient failure and gives the same records again', async () => {
    let failures = 3;
    await send('a:1', 'a:2');
    const processor = await start((record, context) => {
      count(record, context);
      if (record.value!.toString() === '2' && failures-- > 0) throw new SpoolError('UNAVAILABLE', 'away');
    });
    await processor.caughtUp();
    expect(rowOf(store, 'a')).toEqual({ count: 2, values: '12' });
    expect(await parked()).toEqual([]);
  });

  it('parks a poison record and every later one of its key in order, and lets other keys go on (Evento defects 7 and 8)', async () => {
    await send('a:1', 'a:2', 'b:1', 'a:3', 'b:2');
    const processor = await start((record, context) => {
      count(record, context);
      // As a bug in a handler does it: a TypeError, after it has written something.
      if (record.value!.toString() === '2' && record.key!.toString() === 'a') (undefined as unknown as { x: () => void }).x();
    });
    await processor.caughtUp();
    expect([rowOf(store, 'a'), rowOf(store, 'b')]).toEqual([
      { count: 1, values: '1' },
      { count: 2, values: '12' },
    ]);
    expect(await parked()).toEqual(['a:2 INTERNAL', 'a:3 FOLLOWS_PARKED']);
  });

  it('pauses, steps and resumes without losing its place', async () => {
    await send('a:1', 'a:2', 'a:3');
    const processor = await start();
    await processor.caughtUp();
    processor.apply({ consumer: 'counter', epoch: 1n, action: 'pause' });
    await until(() => processor.status().state === 'paused');
    await send('a:4', 'a:5', 'a:6');
    processor.apply({ consumer: 'counter', epoch: 2n, action: 'step', records: 2 });
    await until(() => rowOf(store, 'a')!.values === '12345');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(rowOf(store, 'a')!.values).toBe('12345');
    processor.apply({ consumer: 'counter', epoch: 3n, action: 'resume' });
    await processor.caughtUp();
    expect(rowOf(store, 'a')!.values).toBe('123456');
  });

  it('keeps to a rate', async () => {
    await send(...Array.from({ length: 30 }, (_, index) => `a:${index % 10}`));
    let handled = 0;
    const processor = await start((record, context) => {
      handled += 1;
      count(record, context);
    }, 5);
    processor.apply({ consumer: 'counter', epoch: 1n, action: 'rate', recordsPerSecond: 100 });
    await processor.caughtUp();
    await send(...Array.from({ length: 30 }, () => 'a:x'));
    const [began, before] = [performance.now(), handled];
    await until(() => handled >= before + 30);
    // Thirty records at a hundred a second; the last slice's wait comes after it.
    expect(performance.now() - began).toBeGreaterThan(150);
  });
});

describe('the limits of a processor', () => {
  it('may change while a group that was cut at one is under way: nothing is handled twice', async () => {
    let go = (): void => undefined;
    let began = 0;
    const gate = new Promise<void>((resolve) => (go = resolve));
    await send(...Array.from({ length: 10 }, (_, index) => `a:${index}`));
    const [key] = (await kafka.admin.offsets('in')).filter(({ latest }) => latest > 0n).map(({ partition }) => `in-${partition}`);
    const processor = await start(async (record, context) => {
      began += 1;
      if (began === 4) await gate;
      count(record, context);
    }, 3);
    // 1. Three are handled, the next group is under way. 2. It is read beyond, and cut, once it goes on.
    await until(() => began === 4);
    const cut = processor.until(new Map([[key!, offset(7)]]));
    go();
    await cut;
    for (const limit of [8, 9, undefined])
      await processor.until(limit === undefined ? undefined : new Map([[key!, offset(limit)]])).then(() => sleep(0));
    await processor.caughtUp();
    expect(rowOf(store, 'a')).toEqual({ count: 10, values: '0123456789' });
  });
});

describe('a rewind on the live processor', () => {
  it('ends with the same rows, and tells replayed records from new ones', async () => {
    await send('a:1', 'b:1', 'a:2');
    const replayed: string[] = [];
    const processor = await start((record, context) => {
      if (context.replayId !== undefined) replayed.push(`${record.key}:${record.value} ${context.replayId}`);
      count(record, context);
    });
    await processor.caughtUp();
    processor.apply(await rewind(5n));
    await until(() => processor.status().replays[0]?.state === 'completed');
    await send('a:3');
    await processor.caughtUp();
    expect(replayed.sort()).toEqual(['a:1 r5', 'a:2 r5', 'b:1 r5']);
    expect([rowOf(store, 'a'), rowOf(store, 'b')]).toEqual([
      { count: 3, values: '123' },
      { count: 1, values: '1' },
    ]);
    expect(processor.status().replays[0]).toMatchObject({ id: 'r5', records: 3 });
  });

  it('is applied once, though the order is read again after a restart', async () => {
    await send('a:1');
    const order = await rewind(5n);
    const first = await start();
    first.apply(order);
    await until(() => first.status().replays[0]?.state === 'completed');
    await running.pop()!.close();
    await send('a:2');
    let handled = 0;
    const second = await start((record, context) => {
      handled += 1;
      count(record, context);
    });
    second.apply(order);
    await second.caughtUp();
    expect([handled, rowOf(store, 'a')!.values]).toEqual([1, '12']);
  });

  it('goes on after a restart in the middle', async () => {
    await send('a:1', 'a:2', 'a:3', 'a:4');
    const order = await rewind(5n);
    let gate: (() => void) | undefined;
    const first = await start(async (record, context) => {
      if (context.replayId !== undefined && record.value!.toString() === '3') await new Promise<void>((resolve) => (gate = resolve));
      count(record, context);
    }, 1);
    await first.caughtUp();
    first.apply(order);
    await until(() => gate !== undefined);
    const closing = running.pop()!.close();
    gate!();
    await closing;
    expect(store.checkpoint.replay?.state).toBe('running');
    const second = await start();
    await until(() => second.status().replays[0]?.state === 'completed');
    expect(rowOf(store, 'a')).toEqual({ count: 4, values: '1234' });
    expect(second.status().replays[0]).toMatchObject({ records: 4 });
  });

  it('can be cancelled; what follows is new', async () => {
    await send('a:1', 'a:2');
    const processor = await start(count, 1);
    await processor.caughtUp();
    const order = await rewind(5n);
    processor.apply({ consumer: 'counter', epoch: 4n, action: 'rate', recordsPerSecond: 1 });
    processor.apply(order);
    processor.apply({ consumer: 'counter', epoch: 6n, action: 'cancel', replayId: 'r5' });
    await until(() => processor.status().replays[0]?.state === 'cancelled');
  });
});

describe('a processor of a group', () => {
  it('shares partitions with another instance, and takes them over when that one leaves', async () => {
    const opened: string[] = [];
    const stores = new Map<string, Store>();
    const instance = async (name: string): Promise<RunningProcessor> => {
      const client = cluster.connect();
      const processor = await runProcessor(
        {
          consumer: 'counter',
          sources: ['in'],
          assignment: 'group',
          startAt: 'earliest',
          open: (task) => {
            opened.push(`${name} ${task.id}`);
            const own = stores.get(`${name} ${task.id}`) ?? createMemoryStore();
            stores.set(`${name} ${task.id}`, own);
            return Promise.resolve(localWork({ consumer: 'counter', store: own, deadLetters: producer, now: Date.now, handle: count }));
          },
        },
        { kafka: client, now: Date.now, log: () => undefined },
      );
      running.push(processor);
      return processor;
    };
    await send('a:1', 'b:1', 'c:1', 'd:1');
    const one = await instance('one');
    await until(() => one.status().partitions.length === 2);
    const two = await instance('two');
    await until(() => one.status().partitions.length === 1 && two.status().partitions.length === 1);
    // What stayed was not opened again.
    expect(opened.filter((each) => each.startsWith('one'))).toHaveLength(2);
    await one.close();
    running.splice(running.indexOf(one), 1);
    await until(() => two.status().partitions.length === 2);
    await two.caughtUp();
    const total = ['two 0', 'two 1'].reduce(
      (sum, task) => sum + ['a', 'b', 'c', 'd'].reduce((all, key) => all + (rowOf(stores.get(task)!, key)?.count ?? 0), 0),
      0,
    );
    expect(total).toBe(4);
  });

  it('has its committed offsets beyond what it handled, as advice', async () => {
    await send('a:1', 'b:1');
    await (await start()).caughtUp();
    await running.pop()!.close();
    const committed = await kafka.admin.committedOffsets('counter', ['in']);
    expect(committed.reduce((sum, at) => sum + Number(at.offset), 0)).toBe(2);
  });
});
