import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SpoolError } from '@spool/schemas';
import fc from 'fast-check';
import { offset, type ConsumedRecord } from '../kafka/port.js';
import { openLmdbStore } from '../store/lmdb-store.js';
import { createMemoryStore } from '../store/memory-store.js';
import { emptyCheckpoint, type Store } from '../store/store.js';
import { DeadlineHeap } from './deadlines.js';
import { handling, type HandlingOptions, type TaskContext } from './handling.js';
import { rowsReader, type StoreSpec } from './stores.js';
import type { Timer } from './timers.js';

const changelog = { topic: 'log', partition: 0 };
const counts = (ttlMs?: number): StoreSpec<number> => ({
  name: 'counts',
  encode: (value) => Buffer.from(String(value)),
  decode: (bytes) => Number(bytes.toString()),
  ...(ttlMs === undefined ? {} : { ttlMs }),
});
let next = 0;
const record = (key: string, timestamp = 0, value = ''): ConsumedRecord => ({
  topic: 'in',
  partition: 0,
  offset: offset(next++),
  key: Buffer.from(key),
  value: Buffer.from(value),
  headers: {},
  timestamp,
});
const count = (of: ConsumedRecord, { table }: TaskContext): void => {
  const rows = table<number>('counts');
  const key = of.key!.toString();
  rows.put(key, (rows.get(key) ?? 0) + 1);
};

let clock = 1000;
let store: Store;
beforeEach(() => {
  clock = 1000;
  store = createMemoryStore();
});
const open = (options: Partial<HandlingOptions> = {}) =>
  handling({ consumer: 'test', store, stores: [counts()], now: () => clock, handle: count, ...options }, changelog);
const written = (outputs: readonly { key: string | Buffer | null; value: Buffer | null }[]): string[] =>
  outputs.map(({ key, value }) => `${String(key)}=${value?.toString() ?? 'gone'}`);

describe('declared stores', () => {
  it('send the last change of each row in a group to the changelog', async () => {
    const task = open();
    const { outputs } = await task.run([record('a'), record('b'), record('a')]);
    expect(written(outputs)).toEqual(['s/counts/a=2', 's/counts/b=1']);
    task.commit(emptyCheckpoint);
    expect(written((await task.run([record('a')])).outputs)).toEqual(['s/counts/a=3']);
  });

  it('come back from the changelog as they were', async () => {
    const task = open({ stores: [counts(500)] });
    const { outputs } = await task.run([record('a'), record('a'), record('b')]);
    const other = createMemoryStore();
    const rows = new Map<string, unknown>();
    const read = rowsReader([counts(500)]);
    for (const { key, value, timestamp } of outputs) {
      const table = () => ({ put: (id: string, row: unknown) => rows.set(id, row), delete: (id: string) => rows.delete(id) }) as never;
      await read({ ...record('x'), key: Buffer.from(key as string), value, timestamp: timestamp! }, table);
    }
    other.commit(new Map([['counts', rows]]), emptyCheckpoint);
    const restored = open({
      store: other,
      stores: [counts(500)],
      handle: (_, { table }) => void (seen = [...table('counts').range()]),
    });
    let seen: unknown;
    await restored.run([record('z')]);
    expect(seen).toEqual([
      ['a', 2],
      ['b', 1],
    ]);
  });

  it('forget what a failed record did, and park it', async () => {
    const task = open({
      handle(of, context) {
        count(of, context);
        context.emit({ topic: 'out', key: of.key, value: null });
        if (of.value?.toString() === 'bad') throw new TypeError('x is not a function');
      },
    });
    const { outputs } = await task.run([record('a'), record('b', 0, 'bad'), record('b'), record('a')]);
    expect(outputs.map(({ topic, key }) => `${topic} ${String(key)}`)).toEqual([
      'out a',
      'dlq.test b',
      'dlq.test b',
      'out a',
      'log s/counts/a',
      'log s/$parked/kb',
    ]);
  });

  it('are as before when a group is given up', async () => {
    let fail = true;
    const task = open({
      stores: [counts(500)],
      handle(of, context) {
        count(of, context);
        context.schedule({ name: 't', key: 'k', clock: 'stream', at: 5 });
        if (fail) throw new SpoolError('UNAVAILABLE', 'later');
      },
    });
    await expect(task.run([record('a', 9)])).rejects.toThrow('later');
    fail = false;
    expect(written((await task.run([record('a', 9)])).outputs)[0]).toBe('s/counts/a=1');
  });

  it('cannot be declared twice, or with a name that a changelog cannot hold', () => {
    expect(() => open({ stores: [counts() as StoreSpec, counts() as StoreSpec] })).toThrow('two stores are named counts');
    expect(() => open({ stores: [{ ...counts(), name: 'a/b' }] })).toThrow("cannot be named 'a/b'");
    expect(() => open({ stores: [counts(0) as StoreSpec] })).toThrow('TTL');
  });
});

