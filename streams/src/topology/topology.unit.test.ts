import { record, type SpoolError } from '@spool/schemas';
import { topologyDriver, type DriverOptions, type OutputRecord } from './driver.js';
import { avro, bytes, json, long, nullable, string, untyped } from './serde.js';
import type { StoredState } from './state.js';
import { topology, type Declare, type Topology } from './topology.js';
import type { Queryable } from './verbs.js';
import { hopping, tumbling, windowed } from './windows.js';

const text = { key: string, value: string };
const counted = { key: string, value: long };
type Feed = readonly [topic: string, key: string | null, value: string | null, timestamp?: number];

/** `key:value@timestamp`, a tombstone is `key:-`. */
const shown = (records: readonly OutputRecord<unknown, unknown>[]): string[] =>
  records.map(({ key, value, timestamp }) => `${show(key)}:${show(value)}@${timestamp}`);
const show = (value: unknown): string => (value === null ? '-' : typeof value === 'string' ? value : JSON.stringify(value));

const anyText = { key: nullable(string), value: nullable(string) };
/** Declares, feeds, and gives what `out` holds. Records without a time come one millisecond after the other, from 0 on. */
async function run(
  declare: (define: Declare) => void,
  feeds: readonly Feed[],
  out = text as { key: typeof string; value: never },
  options?: DriverOptions,
): Promise<string[]> {
  const driver = await topologyDriver(
    topology('app', (define) => declare(define)),
    options,
  );
  for (const [index, [topic, key, value, timestamp = index]] of feeds.entries()) {
    await driver.input(topic, anyText).send(key, value, { timestamp });
  }
  return shown(await driver.output('out', out as never).read());
}
const asCounts = counted as never;
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return `${(error as SpoolError).code}: ${(error as SpoolError).message}`;
  }
  return 'nothing was thrown';
};

describe('a stream', () => {
  it('maps, filters, flattens and rekeys', async () => {
    const made = await run(
      (define) =>
        define
          .stream('in', text)
          .filter((value) => value !== 'drop')
          .flatMap((value, key) => value.split(' ').map((word) => [key, word] as const))
          .mapValues((value) => value.toUpperCase())
          .map((value, key) => [`${key}!`, value])
          .selectKey((value, key) => `${key}${value.length}`)
          .flatMapValues((value) => [value, value.toLowerCase()])
          .to('out', text),
      [
        ['in', 'a', 'x yz'],
        ['in', 'b', 'drop'],
      ],
    );
    expect(made).toEqual(['a!1:X@0', 'a!1:x@0', 'a!2:YZ@0', 'a!2:yz@0']);
  });

  it('merges and peeks', async () => {
    const seen: string[] = [];
    const made = await run(
      (define) =>
        define
          .stream('one', text)
          .merge(define.stream('two', text))
          .peek((value) => void seen.push(value))
          .to('out', text),
      [
        ['one', 'a', '1'],
        ['two', 'a', '2'],
      ],
    );
    expect([made, seen]).toEqual([
      ['a:1@0', 'a:2@1'],
      ['1', '2'],
    ]);
  });

  it('splits: each record goes to the first branch that takes it, else to the rest', async () => {
    const made = await run(
      (define) => {
        const {
          long: longer,
          a,
          rest,
        } = define.stream('in', text).split({ long: (value) => value.length > 2, a: (value) => value.startsWith('a') });
        longer.mapValues((value) => `long ${value}`).to('out', text);
        a.mapValues((value) => `a ${value}`).to('out', text);
        rest.mapValues((value) => `rest ${value}`).to('out', text);
      },
      [
        ['in', 'k', 'abc'],
        ['in', 'k', 'ab'],
        ['in', 'k', 'x'],
      ],
    );
    expect(made).toEqual(['k:long abc@0', 'k:a ab@1', 'k:rest x@2']);
  });

  it('hands on headers and timestamps', async () => {
    const driver = await topologyDriver(topology('app', (define) => define.stream('in', text).to('out', text)));
    await driver.input('in', text).send('k', 'v', { timestamp: 7, headers: { trace: 'abc' } });
    expect(await driver.output('out', text).read()).toEqual([
      { key: 'k', value: 'v', timestamp: 7, headers: { trace: 'abc' }, partition: 0 },
    ]);
  });

  it('parks what its functions throw at, the key behind it too, and goes on with the others', async () => {
    const driver = await topologyDriver(
      topology('app', (define) =>
        define
          .stream('in', text)
          .mapValues((value) => {
            if (value === 'poison') throw new TypeError('no');
            return value;
          })
          .to('out', text),
      ),
    );
    const input = driver.input('in', text);
    for (const [key, value] of [
      ['a', 'poison'],
      ['b', '1'],
      ['a', '2'],
    ] as const) {
      await input.send(key, value);
    }
    expect(shown(await driver.output('out', text).read())).toEqual(['b:1@0']);
    expect(shown(await driver.output('dlq.app.0', text).read())).toEqual(['a:poison@0', 'a:2@0']);
  });

  it('parks a record without a key or value unless its type has null', async () => {
    const driver = await topologyDriver(
      topology('app', (define) => {
        define.stream('in', text).to('out', text);
        define.stream('nulls', anyText).to('out', anyText);
      }),
    );
    for (const topic of ['in', 'nulls']) {
      await driver.input(topic, anyText).send(null, 'v');
      await driver.input(topic, anyText).send('k', null);
    }
    expect(shown(await driver.output('out', text).read())).toEqual(['-:v@0', 'k:-@0']);
    const parked = await driver.output('dlq.app.0', text).read();
    expect(parked.map(({ headers }) => headers['dlq-code'])).toEqual(['RECORD_UNREADABLE', 'RECORD_UNREADABLE']);
  });
});

