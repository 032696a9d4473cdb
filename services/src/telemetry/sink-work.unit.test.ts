import { SpoolError } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import {
  createMemoryCluster,
  offset,
  runProcessor,
  type ControlOrder,
  type Kafka,
  type MemoryCluster,
  type RunningProcessor,
} from '@spool/streams';
import { beginAgain } from './begin-again.js';
import { fromMetadata } from './block-range.js';
import type { Insert, Stretch } from './block.js';
import type { RowShape } from './rows.js';
import { sinkWork, type BlockStore } from './sink-work.js';

const topic = 'telemetry.spans';
const consumer = 'sink';
const shape: RowShape = {
  table: 'rows',
  place: ['topic', 'partition', 'offset'],
  columns: ['place'],
  write({ partition, offset: at, value }, row) {
    row.int64(partition * 1e6 + Number(at));
    if (value === null) throw new SpoolError('RECORD_UNREADABLE', 'no value');
  },
};

/** Remembers tokens as ClickHouse does; `fail` decides about each insert before it is stored and after. */
function fakeStore() {
  const tokens = new Set<string>();
  const rows: string[] = [];
  const attempts: string[] = [];
  let quarantined = 0;
  const store = {
    tokens,
    rows,
    attempts,
    get quarantined() {
      return quarantined;
    },
    before: (_insert: Insert): void | Promise<void> => undefined,
    after: (_insert: Insert): void | Promise<void> => undefined,
    stored: ({ partition: { partition }, from, to }: Stretch) =>
      Promise.resolve(new Set(rows.map((row) => BigInt(row) - BigInt(partition) * 1_000_000n).filter((at) => at >= from && at < to))),
    holds: () => Promise.resolve(rows.length > 0),
    async insert(insert: Insert) {
      attempts.push(insert.token);
      await store.before(insert);
      const key = `${insert.table} ${insert.token}`;
      if (!tokens.has(key)) {
        tokens.add(key);
        if (insert.table !== 'rows') quarantined += insert.count;
        else
          // The cells of the only column end the block.
          for (let left = insert.count; left > 0; left--) rows.push(String(insert.rows.readBigInt64LE(insert.rows.length - 8 * left)));
      }
      await store.after(insert);
    },
  };
  return store;
}

const away = (): never => {
  throw new SpoolError('UNAVAILABLE', 'the store is away');
};

