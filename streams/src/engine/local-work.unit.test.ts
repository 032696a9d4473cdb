import { SpoolError } from '@spool/schemas';
import { createMemoryCluster } from '../kafka/memory/connect.js';
import { offset, type ConsumedRecord, type Kafka, type Offset, type Producer } from '../kafka/port.js';
import { createMemoryStore } from '../store/memory-store.js';
import type { LocalStore, Store } from '../store/store.js';
import { localWork, type LocalWorkOptions } from './local-work.js';
import type { ReplayFilter } from '../store/stored-filter.js';
import type { TaskWork } from './work.js';

let kafka: Kafka;
let producer: Producer;
beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  producer = await kafka.producer();
  await kafka.admin.ensureTopics([{ name: 'dlq.sums', partitions: 1, cleanup: 'delete', retentionMs: -1 }]);
});
afterEach(() => kafka.close());

const record = (at: number, key: string, value: number): ConsumedRecord => ({
  topic: 'in',
  partition: 0,
  offset: offset(at),
  key: Buffer.from(key),
  value: Buffer.from(String(value)),
  headers: {},
  timestamp: at,
});
const group = (...records: ConsumedRecord[]) => ({
  records,
  positions: new Map<string, Offset>([['in-0', offset(records.at(-1)!.offset + 1n)]]),
});
const valueOf = ({ value }: ConsumedRecord): number => Number(value!.toString());
const poisoned = (records: readonly ConsumedRecord[]): void => {
  if (records.some((each) => valueOf(each) < 0)) throw new TypeError('poison');
};
const work = (store: LocalStore, handlers: Pick<LocalWorkOptions, 'handle' | 'handleGroup'>): TaskWork =>
  localWork({ consumer: 'sums', store, deadLetters: producer, now: () => 0, ...handlers });
const letters = async (): Promise<number> => Number((await kafka.admin.offsets('dlq.sums'))[0]!.latest);

describe('work that takes its groups as a whole', () => {
  let store: Store;
  let calls: (readonly number[])[];
  beforeEach(() => {
    store = createMemoryStore();
    calls = [];
  });
  const summing = () =>
    work(store, {
      handle: (one, { table }) => {
        calls.push([valueOf(one)]);
        poisoned([one]);
        const rows = table<number>('sum');
        rows.put('all', (rows.get('all') ?? 0) + valueOf(one));
      },
      handleGroup: (all, { table }) => {
        calls.push(all.map(valueOf));
        const rows = table<number>('sum');
        rows.put('all', (rows.get('all') ?? 0) + all.reduce((sum, each) => sum + valueOf(each), 0));
        poisoned(all);
      },
    });

  it('is called once for each, and commits its rows with the position', async () => {
    const task = summing();
    await task.process(group(record(0, 'a', 1), record(1, 'b', 2)));
    await task.process(group(record(2, 'a', 3)));
    expect(calls).toEqual([[1, 2], [3]]);
    expect([store.get('sum', 'all'), store.checkpoint.positions]).toEqual([6, new Map([['in-0', 3n]])]);
  });

  it('parks the record to blame alone, and nothing of the group that failed stays', async () => {
    const task = summing();
    await task.process(group(record(0, 'a', 1), record(1, 'b', -2), record(2, 'c', 4)));
    await task.process(group(record(3, 'b', 8), record(4, 'a', 16)));
    expect(calls).toEqual([[1, -2, 4], [1], [-2], [4], [16]]);
    expect([store.get('sum', 'all'), await letters()]).toEqual([21, 2]);
  });
});

/** A database with one connection: what a transaction writes is seen by itself alone, until it is committed. */
function database() {
  const inner = createMemoryStore();
  const rows = new Map<string, number>();
  const log: string[] = [];
  let open: Map<string, number> | undefined;
  let saved = new Map<string, number>();
  let failure: Error | undefined;
  let breaks = false;
  const store: LocalStore = {
    get checkpoint() {
      return inner.checkpoint;
    },
    get: inner.get,
    range: inner.range,
    count: inner.count,
    commit(changes, checkpoint) {
      if (breaks) return Promise.reject(new SpoolError('TRANSACTION_INDETERMINATE', 'the connection broke'));
      log.push('commit');
      for (const [key, value] of open ?? []) rows.set(key, value);
      open = undefined;
      inner.commit(changes, checkpoint);
      return Promise.resolve();
    },
    clear: () => Promise.resolve(),
    transaction: {
      begin() {
        log.push('begin');
        [open, failure] = [new Map(), undefined];
        return Promise.resolve();
      },
      savepoint() {
        log.push('savepoint');
        saved = new Map(open);
        return Promise.resolve();
      },
      undo() {
        log.push('undo');
        [open, failure] = [new Map(saved), undefined];
        return Promise.resolve();
      },
      rollback() {
        log.push('rollback');
        open = undefined;
      },
      get failure() {
        return failure;
      },
    },
    close: () => Promise.resolve(),
  };
  return {
    store,
    rows,
    log,
    add(key: string, value: number): void {
      if (value < 0) throw (failure = new Error('the database refuses it'));
      open!.set(key, (open!.get(key) ?? rows.get(key) ?? 0) + value);
    },
    break: () => (breaks = true),
  };
}