describe('a TTL', () => {
  const withTtl = (expired: string[] = []) =>
    open({ stores: [counts(500)], onExpired: (name, key, value) => expired.push(`${name}/${key}=${String(value)}`) });

  it('deletes a row that long after its last write, with a tombstone, though no record comes', async () => {
    const expired: string[] = [];
    const task = withTtl(expired);
    await task.run([record('a'), record('b')]);
    task.commit(emptyCheckpoint);
    clock += 300;
    await task.run([record('b')]);
    task.commit(emptyCheckpoint);
    expect(task.nextTimer).toBe(1500);
    clock = 1500;
    const { outputs, idle } = await task.run([]);
    expect([written(outputs), expired, idle]).toEqual([['s/counts/a=gone'], ['counts/a=1'], false]);
    task.commit(emptyCheckpoint);
    expect(task.nextTimer).toBe(1800);
  });

  it('hides a row that is due before anything has deleted it', async () => {
    let seen: unknown[] = [];
    const task = open({
      stores: [counts(500)],
      handle(of, context) {
        seen = [context.table('counts').get('a'), [...context.table('counts').range({ limit: 1 })]];
        count(of, context);
      },
    });
    await task.run([record('a'), record('b')]);
    task.commit(emptyCheckpoint);
    clock += 300;
    await task.run([record('b')]);
    task.commit(emptyCheckpoint);
    clock += 200;
    await task.run([record('c')]);
    expect(seen).toEqual([undefined, [['b', 2]]]);
  });

  it('survives a restart, and a group that was given up', async () => {
    const first = withTtl();
    await first.run([record('a')]);
    first.commit(emptyCheckpoint);
    const second = withTtl();
    expect(second.nextTimer).toBe(1500);
    clock = 1500;
    await second.run([]);
    second.discard();
    expect(written((await second.run([])).outputs)).toEqual(['s/counts/a=gone']);
  });
});