describe('an aggregate of a stream', () => {
  const feeds: Feed[] = [
    ['in', 'a', 'x'],
    ['in', 'b', 'y'],
    ['in', 'a', 'z'],
  ];
  it('counts by key, and gives each update', async () => {
    const made = await run(
      (define) => define.stream('in', text).groupByKey().count('counts').toStream().to('out', counted),
      feeds,
      asCounts,
    );
    expect(made).toEqual(['a:1@0', 'b:1@1', 'a:2@2']);
  });

  it('reduces: the first value stands for itself', async () => {
    const made = await run(
      (define) =>
        define
          .stream('in', text)
          .groupByKey()
          .reduce('joined', (all, value) => `${all}+${value}`)
          .toStream()
          .to('out', text),
      feeds,
    );
    expect(made).toEqual(['a:x@0', 'b:y@1', 'a:x+z@2']);
  });

  it('folds into another type; undefined deletes the row', async () => {
    const made = await run(
      (define) =>
        define
          .stream('in', text)
          .groupByKey()
          .aggregate('lengths', {
            initial: () => ({ n: 10 }),
            add: ({ n }, value) => (value === 'z' ? undefined : { n: n + value.length }),
            value: json<{ n: number }>(),
          })
          .mapValues(({ n }) => n)
          .toStream()
          .to('out', counted),
      [...feeds, ['in', 'a', 'xx']],
      asCounts,
    );
    expect(made).toEqual(['a:11@0', 'b:11@1', 'a:-@2', 'a:12@3']);
  });

  it('goes through a repartition topic when the key has changed', async () => {
    const app = topology('app', (define) =>
      define
        .stream('in', text)
        .groupBy((value) => value, string)
        .count('words')
        .toStream()
        .to('out', counted),
    );
    expect(app.describe().parts.map(({ consumer, sources, stores, sinks }) => ({ consumer, sources, stores, sinks }))).toEqual([
      { consumer: 'app.0', sources: ['in'], stores: [], sinks: ['app.words.repartition'] },
      { consumer: 'app.1', sources: ['app.words.repartition'], stores: ['words'], sinks: ['out'] },
    ]);
    const driver = await topologyDriver(app, { partitions: 4 });
    for (const [n, key] of ['k1', 'k2', 'k3', 'k4'].entries()) await driver.input('in', text).send(key, 'same', { timestamp: n });
    expect(shown(await driver.output('out', counted).read())).toEqual(['same:1@0', 'same:2@1', 'same:3@2', 'same:4@3']);
  });

  it('skips null keys and values, and counts them', async () => {
    const driver = await topologyDriver(
      topology('app', (define) => define.stream('in', anyText).groupByKey().count('counts').toStream().to('out', counted)),
    );
    const input = driver.input('in', anyText);
    await input.send(null, 'v');
    await input.send('k', null);
    await input.send('k', 'v');
    expect(shown(await driver.output('out', counted).read())).toEqual(['k:1@0']);
    expect(driver.dropped).toEqual({ skipped: 2, late: 0 });
  });

  it('bears the timestamp of the newest record that went into it', async () => {
    const made = await run(
      (define) => define.stream('in', text).groupByKey().count('counts').toStream().to('out', counted),
      [
        ['in', 'a', 'x', 50],
        ['in', 'a', 'x', 20],
      ],
      asCounts,
    );
    expect(made).toEqual(['a:1@50', 'a:2@50']);
  });

  it('is not changed by a function that changes what it is given', async () => {
    const made = await run(
      (define) => {
        const lists = define
          .stream('in', text)
          .groupByKey()
          .aggregate('lists', {
            initial: (): string[] => [],
            add: (list, value) => {
              list.push(value);
              if (value === 'bad') throw new Error('after the change');
              return list;
            },
            value: json<string[]>(),
          });
        lists
          .groupBy((list, key) => [key, list.length], counted)
          .reduce(
            'sums',
            (sum, n) => sum + n,
            (sum, n) => sum - n,
          )
          .toStream()
          .to('out', counted);
      },
      [
        ['in', 'a', 'x'],
        ['in', 'a', 'y'],
        ['in', 'a', 'z'],
      ],
      asCounts,
    );
    expect(made).toEqual(['a:1@0', 'a:2@1', 'a:3@2']);
  });

  it('expires by its TTL, with a tombstone', async () => {
    const driver = await topologyDriver(
      topology('app', (define) => define.stream('in', text).groupByKey().count('counts', { ttlMs: 1000 }).toStream().to('out', counted)),
    );
    await driver.input('in', text).send('a', '1');
    await driver.advance(600);
    await driver.input('in', text).send('a', '2');
    await driver.advance(999);
    expect(shown(await driver.output('out', counted).read())).toEqual(['a:1@0', 'a:2@600']);
    await driver.advance(1);
    expect(shown(await driver.output('out', counted).read())).toEqual(['a:-@1600']);
  });
});