describe('the sink', () => {
  let cluster: MemoryCluster;
  let kafka: Kafka;
  const open: RunningProcessor[] = [];
  let lastMember = '';

  beforeEach(async () => {
    cluster = createMemoryCluster();
    kafka = cluster.connect();
    await kafka.admin.ensureTopics([{ name: topic, partitions: 2, cleanup: 'delete', retentionMs: -1 }]);
  });
  afterEach(async () => {
    for (const processor of open.splice(0)) await processor.close();
    await kafka.close();
  });

  const start = async (
    store: BlockStore,
    client = kafka,
    maxRows = 50,
    { maxBufferedRecords = 10_000, shape: used = shape }: { maxBufferedRecords?: number; shape?: RowShape } = {},
  ): Promise<RunningProcessor> => {
    const processor = await runProcessor(
      {
        consumer,
        sources: [topic],
        assignment: 'group',
        startAt: 'earliest',
        commits: 'work',
        maxGroupRecords: maxRows,
        maxBufferedRecords,
        open(task) {
          lastMember = task.assignment!.memberId;
          return sinkWork({ consumer, kafka: client, store, task, shapeOf: () => used, gatherMs: 5, maxRows });
        },
      },
      { kafka: client, now: Date.now, log: () => undefined },
    );
    open.push(processor);
    return processor;
  };
  const produce = async (count: number, badEvery = Number.POSITIVE_INFINITY): Promise<void> => {
    const producer = await kafka.producer();
    await producer.sendAll(
      Array.from({ length: count }, (_, index) => ({
        topic,
        key: null,
        partition: index % 2,
        value: index % badEvery === badEvery - 1 ? null : Buffer.from('x'),
      })),
    );
    await producer.close();
  };
  const committed = () => kafka.admin.committedOffsets(consumer, [topic]);
  const stored = async (store: ReturnType<typeof fakeStore>, count: number): Promise<void> => {
    await until(() => store.rows.length + store.quarantined >= count);
    expect(store.rows).toHaveLength(count - store.quarantined);
    expect(new Set(store.rows).size).toBe(store.rows.length);
  };

  it('stores each record of all partitions once and leaves no block open', async () => {
    const store = fakeStore();
    await start(store);
    await produce(500, 7);
    await stored(store, 500);
    expect(store.quarantined).toBe(71);
    await until(async () => (await committed()).every((at) => at.offset === 250n && at.metadata === ''));
  });

  it('commits the range of a block before it inserts it', async () => {
    const store = fakeStore();
    const ranges: unknown[] = [];
    store.before = async (insert) => {
      const at = (await committed()).find(({ partition }) => insert.token.startsWith(`${topic}:${partition}:`))!;
      ranges.push(fromMetadata(at.offset, at.metadata));
      expect(insert.token).toContain(`:${at.offset}-${fromMetadata(at.offset, at.metadata)?.last}@`);
    };
    await start(store);
    await produce(300);
    await stored(store, 300);
    expect(ranges.length).toBeGreaterThanOrEqual(6);
    expect(ranges).not.toContain(undefined);
  });

  it('waits while the store is away, and repeats the same block when it comes back', async () => {
    const store = fakeStore();
    store.before = away;
    const processor = await start(store);
    await produce(20);
    await until(() => store.attempts.length > 4);
    expect(processor.status().error).toContain('the store is away');
    expect(store.rows).toHaveLength(0);
    store.before = () => undefined;
    await stored(store, 20);
    expect(new Set(store.attempts).size).toBeLessThan(store.attempts.length);
  });

  it('reads no more than it may hold while the store is away, tells how far it is behind, and catches up', async () => {
    const store = fakeStore();
    store.before = away;
    let read = 0;
    const counted: RowShape = { ...shape, write: (record, row) => ((read += 1), shape.write(record, row)) };
    const processor = await start(store, kafka, 50, { maxBufferedRecords: 100, shape: counted });
    const behind = (): bigint => processor.status().partitions.reduce((sum, { position, end }) => sum + end - position, 0n);
    await produce(6000);
    await until(() => processor.status().error?.includes('the store is away') === true && store.attempts.length > 8);
    // Two groups at the most are out of what waits: one is stored, one cut.
    expect(behind()).toBeGreaterThan(0n);
    expect(read).toBeLessThan(1000);
    expect(store.rows).toHaveLength(0);
    store.before = () => undefined;
    await stored(store, 6000);
    await until(() => behind() === 0n);
    expect(processor.status().error).toBeUndefined();
  });

  it('stores what it has let go on by itself though no more records come, when the store comes back', async () => {
    const store = fakeStore();
    store.before = away;
    await start(store);
    // A whole group: it is not waited for.
    await produce(50);
    await until(() => store.attempts.length > 4);
    store.before = () => undefined;
    await stored(store, 50);
    await until(async () => (await committed()).every((at) => at.offset === 25n && at.metadata === ''));
  });

  it('drops nothing and doubles nothing when an insert is stored but its answer is lost', async () => {
    const store = fakeStore();
    const lost = new Set<string>();
    store.after = ({ token }) => {
      if (lost.has(token)) return;
      lost.add(token);
      away();
    };
    await start(store);
    await produce(400, 5);
    await stored(store, 400);
    expect(lost.size).toBeGreaterThanOrEqual(8);
    expect(store.attempts.length).toBeGreaterThan(lost.size);
  });

  it.each(['before', 'after'] as const)('is taken over without loss or repetition when it dies %s the insert', async (when) => {
    const store = fakeStore();
    await produce(120, 9);
    let hung = 0;
    let release = (): void => undefined;
    const asleep = new Promise<void>((resolve) => (release = resolve));
    const first = { insert: store.insert };
    const dying: BlockStore = {
      stored: store.stored,
      holds: store.holds,
      async insert(insert) {
        if (when === 'after') await first.insert(insert);
        hung += 1;
        await asleep;
        if (when === 'before') await first.insert(insert);
      },
    };
    const zombieClient = cluster.connect();
    const zombie = await start(dying, zombieClient);
    await until(() => hung > 0);
    // More arrives: a successor that cut for itself would cut differently.
    await produce(80);
    cluster.endSession(consumer, lastMember);
    const successor = await start(store, kafka, 1000);
    await until(() => store.rows.length + store.quarantined >= 100);
    release(); // the zombie's own insert arrives late
    await zombie.close();
    await successor.caughtUp();
    await stored(store, 200);
  });

  it('goes on from where records were removed by retention, though a block was under way', async () => {
    const store = fakeStore();
    await produce(40);
    await kafka.admin.commitOffsets(consumer, [
      { topic, partition: 0, offset: offset(0), metadata: '{"last":9,"at":1,"bad":[]}' },
      { topic, partition: 1, offset: offset(0), metadata: '{"last":9,"at":1,"bad":[]}' },
    ]);
    cluster.truncate({ topic, partition: 0 }, offset(15));
    cluster.truncate({ topic, partition: 1 }, offset(5));
    await start(store);
    await stored(store, 5 + 15);
  });

  const starts = (...at: number[]) => new Map(at.map((each, partition) => [`${topic}-${partition}`, offset(each)] as const));
  const rewind = (epoch: bigint, from: number, to: number): ControlOrder => ({
    ...{ consumer, epoch, action: 'rewind', replayId: `r${epoch}`, starts: starts(from, from), targets: starts(to, to), reset: false },
  });
  const replayOf = (processor: RunningProcessor) => {
    const { replays } = processor.status();
    const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);
    const [state, ...others] = [...new Set(replays.map((each) => each.state))];
    return {
      state: others.length === 0 && replays.length === 2 ? state : undefined,
      id: replays[0]?.id,
      records: sum(replays.map((each) => each.records)),
      skipped: sum(replays.map((each) => each.skipped ?? 0)),
    };
  };
  /** Takes rows out of the store, whose tokens stay known. */
  const lose = (store: ReturnType<typeof fakeStore>, ...places: number[]): void => {
    for (const place of places) store.rows.splice(store.rows.indexOf(String(place)), 1);
  };

  it('rewound, stores what is missing, once, and leaves what is there', async () => {
    const store = fakeStore();
    const processor = await start(store);
    await produce(400);
    await stored(store, 400);
    // A block from its first to its last record, one record, and the end; of the other partition everything.
    lose(store, ...Array.from({ length: 25 }, (_, at) => at), 60, 198, 199, ...Array.from({ length: 200 }, (_, at) => 1_000_000 + at));
    processor.apply(rewind(3n, 0, 200));
    await stored(store, 400);
    await until(() => replayOf(processor).state === 'completed');
    expect(replayOf(processor)).toMatchObject({ id: 'r3', records: 228, skipped: 172 });
    expect(processor.status().epoch).toBe(3n);
    await produce(20);
    await stored(store, 420);
  });

  it('rewound, goes on where it was after a restart, obeys once, and says how it ended', async () => {
    const store = fakeStore();
    const first = await start(store);
    await produce(400);
    await stored(store, 400);
    store.rows.length = 0;
    store.before = () => (store.rows.length < 100 ? undefined : away());
    first.apply(rewind(3n, 10, 200));
    await until(() => store.rows.length >= 100 && first.status().error !== undefined);
    await first.close();
    open.length = 0;
    store.before = () => undefined;
    const second = await start(store);
    second.apply(rewind(3n, 10, 200));
    await stored(store, 380);
    await until(() => replayOf(second).state === 'completed');
    await second.close();
    open.length = 0;
    const third = await start(store);
    third.apply(rewind(3n, 10, 200));
    await third.caughtUp();
    await until(() => third.status().epoch === 3n && replayOf(third).state === 'completed');
    expect(replayOf(third)).toMatchObject({ records: 380, skipped: 0 });
    await stored(store, 380);
  });

  it.each(['before', 'after'] as const)('rewound while a block is under way that failed %s it was stored, stores it once', async (when) => {
    const store = fakeStore();
    let fails = true;
    store[when] = () => (fails ? away() : undefined);
    const first = await start(store);
    await produce(40);
    await until(() => store.attempts.length > 4);
    await first.close();
    open.length = 0;
    const second = await start(store);
    second.apply(rewind(5n, 0, 20));
    await until(() => second.status().error !== undefined);
    fails = false;
    await stored(store, 40);
    await until(() => replayOf(second).state === 'completed');
    await stored(store, 40);
    expect(new Set(store.attempts.map((token) => token.replace(/.*@\d+/, '')))).toEqual(new Set(['']));
  });

  it('rewound and cancelled, still stores nothing twice', async () => {
    const store = fakeStore();
    const processor = await start(store);
    await produce(400);
    await stored(store, 400);
    lose(store, 150, 199);
    processor.apply({ consumer, epoch: 3n, action: 'rate', recordsPerSecond: 50 });
    processor.apply(rewind(4n, 0, 200));
    await until(() => replayOf(processor).skipped > 0);
    processor.apply({ consumer, epoch: 5n, action: 'cancel', replayId: 'r4' });
    await until(() => replayOf(processor).state === 'cancelled');
    processor.apply({ consumer, epoch: 6n, action: 'rate', recordsPerSecond: undefined });
    await stored(store, 400);
    await processor.caughtUp();
    await stored(store, 400);
  });

  it('begins with the log again when its store has lost everything, and not otherwise', async () => {
    const store = fakeStore();
    const first = await start(store);
    await produce(100);
    await stored(store, 100);
    await first.close();
    open.length = 0;
    const shapes = new Map([[topic, shape]]);
    const again = () => beginAgain({ kafka, store, consumer, shapes, now: 0, log: () => undefined });
    await again();
    expect((await committed()).map((at) => at.offset)).toEqual([50n, 50n]);
    // A first block on its way: nothing of it is there, and nothing was lost.
    const beginning = [0, 1].map((partition) => ({ topic, partition, offset: offset(0), metadata: '{"last":9,"at":1,"bad":[]}' }));
    await kafka.admin.commitOffsets(consumer, beginning);
    store.rows.length = 0;
    await again();
    expect((await committed()).map((at) => at.metadata)).toEqual(beginning.map((at) => at.metadata));
    await kafka.admin.commitOffsets(
      consumer,
      [0, 1].map((partition) => ({ topic, partition, offset: offset(50), metadata: '' })),
    );
    await again();
    // What was on its way arrives late: it is looked up.
    store.rows.push('7');
    const second = await start(store);
    // An order of before is obeyed anew, and leaves nothing out.
    second.apply(rewind(2n, 40, 50));
    await stored(store, 100);
    await until(() => replayOf(second).state === 'completed');
    await stored(store, 100);
  });

  it('refuses a rewind that would empty it or pass over records', async () => {
    const processor = await start(fakeStore());
    processor.apply({ ...rewind(1n, 0, 0), reset: true } as ControlOrder);
    await until(() => processor.status().epoch === 1n);
    expect(processor.status().answers[0]?.refused).toContain('stores again what is missing');
  });

  it('closes while the store is away', async () => {
    const store = fakeStore();
    store.before = away;
    const processor = await start(store);
    await produce(2);
    await until(() => store.attempts.length > 4);
    await processor.close();
  });
});