describe('timers', () => {
  const timed = (fired: string[], at: Partial<Timer> = {}, more: Partial<HandlingOptions> = {}) =>
    open({
      handle: (of, context) => context.schedule({ name: 'due', key: of.key!.toString(), clock: 'wall', at: 1500, ...at }),
      onTimer: ({ name, key }, context) => void fired.push(`${name} ${key} at ${context.now}/${context.streamTime}`),
      ...more,
    });

  it('fire once when the wall clock has come to them, after a restart too, in order', async () => {
    const fired: string[] = [];
    const first = timed(fired);
    await first.run([record('b'), record('a')]);
    first.commit(emptyCheckpoint);
    const task = timed(fired);
    expect(task.nextTimer).toBe(1500);
    expect((await task.run([])).idle).toBe(true);
    clock = 1600;
    const { outputs } = await task.run([]);
    task.commit(emptyCheckpoint);
    expect(written(outputs)).toEqual(['s/$timers/due\u001fa=gone', 's/$timers/due\u001fb=gone']);
    expect((await task.run([])).idle).toBe(true);
    expect(fired).toEqual(['due a at 1600/0', 'due b at 1600/0']);
  });

  it('that were moved, like rows that were written again, are not due at their old time for ever', async () => {
    let at = 1090;
    const task = open({
      stores: [counts(100)],
      handle(of, context) {
        count(of, context);
        context.schedule({ name: 'due', key: 'a', clock: 'wall', at });
      },
    });
    for (at of [1090, 1180]) {
      await task.run([record('a')]);
      task.commit(emptyCheckpoint);
      clock += 50;
    }
    expect([clock, task.nextTimer]).toEqual([1100, 1090]);
    expect((await task.run([])).idle).toBe(true);
    task.discard();
    expect(task.nextTimer).toBe(1150);
  });

  it('of long keys survive in LMDB', async () => {
    const path = mkdtempSync(join(tmpdir(), 'spool-timers-'));
    const fired: string[] = [];
    store = openLmdbStore({ path });
    try {
      const first = timed(fired);
      await first.run([record('k'.repeat(100))]);
      first.commit(emptyCheckpoint);
      clock = 1600;
      await timed(fired).run([]);
      expect(fired).toEqual([`due ${'k'.repeat(100)} at 1600/0`]);
    } finally {
      await store.close();
      rmSync(path, { recursive: true });
    }
  });

  it('fire on stream time behind the record that moved it', async () => {
    const fired: string[] = [];
    const task = timed(fired, { clock: 'stream', at: 10 });
    await task.run([record('a', 5), record('b', 9), record('a', 12), record('c', 7)]);
    expect(fired).toEqual(['due a at 1000/12', 'due b at 1000/12', 'due c at 1000/12']);
  });

  it('keep their stream time over a restart, and forget the time of a record that failed', async () => {
    const task = open({
      handle: (of) => {
        if (of.value?.toString() === 'bad') throw new Error('bad');
      },
    });
    await task.run([record('a', 5), record('b', 99, 'bad')]);
    task.commit(emptyCheckpoint);
    let time = 0;
    await open({ handle: (_, context) => void (time = context.streamTime) }).run([record('a', 2)]);
    expect(time).toBe(5);
  });

  it('are replaced by name and key, and cancelled, also by one that fires beside them', async () => {
    const fired: string[] = [];
    const task = open({
      handle(_, context) {
        context.schedule({ name: 'x', key: '1', clock: 'wall', at: 1100 });
        context.schedule({ name: 'x', key: '1', clock: 'wall', at: 1200 });
        context.schedule({ name: 'x', key: '2', clock: 'wall', at: 1300 });
        context.schedule({ name: 'y', key: '1', clock: 'wall', at: 1100 });
      },
      onTimer({ name, key, at }, context) {
        fired.push(`${name}${key}@${at}`);
        context.cancel('x', '2');
      },
    });
    await task.run([record('a')]);
    task.commit(emptyCheckpoint);
    clock = 2000;
    await task.run([]);
    expect(fired).toEqual(['y1@1100', 'x1@1200']);
  });

  it('that fail for good go to the dead letters, and the others fire', async () => {
    const fired: string[] = [];
    const task = timed(
      fired,
      {},
      {
        onTimer({ key }) {
          if (key === 'a') throw new TypeError('no');
          fired.push(key);
        },
      },
    );
    await task.run([record('a'), record('b')]);
    task.commit(emptyCheckpoint);
    clock = 1500;
    const { outputs } = await task.run([]);
    expect(fired).toEqual(['b']);
    expect(outputs[0]).toMatchObject({ topic: 'dlq.test', key: 'a', value: null, headers: { 'dlq-timer': 'due', 'dlq-message': 'no' } });
  });

  it('that set themselves again in the past wait for the next group', async () => {
    let fired = 0;
    const task = timed(
      [],
      { at: 0 },
      {
        onTimer(timer, context) {
          fired++;
          context.schedule({ ...timer, at: 0 });
        },
      },
    );
    await task.run([record('a')]);
    task.commit(emptyCheckpoint);
    await task.run([]);
    expect(fired).toBe(1);
  });
});

describe('a deadline heap', () => {
  it('gives what is due in order of time and id, each once, and gives back what was not settled', () => {
    const entry = fc.record({ at: fc.nat(20), id: fc.constantFrom('a', 'b', 'c', 'd') });
    fc.assert(
      fc.property(fc.array(entry), fc.nat(20), (entries, now) => {
        const heap = new DeadlineHeap();
        for (const { at, id } of entries) heap.push(at, id);
        const drain = (): string[] => {
          const taken = [];
          for (let one = heap.take(now); one !== undefined; one = heap.take(now)) taken.push(one);
          return taken.map(({ at, id }) => `${String(at).padStart(2, '0')}${id}`);
        };
        const due = [...new Set(entries.filter(({ at }) => at <= now).map(({ at, id }) => `${String(at).padStart(2, '0')}${id}`))].sort();
        expect(drain()).toEqual(due);
        heap.settle(true);
        expect(drain()).toEqual(due);
        heap.settle(false);
        expect(drain()).toEqual([]);
      }),
    );
  });
});