describe('windows', () => {
  const ten = tumbling({ sizeMs: 10, graceMs: 5 });
  const byWindow = { key: windowed(string, { sizeMs: 10 }), value: long } as never;
  const windowOf = (key: string, start: number): string => JSON.stringify({ key, start, end: start + 10 });

  it('tumble: each record is in one; late ones count until the grace is over, then they are dropped and counted', async () => {
    const app = topology('app', (define) =>
      define
        .stream('in', text)
        .groupByKey()
        .windowedBy(ten)
        .count('counts')
        .toStream()
        .to('out', { key: windowed(string, ten), value: long }),
    );
    const driver = await topologyDriver(app);
    for (const timestamp of [1, 9, 10, 3, 14, 4, 15, 5]) await driver.input('in', text).send('k', 'v', { timestamp });
    expect(shown(await driver.output('out', byWindow as { key: never; value: never }).read())).toEqual([
      `${windowOf('k', 0)}:1@1`,
      `${windowOf('k', 0)}:2@9`,
      `${windowOf('k', 10)}:1@10`,
      `${windowOf('k', 0)}:3@9`,
      `${windowOf('k', 10)}:2@14`,
      `${windowOf('k', 0)}:4@9`,
      `${windowOf('k', 10)}:3@15`,
    ]);
    expect(driver.dropped.late).toBe(1);
  });

  it('hop: a record is in each that covers it', async () => {
    const made = await run(
      (define) =>
        define
          .stream('in', text)
          .groupByKey()
          .windowedBy(hopping({ sizeMs: 10, advanceMs: 4, graceMs: 100 }))
          .count('counts')
          .toStream()
          .map((value, { key, start }) => [`${key}${start}`, value ?? -1] as const)
          .to('out', counted),
      [
        ['in', 'k', 'v', 9],
        ['in', 'k', 'v', 12],
      ],
      asCounts,
    );
    expect(made).toEqual(['k0:1@9', 'k4:1@9', 'k8:1@9', 'k4:2@12', 'k8:2@12', 'k12:1@12']);
  });

  it('give their final result alone, once, when they close, if asked to', async () => {
    const app = topology('app', (define) => {
      const counts = define.stream('in', text).groupByKey().windowedBy(ten, { emit: 'final' }).count('counts');
      counts
        .toStream()
        .map((value, { key, start }) => [`${key}${start}`, value ?? -1] as const)
        .to('out', counted);
      return { counts };
    });
    const driver = await topologyDriver(app);
    const input = driver.input('in', text);
    for (const [key, timestamp] of [
      ['b', 1],
      ['a', 2],
      ['a', 14],
      ['a', 7],
    ] as const)
      await input.send(key, 'v', { timestamp });
    expect(await driver.output('out', counted).read()).toEqual([]);
    await input.send('c', 'v', { timestamp: 15 });
    await input.send('a', 'v', { timestamp: 3 });
    await input.send('c', 'v', { timestamp: 25 });
    expect(shown(await driver.output('out', counted).read())).toEqual(['a0:2@7', 'b0:1@1', 'a10:1@14', 'c10:1@15']);
    expect((await (await driver.store('counts')).range()).result).toEqual([
      { key: { key: 'c', start: 20, end: 30 }, value: 1, timestamp: 25 },
    ]);
  });

  it('can be read for a while after they have closed', async () => {
    const app = topology('app', (define) => ({
      counts: define.stream('in', text).groupByKey().windowedBy(ten, { keepMs: 20 }).count('counts'),
    }));
    const driver = await topologyDriver(app);
    const rows = async (): Promise<number[]> => (await (await driver.store('counts')).range()).result.map(({ key }) => key.start);
    for (const timestamp of [1, 16, 34]) await driver.input('in', text).send('k', 'v', { timestamp });
    expect(await rows()).toEqual([0, 10, 30]);
    await driver.input('in', text).send('k', 'v', { timestamp: 35 });
    expect(await rows()).toEqual([10, 30]);
  });

  it('close also when the record that opened them was undone', async () => {
    let fail = true;
    const app = topology('app', (define) =>
      define
        .stream('in', text)
        .groupByKey()
        .windowedBy(ten)
        .count('counts')
        .toStream()
        .map((value, { key }) => {
          if (fail) throw new Error('once');
          return [key, value ?? -1] as const;
        })
        .to('out', counted),
    );
    const driver = await topologyDriver(app);
    await driver.input('in', text).send('a', 'v', { timestamp: 1 });
    fail = false;
    await driver.input('in', text).send('b', 'v', { timestamp: 2 });
    await driver.input('in', text).send('b', 'v', { timestamp: 40 });
    expect(driver.dropped).toEqual({ skipped: 0, late: 0 });
    expect(shown(await driver.output('out', counted).read())).toEqual(['b:1@2', 'b:1@40']);
  });
});