describe('work whose commit is a transaction of a database', () => {
  it('takes no savepoint while all goes well', async () => {
    const db = database();
    const task = work(db.store, { handle: (one) => Promise.resolve().then(() => db.add('all', valueOf(one))) });
    await task.process(group(record(0, 'a', 1), record(1, 'b', 2)));
    expect([db.rows.get('all'), db.log]).toEqual([3, ['begin', 'commit']]);
  });

  it('does a group again with savepoints when a record fails, and parks that one alone, also when its handler kept the failure', async () => {
    const db = database();
    const handle = (one: ConsumedRecord): void => {
      try {
        db.add('all', valueOf(one));
      } catch {
        // A database goes on with no statement after one that failed.
      }
    };
    const task = work(db.store, { handle });
    await task.process(group(record(0, 'a', 1), record(1, 'b', -2), record(2, 'c', 4)));
    expect(db.log).toEqual(['begin', 'rollback', 'begin', 'savepoint', 'savepoint', 'undo', 'savepoint', 'commit']);
    expect([db.rows.get('all'), await letters(), db.store.checkpoint.positions]).toEqual([5, 1, new Map([['in-0', 3n]])]);
  });

  it('gives all of it back when the commit fails: rows and position go together (Evento defect 3)', async () => {
    const db = database();
    const task = work(db.store, { handle: (one) => db.add('all', valueOf(one)) });
    await task.process(group(record(0, 'a', 1)));
    db.break();
    await expect(task.process(group(record(1, 'a', 2)))).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    expect(db.log.at(-1)).toBe('rollback');
    expect([db.rows.get('all'), db.store.checkpoint.positions]).toEqual([1, new Map([['in-0', 1n]])]);
  });
});

describe('a rewind that passes records over', () => {
  const typed = (at: number, key: string, type: string): ConsumedRecord => ({
    ...record(at, key, 1),
    headers: { ce_type: Buffer.from(type) },
  });
  const log = [typed(0, 'a', 'Added'), typed(1, 'b', 'Added'), typed(2, 'a', 'Taken'), typed(3, 'b', 'Taken'), typed(4, 'a', 'Added')];
  const all: ReplayFilter = { types: [], skipTypes: false, keys: [], skipKeys: false, ends: {} };
  let store: Store;
  let handled: number[];
  const counting = () => work(store, { handle: (one) => void handled.push(Number(one.offset)) });
  const order = (epoch: bigint, filter: Partial<ReplayFilter>) => ({
    ...{ replayId: `r${epoch}`, epoch, reset: false, now: 0, filter: { ...all, ...filter } },
    starts: new Map([['in-0', offset(0)]]),
    targets: new Map([['in-0', offset(5)]]),
  });
  beforeEach(() => {
    store = createMemoryStore();
    handled = [];
  });

  it.each<[string, Partial<ReplayFilter>, number[]]>([
    ['types', { types: ['Taken'] }, [2, 3]],
    ['all but types', { types: ['Taken'], skipTypes: true }, [0, 1, 4]],
    ['keys', { keys: ['b'] }, [1, 3]],
    ['all but keys', { keys: ['b'], skipKeys: true }, [0, 2, 4]],
    ['what lies before an end', { ends: { 'in-0': '2' } }, [0, 1]],
    ['types of keys up to an end', { types: ['Added'], keys: ['a'], ends: { 'in-0': '4' } }, [0]],
  ])('handles %s again, and counts the others, whoever goes on with it', async (_, filter, expected) => {
    await counting().process(group(...log));
    handled = [];
    await counting().rewind!(order(1n, filter));
    await counting().process(group(...log.slice(0, 3)));
    await counting().process(group(...log.slice(3)));
    expect(handled).toEqual(expected);
    expect(store.checkpoint.replay).toMatchObject({ state: 'completed', records: expected.length, skipped: 5 - expected.length });
    await counting().process(group(typed(5, 'c', 'Other')));
    expect(handled).toEqual([...expected, 5]);
  });

  it('passes over nothing that had not been handled, also when it was cancelled and begun anew', async () => {
    await counting().process(group(...log.slice(0, 4)));
    handled = [];
    await counting().rewind!(order(1n, { types: ['Taken'] }));
    await counting().process(group(log[0]!));
    await counting().cancelReplay!('r1');
    await counting().process(group(log[1]!, log[2]!));
    expect(handled).toEqual([]);
    await counting().rewind!(order(2n, { keys: ['b'] }));
    await counting().process(group(...log));
    expect(handled).toEqual([1, 3, 4]);
  });

  it('passes over nothing where the store is empty, was emptied or is moved by hand', async () => {
    await counting().rewind!(order(1n, { types: ['Taken'] }));
    await counting().process(group(...log));
    await counting().rewind!({ ...order(2n, { types: ['Taken'] }), reset: true });
    await counting().process(group(...log));
    await counting().rewind!(order(3n, { types: ['Taken'] }));
    await counting().seek!({ epoch: 4n, starts: new Map([['in-0', offset(0)]]), reset: true });
    await counting().process(group(...log));
    expect(handled).toEqual([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
  });
});
