import fc from 'fast-check';
import { SpoolError } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { offset, type ConsumedRecord, type Offset } from '../kafka/port.js';
import type { Reader, Slice } from '../kafka/port.js';
import { Intakes } from './intake.js';
import { Lanes } from './lanes.js';
import { ReadyQueue } from './ready-queue.js';
import { Unfinished } from './unfinished.js';

const recordAt = (at: number, key: string | null = 'a', partition = 0): ConsumedRecord => ({
  topic: 'in',
  partition,
  offset: offset(at),
  key: key === null ? null : Buffer.from(key),
  value: null,
  headers: {},
  timestamp: 1000 + at,
});
const next = (at: number): ReadonlyMap<string, Offset> => new Map([['in-0', offset(at)]]);

/** Handlers that end when the test says so. */
function gated(options: { concurrency?: number; maxInFlight?: number; drainMs?: number } = {}) {
  const started: number[] = [];
  const gates = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>();
  const lanes = new Lanes(
    {
      concurrency: 100,
      maxInFlight: 100,
      drainMs: 50,
      ...options,
      handle: (record) =>
        new Promise<void>((resolve, reject) => {
          started.push(Number(record.offset));
          gates.set(Number(record.offset), { resolve, reject });
        }),
    },
    next(0),
  );
  const end = async (at: number, error?: unknown): Promise<void> => {
    if (error === undefined) gates.get(at)!.resolve();
    else gates.get(at)!.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { lanes, started, end, reached: () => Number(lanes.reached.get('in-0')) };
}

describe('the position of a partition that is handled out of order', () => {
  it('is never beyond a record that is not finished, falls never, and reaches the end, whatever the order and the holes (Evento defect 4)', () => {
    const slices = fc.array(fc.record({ gaps: fc.array(fc.nat({ max: 3 }), { maxLength: 12 }), markers: fc.nat({ max: 3 }) }), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(slices, fc.infiniteStream(fc.nat()), (plan, choices) => {
        const unfinished = new Unfinished(offset(0));
        const open: Offset[] = [];
        let at = 0;
        let last = 0n;
        const check = (): void => {
          const lowest = open.reduce<Offset | undefined>((low, each) => (low === undefined || each < low ? each : low), undefined);
          expect(unfinished.reached).toBe(lowest ?? offset(at));
          expect(unfinished.reached >= last).toBe(true);
          last = unfinished.reached;
        };
        const finishOne = (): void => {
          const [done] = open.splice(choices.next().value % open.length, 1);
          unfinished.finish(done!);
          check();
        };
        for (const { gaps, markers } of plan) {
          const records = gaps.map((gap) => recordAt((at += gap + 1) - 1));
          at += markers;
          unfinished.take(records, offset(at));
          open.push(...records.map((record) => record.offset));
          check();
          while (open.length > 0 && choices.next().value % 3 > 0) finishOne();
        }
        while (open.length > 0) finishOne();
        expect(unfinished.reached).toBe(offset(at));
      }),
    );
  });
});

describe('lanes', () => {
  it('handle keys side by side and one key in order; a slow key holds up the position and nobody else', async () => {
    const { lanes, started, end, reached } = gated();
    lanes.accept({ records: [recordAt(0, 'slow'), recordAt(1, 'b'), recordAt(3, 'b'), recordAt(4, 'slow')], positions: next(7) });
    expect(started).toEqual([0, 1]);
    await end(1);
    await end(3);
    expect([started, reached()]).toEqual([[0, 1, 3], 0]);
    await end(0);
    expect([started, reached()]).toEqual([[0, 1, 3, 4], 4]);
    await end(4);
    expect(reached()).toBe(7);
  });

  it('try a record that fails for the moment again on its own lane only', async () => {
    const { lanes, started, end, reached } = gated();
    lanes.accept({ records: [recordAt(0, 'a'), recordAt(1, 'a'), recordAt(2, 'b')], positions: next(3) });
    await end(0, new SpoolError('UNAVAILABLE', 'away'));
    expect(lanes.error?.message).toBe('away');
    await end(2);
    expect(reached()).toBe(0);
    await until(() => started.filter((at) => at === 0).length === 2);
    await end(0);
    await end(1);
    expect([reached(), lanes.error]).toEqual([3, undefined]);
  });

  it('start no more than so many, and take no more than so many', async () => {
    const { lanes, started, end } = gated({ concurrency: 2, maxInFlight: 4 });
    lanes.accept({ records: [0, 1, 2, 3].map((at) => recordAt(at, `k${at}`)), positions: next(4) });
    expect([started, lanes.room(0)]).toEqual([[0, 1], 0]);
    await end(1);
    expect([started, lanes.room(0)]).toEqual([[0, 1, 2], 1]);
  });

  it('records without a key wait for nobody', () => {
    const { lanes, started } = gated();
    lanes.accept({ records: [recordAt(0, null), recordAt(1, null)], positions: next(2) });
    expect(started).toEqual([0, 1]);
  });

  it('while paused start as many as are permitted, those that wait first', async () => {
    const { lanes, started, end } = gated({ concurrency: 1 });
    lanes.accept({ records: [0, 1, 2].map((at) => recordAt(at, `k${at}`)), positions: next(3) });
    lanes.hold(true);
    await end(0);
    expect(started).toEqual([0]);
    expect(lanes.permit(5)).toBe(2);
    await end(1);
    await end(2);
    expect(started).toEqual([0, 1, 2]);
  });

  it('quiet down within a bound, and forget what runs when they are moved', async () => {
    const { lanes, started, end, reached } = gated();
    lanes.accept({ records: [recordAt(5, 'a'), recordAt(6, 'a')], positions: next(7) });
    await lanes.quiet(); // the handler never ends, and this does
    lanes.moveTo(next(5));
    lanes.go();
    await end(5);
    expect([reached(), started]).toEqual([5, [5]]);
    lanes.accept({ records: [recordAt(5, 'a')], positions: next(7) });
    await end(5);
    expect([reached(), started]).toEqual([7, [5, 5]]);
  });
});

describe('classes of records', () => {
  const inClass = (of: number, at: number, key: string): ConsumedRecord => ({ ...recordAt(at, key), topic: `in${of}` });
  const classOf = (topic: string): number => Number(topic.slice(2));
  function classed(maxInFlight: number) {
    const started: string[] = [];
    const gates: (() => void)[] = [];
    const lanes = new Lanes(
      {
        concurrency: 1,
        maxInFlight,
        drainMs: 20,
        shares: [8, 3, 1],
        classOf,
        handle: (record) =>
          new Promise<void>((resolve) => {
            started.push(`${record.topic}:${String(record.key)}@${record.offset}`);
            gates.push(resolve);
          }),
      },
      new Map(),
    );
    const accept = (of: number, ...keys: string[]): void => {
      const records = keys.map((key, at) => inClass(of, at, key));
      lanes.accept({ records, positions: new Map([[`in${of}-0`, offset(records.length)]]) });
    };
    const end = async (): Promise<void> => {
      gates.shift()!();
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { lanes, started, accept, end };
  }

  it('have a bound each, so that a backlog of one leaves the others their room', () => {
    const { lanes, accept } = classed(3);
    accept(2, 'a', 'b', 'c');
    expect([0, 1, 2].map((of) => lanes.room(of))).toEqual([3, 3, 0]);
  });

  it('overtake under the same key too, but not what has begun', async () => {
    const { started, accept, end } = classed(10);
    accept(2, 'a', 'a', 'b');
    accept(0, 'a', 'b');
    for (let n = 0; n < 4; n++) await end();
    expect(started).toEqual(['in2:a@0', 'in0:b@1', 'in0:a@0', 'in2:b@2', 'in2:a@1']);
  });

  it('get their share of the turns while all of them wait, whatever the shares, and none is starved', () => {
    const shares = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(shares, fc.integer({ min: 1, max: 5 }), (each, cycles) => {
        const ready = new ReadyQueue<{ of: number }>(each);
        for (const [of, share] of each.entries()) for (let n = 0; n < share * cycles + 1; n++) ready.push({ of }, of);
        const turns = each.reduce((sum, share) => sum + share, 0);
        for (let cycle = 0; cycle < cycles; cycle++) {
          const taken = Array.from({ length: turns }, () => ready.take()!.of);
          expect(each.map((_, of) => taken.filter((one) => one === of).length)).toEqual(each);
        }
      }),
    );
  });

  it('are read apart: a backlog of one holds back its own topic alone, and the urgent are given first', () => {
    const held: string[] = [];
    const reader = {
      assign: () => undefined,
      unassign: () => undefined,
      pause: ({ topic }: { topic: string }) => void held.push(topic),
      resume: () => undefined,
    } as unknown as Reader;
    const partitions = ['in0', 'in2'].map((topic) => ({ topic, partition: 0 }));
    const intakes = new Intakes(partitions, { reader, maxBufferedRecords: 4, order: 'arrival', classOf });
    intakes.open(new Map(partitions.map(({ topic }) => [`${topic}-0`, offset(0)])), 'earliest');
    const slice = (of: number, count: number): Slice => ({
      topic: `in${of}`,
      partition: 0,
      records: Array.from({ length: count }, (_, at) => inClass(of, at, 'k')),
      fromOffset: offset(0),
      nextOffset: offset(count),
      lastStableOffset: offset(count),
      highWatermark: offset(count),
    });
    intakes.offer(slice(2, 6));
    intakes.offer(slice(0, 2));
    expect(held).toEqual(['in2']);
    const topicsOf = (room: (of: number) => number) => intakes.take(10, room)?.records.map(({ topic }) => topic);
    expect(topicsOf(() => 2)).toEqual(['in0', 'in0']);
    expect(topicsOf((of) => (of === 0 ? 10 : 3))).toEqual(['in2', 'in2', 'in2']);
    expect(topicsOf((of) => (of === 0 ? 10 : 0))).toBeUndefined();
  });
});

describe('lanes that commit together', () => {
  it('free their slot before they end, and keep their key', async () => {
    const started: number[] = [];
    const gates: (() => void)[] = [];
    const lanes = new Lanes(
      {
        concurrency: 1,
        maxInFlight: 10,
        drainMs: 20,
        handle: (record, free) => {
          started.push(Number(record.offset));
          const committed = new Promise<void>((resolve) => gates.push(resolve));
          free();
          return committed;
        },
      },
      next(0),
    );
    lanes.accept({ records: [recordAt(0, 'a'), recordAt(1, 'a'), recordAt(2, 'b')], positions: next(3) });
    expect(started).toEqual([0, 2]);
    expect([...lanes.reachedWith([recordAt(2, 'b')])]).toEqual([['in-0', 0n]]);
    expect([...lanes.reachedWith([recordAt(0, 'a'), recordAt(2, 'b')])]).toEqual([['in-0', 1n]]);
    gates[0]!();
    await until(() => started.length === 3);
    expect(started).toEqual([0, 2, 1]);
  });

  it('start nothing more when the task is lost', () => {
    const { lanes, started } = gated();
    lanes.fail(new SpoolError('PRODUCER_FENCED', 'another owner'));
    lanes.accept({ records: [recordAt(0)], positions: next(1) });
    lanes.go();
    expect([started, lanes.fatal?.code]).toEqual([[], 'PRODUCER_FENCED']);
  });
});