describe('a table', () => {
  it('keeps the last value of each key; null deletes, and deleting nothing says nothing', async () => {
    const app = topology('app', (define) => {
      const users = define.table('users', text);
      users.toStream().to('out', text);
      return { users };
    });
    const driver = await topologyDriver(app);
    const input = driver.input('users', anyText);
    await input.send('a', '1');
    await input.send('b', null);
    await input.send('a', '2');
    await input.send('b', '3');
    await input.send('a', null);
    await input.send(null, '4');
    expect(shown(await driver.output('out', text).read())).toEqual(['a:1@0', 'a:2@0', 'b:3@0', 'a:-@0']);
    const users = await driver.store('users');
    expect([(await users.get('a')).result, (await users.get('b')).result, (await users.count()).result]).toEqual([
      undefined,
      { key: 'b', value: '3', timestamp: 0 },
      1,
    ]);
    expect((await users.get('b')).position).toEqual(new Map([['users-0', 6n]]));
    expect(driver.dropped.skipped).toBe(1);
  });

  it('is filtered: a row that no longer passes is deleted, one that never did says nothing', async () => {
    const made = await run(
      (define) =>
        define
          .table('in', text)
          .filter((value) => value.startsWith('y'))
          .mapValues((value) => value.toUpperCase())
          .toStream()
          .to('out', text),
      [
        ['in', 'a', 'no'],
        ['in', 'a', 'yes'],
        ['in', 'a', 'no'],
        ['in', 'a', 'never'],
        ['in', 'a', null],
      ],
    );
    expect(made).toEqual(['a:YES@1', 'a:-@2']);
  });

  it('is grouped by another key: the old value is taken back and the new one added', async () => {
    const made = await run(
      (define) =>
        define
          .table('in', text)
          .groupBy((city, person) => [city, person], text)
          .aggregate('byCity', {
            initial: () => 0,
            add: (n) => n + 1,
            subtract: (n) => n - 1,
            value: long,
          })
          .toStream()
          .to('out', counted),
      [
        ['in', 'ann', 'oslo'],
        ['in', 'bob', 'oslo'],
        ['in', 'ann', 'rome'],
        ['in', 'bob', 'oslo'],
        ['in', 'bob', null],
      ],
      asCounts,
    );
    expect(made).toEqual(['oslo:1@0', 'oslo:2@1', 'oslo:1@2', 'rome:1@2', 'oslo:1@3', 'oslo:0@4']);
  });

  it('is made of a stream, and of an updated view', async () => {
    const app = topology('app', (define) => {
      const latest = define.stream('in', text).toTable('latest');
      const lengths = latest.mapValues((value) => value.length).materialize('lengths', long);
      return { latest, lengths };
    });
    const driver = await topologyDriver(app);
    await driver.input('in', text).send('a', 'xyz');
    expect((await (await driver.store('lengths')).get('a')).result?.value).toBe(3);
    await driver.input('in', text).send('a', 'x');
    expect((await (await driver.store('lengths')).get('a')).result?.value).toBe(1);
  });
});

describe('a join', () => {
  const both = (kind: 'join' | 'leftJoin' | 'outerJoin', feeds: readonly Feed[]): Promise<string[]> =>
    run((define) => {
      const [left, right] = [define.table('left', text), define.table('right', text)];
      const show = (a: string | undefined, b: string | undefined): string => `${a ?? '?'}${b ?? '?'}`;
      const joined =
        kind === 'join' ? left.join(right, show) : kind === 'leftJoin' ? left.leftJoin(right, show) : left.outerJoin(right, show);
      joined.toStream().to('out', text);
    }, feeds);
  const updates: Feed[] = [
    ['left', 'k', 'a'],
    ['right', 'k', '1'],
    ['left', 'k', 'b'],
    ['left', 'k', null],
    ['right', 'k', null],
    ['right', 'k', '2'],
  ];

  it('of tables has a row where both have one', async () => {
    expect(await both('join', updates)).toEqual(['k:a1@1', 'k:b1@2', 'k:-@3']);
  });
  it('of tables, left, has a row where the left has one', async () => {
    expect(await both('leftJoin', updates)).toEqual(['k:a?@0', 'k:a1@1', 'k:b1@2', 'k:-@3']);
  });
  it('of tables, outer, has a row where either has one', async () => {
    expect(await both('outerJoin', updates)).toEqual(['k:a?@0', 'k:a1@1', 'k:b1@2', 'k:?1@3', 'k:-@4', 'k:?2@5']);
  });

  it('of a stream with a table sees the row as it stands; updates of the table say nothing', async () => {
    const feeds: Feed[] = [
      ['in', 'k', 'a'],
      ['names', 'k', 'N'],
      ['in', 'k', 'b'],
      ['in', null, 'c'],
      ['in', 'k', null],
      ['names', 'k', null],
      ['in', 'k', 'd'],
    ];
    const joined = (left: boolean): Promise<string[]> =>
      run((define) => {
        const [stream, names] = [define.stream('in', anyText), define.table('names', text)];
        if (left) stream.leftJoin(names, (value, name) => value + (name ?? '?')).to('out', anyText);
        else stream.join(names, (value, name) => value + name).to('out', text);
      }, feeds);
    expect(await joined(false)).toEqual(['k:bN@2']);
    expect(await joined(true)).toEqual(['k:a?@0', 'k:bN@2', '-:c?@3', 'k:d?@6']);
  });

  const streams = (left: boolean, feeds: readonly Feed[]): Promise<string[]> =>
    run((define) => {
      const [one, two] = [define.stream('one', text), define.stream('two', text)];
      const near = { beforeMs: 5, afterMs: 10, graceMs: 3 };
      const show = (a: string, b: string | undefined): string => a + (b ?? '?');
      (left ? one.leftJoinStream('near', two, near, show) : one.joinStream('near', two, near, show)).to('out', text);
    }, feeds);
  it('of streams pairs what is near in time, whichever comes first', async () => {
    const made = await streams(false, [
      ['one', 'k', 'a', 100],
      ['two', 'k', '1', 94],
      ['two', 'k', '2', 95],
      ['two', 'k', '3', 110],
      ['two', 'k', '4', 111],
      ['two', 'other', '5', 100],
      ['one', 'k', 'b', 106],
      ['one', 'k', 'c', 97],
      ['one', 'k', 'late', 97],
    ]);
    expect(made).toEqual(['k:a2@100', 'k:a3@110', 'k:b3@110', 'k:b4@111']);
  });
  it('of streams, left, gives what stayed alone when its window has closed', async () => {
    const made = await streams(true, [
      ['one', 'k', 'a', 100],
      ['one', 'k', 'b', 101],
      ['two', 'k', '1', 111],
      ['two', 'x', '2', 113],
      ['two', 'x', '3', 114],
      ['two', 'x', '4', 200],
    ]);
    expect(made).toEqual(['k:b1@111', 'k:a?@100']);
  });
  it('of streams keeps apart keys that begin alike, and records of the same key and time', async () => {
    const made = await streams(false, [
      ['one', 'a', 'x', 10],
      ['one', 'a', 'y', 10],
      ['one', 'a/0', 'z', 10],
      ['one', 'a/#', 'z', 10],
      ['two', 'a', '1', 10],
    ]);
    expect(made).toEqual(['a:x1@10', 'a:y1@10']);
  });
  it('of streams forgets what can no longer be joined', async () => {
    const app = topology('app', (define) => {
      const near = { beforeMs: 5, afterMs: 5, graceMs: 0 };
      define
        .stream('one', text)
        .joinStream('near', define.stream('two', text), near, (a, b) => a + b)
        .to('out', text);
    });
    // The stores of a join cannot be asked from outside; here they are read as the rows of a table.
    const plain = { ttlMs: undefined };
    const keys = (): Promise<never> => Promise.resolve({ toRow: String, fromRow: (row: string) => row, bytes: Buffer.from } as never);
    const stored = ['left', 'right'].map((side) => [
      side,
      { store: { ...plain, name: `near.${side}` }, value: untyped(string), timestamped: true, keys },
    ]) as [string, StoredState][];
    const driver = await topologyDriver({ ...app, queried: new Map(stored) } as unknown as Topology<
      Record<'left', Queryable<string, string>>
    >);
    const left = await driver.store('left');
    for (const timestamp of [0, 500, 1005]) await driver.input('one', text).send('k', 'v', { timestamp });
    expect((await left.count()).result).toBe(3 + 2);
    await driver.input('two', text).send('k', 'v', { timestamp: 1006 });
    expect((await left.count()).result).toBe(1 + 1);
  });

  it('goes through a repartition topic on the side whose key has changed', async () => {
    const app = topology('app', (define) =>
      define
        .stream('orders', text)
        .selectKey((value) => value)
        .join(define.table('users', text), (order, user) => `${order}/${user}`, { name: 'byUser', ...text })
        .to('out', text),
    );
    const driver = await topologyDriver(app, { partitions: 3 });
    for (const user of ['u1', 'u2', 'u3']) await driver.input('users', text).send(user, user.toUpperCase());
    for (const n of [1, 2, 3]) await driver.input('orders', text).send(`o${n}`, `u${n}`);
    expect(shown(await driver.output('out', text).read())).toEqual(['u1:u1/U1@0', 'u2:u2/U2@0', 'u3:u3/U3@0']);
  });
});

describe('a processor', () => {
  it('has stores, forwards, and sets timers on both clocks', async () => {
    const app = topology('app', (define) => {
      const seen = define.store('seen', { value: json<{ n: number }>() });
      define
        .stream('in', text)
        .process('watch', {
          stores: { seen },
          output: text,
          handle({ key, value, timestamp, position }, context) {
            const n = (context.store('seen').get(key)?.n ?? 0) + 1;
            context.store('seen').put(key, { n });
            if (value === 'cancel') context.cancel('idle', key);
            else context.schedule({ name: 'idle', key, clock: 'wall', at: context.now + 100 });
            context.schedule({ name: 'over', key, clock: 'stream', at: timestamp + 50 });
            context.forward(key, `${value}#${n} at ${position.topic}-${position.partition}@${position.offset}`);
          },
          onTimer({ name, key }, context) {
            context.forward(key, `${name} after ${context.store('seen').get(key)?.n}`);
          },
        })
        .to('out', text);
      return { seen };
    });
    const driver = await topologyDriver(app, { startAt: 1000 });
    const [input, output] = [driver.input('in', text), driver.output('out', text)];
    await input.send('a', 'x', { timestamp: 0 });
    await input.send('a', 'y', { timestamp: 10 });
    await driver.advance(99);
    expect(shown(await output.read())).toEqual(['a:x#1 at in-0@0@0', 'a:y#2 at in-0@1@10']);
    await driver.advance(1);
    expect(shown(await output.read())).toEqual(['a:idle after 2@1100']);
    await input.send('b', 'cancel', { timestamp: 60 });
    await driver.advance(1000);
    expect(shown(await output.read())).toEqual(['b:cancel#1 at in-0@2@60', 'a:over after 2@60']);
    expect((await (await driver.store('seen')).range()).result).toEqual([
      { key: 'a', value: { n: 2 }, timestamp: undefined },
      { key: 'b', value: { n: 1 }, timestamp: undefined },
    ]);
  });

  it('that gives a promise is refused, record by record', async () => {
    const app = topology('app', (define) => {
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- what is tested
      define.stream('in', text).process('slow', { handle: async () => Promise.resolve() });
    });
    const driver = await topologyDriver(app);
    await driver.input('in', text).send('a', 'x');
    expect((await driver.output('dlq.app.0', text).read())[0]?.headers['dlq-message']).toContain('synchronous');
  });

  it('shares a store with another: both are one part', () => {
    const app = topology('app', (define) => {
      const shared = define.store('shared', { value: string });
      define.stream('a', text).process('one', { stores: { shared }, handle: () => undefined });
      define.stream('b', text).process('two', { stores: { shared }, handle: () => undefined });
      define.stream('c', text).to('out', text);
    });
    expect(app.describe().parts.map(({ sources }) => sources)).toEqual([['a', 'b'], ['c']]);
  });
});

describe('serdes', () => {
  it('write longs as Kafka does, and refuse what is none', () => {
    for (const value of [0, 1, -1, 2 ** 32, -(2 ** 32) - 7, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
      expect(long.encode(value).readBigInt64BE()).toBe(BigInt(value));
      expect(long.decode(long.encode(value))).toBe(value);
    }
    expect(codeOf(() => long.encode(1.5))).toContain('INVALID_PAYLOAD');
    expect(codeOf(() => long.decode(Buffer.from('7fffffffffffffff', 'hex')))).toContain('RECORD_UNREADABLE');
    expect(codeOf(() => long.decode(Buffer.alloc(4)))).toContain('RECORD_UNREADABLE');
    expect(codeOf(() => json().decode(Buffer.from('{')))).toContain('RECORD_UNREADABLE');
  });

  it('by contract work for topics, repartition topics and stores', async () => {
    const Order = record('acme.Order', { user: 'string', cents: 'long' });
    const orders = avro<{ user: string; cents: number }>(Order);
    const app = topology('app', (define) => {
      const last = define
        .stream('orders', { key: string, value: orders })
        .groupBy((order) => order.user, string)
        .reduce('sums', (sum, { cents }) => ({ ...sum, cents: sum.cents + cents }));
      last.toStream().to('out', { key: string, value: orders });
      return { last };
    });
    const driver = await topologyDriver(app);
    const input = driver.input('orders', { key: string, value: orders });
    await input.send('1', { user: 'ann', cents: 5 });
    await input.send('2', { user: 'ann', cents: 7 });
    expect((await driver.output('out', { key: string, value: orders }).read()).map(({ value }) => value)).toEqual([
      { user: 'ann', cents: 5 },
      { user: 'ann', cents: 12 },
    ]);
    expect((await (await driver.store('last')).get('ann')).result?.value.cents).toBe(12);
  });

  it('of bytes and longs are keys of stores, in their order', async () => {
    const app = topology('app', (define) => ({
      byLong: define.table('longs', { key: long, value: string }),
      byBytes: define.table('bytes', { key: bytes, value: string }),
    }));
    const driver = await topologyDriver(app);
    for (const n of [300, 2, 70_000]) await driver.input('longs', { key: long, value: string }).send(n, String(n));
    for (const hex of ['00ff', '00', 'ff']) await driver.input('bytes', { key: bytes, value: string }).send(Buffer.from(hex, 'hex'), hex);
    const longs = await driver.store('byLong');
    expect((await longs.range({ from: 3 })).result.map(({ key }) => key)).toEqual([300, 70_000]);
    expect((await (await driver.store('byBytes')).range()).result.map(({ key }) => key.toString('hex'))).toEqual(['00', '00ff', 'ff']);
  });

  it('park a key that no store can hold', async () => {
    const driver = await topologyDriver(topology('app', (define) => void define.table('in', text)));
    await driver.input('in', text).send('x'.repeat(3000), 'v');
    await driver.input('in', text).send('a\0b', 'v');
    const codes = (await driver.output('dlq.app.0', text).read()).map(({ headers }) => headers['dlq-code']);
    expect(codes).toEqual(['RECORD_TOO_LARGE', 'INVALID_PAYLOAD']);
  });
});

describe('a declaration', () => {
  it('is refused with what is wrong in it', async () => {
    const declared = (declare: (define: Declare) => void): string => codeOf(() => topology('app', (define) => declare(define)));
    expect(declared(() => undefined)).toContain('needs a source');
    expect(
      declared(
        (define) =>
          void define
            .stream('in', text)
            .selectKey(() => 'k')
            .groupByKey()
            .count('n'),
      ),
    ).toContain('serde of the key');
    expect(declared((define) => void (define.table('in', text), define.table('in', text)))).toContain('named in');
    expect(declared((define) => void define.stream('in', text).groupByKey().count('a/b'))).toContain("cannot be named 'a/b'");
    expect(codeOf(() => topology('app', (define) => ({ view: define.table('in', text).mapValues((v) => v) as never })))).toContain(
      'materialize',
    );
    expect(codeOf(() => tumbling({ sizeMs: 0, graceMs: 0 }))).toContain('INVALID_CONFIG');
    expect(codeOf(() => hopping({ sizeMs: 5, advanceMs: 6, graceMs: 0 }))).toContain('advance <= size');
    const joined = topology('app', (define) => {
      define.table('a', text).join(define.table('b', text), (a) => a);
    });
    await expect(topologyDriver(joined, { topics: { a: 3, b: 4 } })).rejects.toThrow(
      'a (3) and b (4) meet by key and need the same number of partitions',
    );
  });

  it('says what it is', () => {
    const app = topology('app', (define) => {
      define.stream('in', text).groupByKey().count('counts').toStream().to('out', counted);
    });
    expect(app.toString()).toBe(
      [
        'topology app',
        '  app.0 (stores: counts)',
        '    source-0 [source] in',
        '    counts [count] <- source-0',
        '    toStream-2 [toStream] <- counts',
        '    sink-3 [sink] out <- toStream-2',
      ].join('\n'),
    );
  });

  it('does not compile where types do not meet', () => {
    const wrong = (define: Declare): void => {
      const stream = define.stream('in', text);
      const numbers = define.table('numbers', { key: long, value: string });
      const seen = define.store('seen', { value: long });
      // @ts-expect-error a stream of text is not written as longs
      stream.to('out', counted);
      // @ts-expect-error keys of text do not meet keys that are longs
      stream.join(numbers, (value) => value);
      // @ts-expect-error nor do those of tables
      define.table('texts', text).join(numbers, (value) => value);
      const windows = stream.groupByKey().windowedBy(tumbling({ sizeMs: 1, graceMs: 0 }));
      const counts = windows.count('n');
      // @ts-expect-error nor those of windows
      stream.join(counts, (value) => value);
      // @ts-expect-error the aggregate is not of the type of its serde
      stream.groupByKey().aggregate('a', { initial: () => 'text', add: (a: string) => a, value: long });
      stream.process('p', {
        stores: { seen },
        output: counted,
        handle(_record, context) {
          // @ts-expect-error a store that was not declared
          context.store('unknown');
          // @ts-expect-error a value that the store does not hold
          context.store('seen').put('k', 'text');
          // @ts-expect-error a value that the output does not take
          context.forward('k', 'text');
        },
      });
      // @ts-expect-error a view stands in no store
      topology('x', (inner) => ({ view: inner.table('in', text).mapValues((value) => value) }));
      // @ts-expect-error null is part of the type, and of no text
      define.stream('nulls', anyText).mapValues((value) => value.length);
    };
    expect(wrong).toBeInstanceOf(Function);
  });
});
