import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { topologyDriver, type DriverOptions } from './driver.js';
import { avro, json, long, string, windowed, type Windowed } from './serde.js';
import { topology, type TopologyBuilder } from './topology.js';
import { hopping, tumbling, windowRows } from './windows.js';

const text = { key: string, value: string };
/** `[key, value, timestamp]` in, `key=value` out. */
async function driven(declare: (builder: TopologyBuilder) => void, options?: DriverOptions) {
  const driver = await topologyDriver(topology('t', declare), options);
  return {
    ...driver,
    async send(topic: string, ...records: [key: string | null, value: string | null, timestamp?: number][]): Promise<void> {
      for (const [key, value, timestamp = 0] of records) await driver.input(topic, string, string)({ key, value, timestamp });
    },
    async read(topic = 'out'): Promise<string[]> {
      return (await driver.output(topic, string, string)).map(({ key, value }) => `${key}=${value ?? 'gone'}`);
    },
  };
}
const said = <K>(of: Windowed<K>): string => `${String(of.key)}@${of.start}-${of.end}`;

describe('records', () => {
  it('are mapped, filtered, split up, looked at and written', async () => {
    const seen: string[] = [];
    const t = await driven(({ stream }) =>
      stream('in', text)
        .filter((key) => key !== 'x')
        .flatMapValues((line) => line.split(' '))
        .mapValues((word, key) => `${key}:${word}`)
        .peek((_, word) => seen.push(word))
        .map((key, word) => [word, key.toUpperCase()])
        .to('out', text),
    );
    await t.send('in', ['a', 'b c'], ['x', 'd'], ['e', 'f']);
    expect(await t.read()).toEqual(['a:b=A', 'a:c=A', 'e:f=E']);
    expect(seen).toEqual(['a:b', 'a:c', 'e:f']);
  });

  it('go to the first branch that takes them, and come together again', async () => {
    const t = await driven(({ stream }) => {
      const { short, long: other } = stream('in', text).branch({
        short: (_, value) => value.length < 3,
        long: (_, value) => value.length < 9,
      });
      short
        .mapValues((value) => `s${value}`)
        .merge(other.mapValues((value) => `l${value}`))
        .to('out', text);
    });
    await t.send('in', ['a', 'x'], ['b', 'xxxx'], ['c', 'xxxxxxxxxxxx']);
    expect(await t.read()).toEqual(['a=sx', 'b=lxxxx']);
  });

  it('keep their time and headers on the way', async () => {
    const { input, output } = await topologyDriver(
      topology('t', ({ stream }) =>
        stream('in', text)
          .mapValues((value, _, { headers }) => value + String(headers['h']))
          .to('out', text),
      ),
    );
    await input('in', string, string)({ key: 'a', value: 'v', timestamp: 77, headers: { h: '1' } });
    expect(await output('out', string, string)).toMatchObject([{ key: 'a', value: 'v1', timestamp: 77, headers: { h: '1' } }]);
  });

  it('without a value are passed over, and counted; without a key they are not grouped', async () => {
    const t = await driven(({ stream }) => stream('in', text).groupByKey().count().toStream().mapValues(String).to('out', text));
    await t.send('in', ['a', null], [null, 'v'], ['a', 'v']);
    expect([await t.read(), t.dropped]).toEqual([['a=1'], { late: 0, nulls: 2 }]);
  });
});

describe('groups', () => {
  it('are counted, reduced and aggregated, with an output for each change', async () => {
    const t = await driven(({ stream }) => {
      const groups = stream('in', text).groupByKey();
      groups.count({ name: 'counts' }).toStream().mapValues(String).to('counts', text);
      groups
        .reduce((a, b) => a + b)
        .toStream()
        .to('reduced', text);
      groups
        .aggregate(
          () => 0,
          (sum, value) => (sum + value.length > 5 ? undefined : sum + value.length),
          { value: json<number>() },
        )
        .toStream()
        .mapValues((sum) => (sum === undefined ? undefined : String(sum)))
        .to('sums', text);
    });
    await t.send('in', ['a', 'xx'], ['b', 'y'], ['a', 'zzz'], ['a', 'w']);
    expect(await t.read('counts')).toEqual(['a=1', 'b=1', 'a=2', 'a=3']);
    expect(await t.read('reduced')).toEqual(['a=xx', 'b=y', 'a=xxzzz', 'a=xxzzzw']);
    expect(await t.read('sums')).toEqual(['a=2', 'b=1', 'a=5', 'a=gone']);
    expect(t.rows('counts', string)).toEqual([
      ['a', 3],
      ['b', 1],
    ]);
  });

  it('by another key go through a topic, so that they meet whatever the partition', async () => {
    const t = await driven(
      ({ stream }) =>
        stream('in', text)
          .groupBy((_, value) => value, text)
          .count({ name: 'counts' })
          .toStream()
          .mapValues(String)
          .to('out', text),
      { partitions: 4 },
    );
    await t.send('in', ['a', 'x'], ['b', 'x'], ['c', 'y'], ['d', 'x']);
    expect(await t.read()).toEqual(['x=1', 'x=2', 'y=1', 'x=3']);
    expect(await t.read('t.repartition-2.repartition')).toEqual(
      ['x=a', 'x=b', 'y=c', 'x=d'].map((_, index) => ['x=x', 'x=x', 'y=y', 'x=x'][index]),
    );
  });

  it('after a map need to be told how keys and values are written', () => {
    const declare = ({ stream }: TopologyBuilder) =>
      stream('in', text)
        .map((key, value) => [value, key])
        .groupByKey()
        .count();
    expect(() => topology('t', declare)).toThrow('groupByKey after map-1 needs the serde of its key and value');
  });
});

describe('windows', () => {
  const counted =
    (windows = tumbling(10)) =>
    (builder: TopologyBuilder) =>
      builder
        .stream('in', text)
        .groupByKey()
        .windowedBy(windows)
        .count({ name: 'counts' })
        .toStream()
        .map((of, count) => [said(of), String(count)])
        .to('out', text);

  it('that tumble count each record once', async () => {
    const t = await driven(counted());
    await t.send('in', ['a', 'v', 1], ['a', 'v', 9], ['b', 'v', 9], ['a', 'v', 10]);
    expect(await t.read()).toEqual(['a@0-10=1', 'a@0-10=2', 'b@0-10=1', 'a@10-20=1']);
  });

  it('that hop count a record in each that holds it', async () => {
    const t = await driven(counted(hopping(10, 5, { graceMs: 20 })));
    await t.send('in', ['a', 'v', 7], ['a', 'v', 12]);
    expect(await t.read()).toEqual(['a@0-10=1', 'a@5-15=1', 'a@5-15=2', 'a@10-20=1']);
  });

  it('take late records within their grace, and drop and count those behind it', async () => {
    const t = await driven(counted(tumbling(10, { graceMs: 5 })));
    await t.send('in', ['a', 'v', 3], ['a', 'v', 14], ['a', 'v', 4], ['b', 'v', 15], ['a', 'v', 5]);
    expect([await t.read(), t.dropped.late]).toEqual([['a@0-10=1', 'a@10-20=1', 'a@0-10=2', 'b@10-20=1'], 1]);
  });

  it('go from the store when they cannot be read any more', async () => {
    const t = await driven(counted(tumbling(10, { graceMs: 0, retentionMs: 20 })));
    await t.send('in', ['a', 'v', 3], ['a', 'v', 29]);
    expect(t.rows('counts', windowRows(string, 10)).map(([of, count]) => `${said(of)}=${String(count)}`)).toEqual([
      'a@0-10=1',
      'a@20-30=1',
    ]);
    await t.send('in', ['b', 'v', 30]);
    expect(t.rows('counts', windowRows(string, 10)).map(([of]) => said(of))).toEqual(['a@20-30', 'b@30-40']);
  });

  it('give their final results once, when they have closed, in the order of their times', async () => {
    const t = await driven(({ stream }) =>
      stream('in', text)
        .groupByKey()
        .windowedBy(tumbling(10, { graceMs: 5 }))
        .count()
        .finalResults()
        .map((of, count) => [said(of), String(count)])
        .to('out', text),
    );
    await t.send('in', ['b', 'v', 3], ['a', 'v', 4], ['a', 'v', 12], ['a', 'v', 2]);
    expect(await t.read()).toEqual([]);
    await t.send('in', ['c', 'v', 15]);
    expect(await t.read()).toEqual(['a@0-10=2', 'b@0-10=1']);
    await t.send('in', ['c', 'v', 99]);
    expect(await t.read()).toEqual(['a@10-20=1', 'c@10-20=1']);
  });

  it('are written as Kafka Streams writes them', () => {
    const bytes = windowed(string, 10).encode({ key: 'k', start: 256, end: 266 });
    expect(bytes.toString('hex')).toBe('6b0000000000000100');
    expect(windowed(string, 10).decode(bytes)).toEqual({ key: 'k', start: 256, end: 266 });
    expect(() => tumbling(0)).toThrow('0 < advance <= size');
  });
});

describe('tables', () => {
  it('hold the last value of each key, and are joined with the records that come later', async () => {
    const t = await driven(({ stream, table }) => {
      const users = table('users', text);
      stream('in', text)
        .join(users, (value, user, key) => `${key}:${value}:${user}`)
        .to('out', text);
      stream('other', text)
        .leftJoin(users, (value, user) => `${value}:${user ?? 'nobody'}`)
        .to('left', text);
    });
    await t.send('in', ['a', '1']);
    await t.send('users', ['a', 'Ann'], ['b', 'Bob']);
    await t.send('in', ['a', '2']);
    await t.send('users', ['a', 'Eve'], ['b', null]);
    await t.send('in', ['a', '3'], ['b', '4'], [null, '5']);
    await t.send('other', ['b', '6'], ['a', '7']);
    expect([await t.read(), await t.read('left')]).toEqual([
      ['a=a:2:Ann', 'a=a:3:Eve'],
      ['b=6:nobody', 'a=7:Eve'],
    ]);
  });

  const joined = (how: 'join' | 'leftJoin' | 'outerJoin') =>
    driven(({ table }) => {
      const right = table('right', text);
      table('left', text)
        [how](right, (a: string | undefined, b: string | undefined) => `${a ?? '-'}${b ?? '-'}`)
        .toStream()
        .to('out', text);
    });
  it.each([
    ['join', ['k=A1', 'k=A2', 'k=gone']],
    ['leftJoin', ['k=A-', 'k=A1', 'k=A2', 'k=gone']],
    ['outerJoin', ['k=A-', 'k=A1', 'k=A2', 'k=-2', 'k=gone']],
  ] as const)('are joined with each other by %s, from either side', async (how, results) => {
    const t = await joined(how);
    await t.send('left', ['k', 'A']);
    await t.send('right', ['k', '1'], ['k', '2']);
    await t.send('left', ['k', null]);
    await t.send('right', ['k', null]);
    expect(await t.read()).toEqual(results);
  });

  it('are filtered and mapped with their deletions', async () => {
    const t = await driven(({ table }) =>
      table('in', text)
        .filter((_, value) => value !== 'no')
        .mapValues((value) => `${value}!`)
        .toStream()
        .to('out', text),
    );
    await t.send('in', ['a', 'yes'], ['b', 'no'], ['a', 'no'], ['a', 'again'], ['a', null]);
    expect(await t.read()).toEqual(['a=yes!', 'a=gone', 'a=again!', 'a=gone']);
  });

  it('grouped by another key take a changed row out of its old group', async () => {
    const t = await driven(({ table }) =>
      table('in', text)
        .groupBy((key, value) => [value, key], { key: string, value: string, name: 'by-city' })
        .aggregate(
          () => '',
          (all, key) => all + key,
          (all, key) => all.replace(key, '') || undefined,
          { name: 'cities', value: string },
        )
        .toStream()
        .to('out', text),
    );
    await t.send('in', ['a', 'Rome'], ['b', 'Rome'], ['a', 'Oslo'], ['b', null]);
    expect(await t.read()).toEqual(['Rome=a', 'Rome=ab', 'Rome=b', 'Oslo=a', 'Rome=gone']);
  });

  it('are made of streams', async () => {
    const t = await driven(({ stream }) => {
      const rows = stream('in', text)
        .selectKey((_, value) => value.slice(0, 1))
        .toTable({ ...text, name: 'rows' });
      rows.toStream().to('out', text);
    });
    await t.send('in', ['x', 'a1'], ['y', 'a2']);
    expect([await t.read(), t.rows('rows', string)]).toEqual([['a=a1', 'a=a2'], [['a', 'a2']]]);
  });
});

describe('processors', () => {
  it('have stores, timers of both clocks, and send on what and when they like', async () => {
    const t = await driven(({ stream }) =>
      stream('in', text)
        .process({
          ...text,
          name: 'watch',
          stores: { seen: { key: string, value: long } },
          handle(key, value, { stores, schedule, timestamp, now, forward }) {
            const count = (stores.seen.get(key) ?? 0) + 1;
            stores.seen.put(key, count);
            schedule({ name: 'quiet', key, clock: 'wall', at: now + 100 });
            schedule({ name: 'later', key, clock: 'stream', at: timestamp + 10 });
            forward(key, `${value}${count}`);
          },
          onTimer({ name, key }, { forward, stores, now }) {
            forward(key, `${name} at ${now}, ${stores.seen.get(key) ?? 0} seen`);
          },
        })
        .to('out', text),
    );
    await t.send('in', ['a', 'v', 1], ['b', 'v', 11]);
    expect(await t.read()).toEqual(['a=v1', 'b=v1', 'a=later at 0, 1 seen']);
    await t.advance(99);
    await t.send('in', ['b', 'v', 12]);
    await t.advance(101);
    expect(await t.read()).toEqual(['b=v2', 'a=quiet at 100, 1 seen', 'b=quiet at 199, 2 seen']);
  });

  it('may wait for something, and order is kept', async () => {
    const t = await driven(({ stream }) =>
      stream('in', text)
        .process({
          ...text,
          name: 'slow',
          async handle(key, value, { forward }) {
            await new Promise((resolve) => setImmediate(resolve));
            forward(key, value);
          },
        })
        .groupByKey(text)
        .reduce((a, b) => a + b)
        .toStream()
        .to('out', text),
    );
    await t.send('in', ['a', '1'], ['a', '2'], ['a', '3']);
    expect(await t.read()).toEqual(['a=1', 'a=12', 'a=123']);
  });

  it('lose rows with a TTL, and are told of it', async () => {
    const t = await driven(({ stream }) =>
      stream('in', text)
        .process({
          ...text,
          name: 'sessions',
          stores: { sessions: { key: string, value: string, ttlMs: 50 } },
          handle: (key, value, { stores }) => stores.sessions.put(key, value),
          onExpired: (_, key, value, { forward }) => forward(key, `${String(value)} expired`),
        })
        .to('out', text),
    );
    await t.send('in', ['a', '1']);
    await t.advance(49);
    expect(t.rows('sessions', string)).toEqual([['a', '1']]);
    await t.advance(1);
    expect([await t.read(), t.rows('sessions', string)]).toEqual([['a=1 expired'], []]);
  });
});

describe('a topology', () => {
  it('takes Avro by contract', async () => {
    const Order = record('shop.Order', { amount: 'long' });
    const codec = createCodec({ registry: createMemoryRegistry() });
    const { input, output } = await topologyDriver(
      topology('t', ({ stream }) =>
        stream('in', { key: string, value: avro(Order) })
          .groupByKey()
          .aggregate(
            () => ({ amount: 0 }),
            (sum, { amount }) => ({ amount: sum.amount + amount }),
            { value: avro(Order) },
          )
          .toStream()
          .to('out', { key: string, value: avro(Order) }),
      ),
      { codec },
    );
    const serde = await avro(Order).open(codec, 'in');
    for (const amount of [1, 2]) await input('in', string, serde)({ key: 'a', value: { amount } });
    expect((await output('out', string, serde)).map(({ value }) => value)).toEqual([{ amount: 1 }, { amount: 3 }]);
  });

  it('describes itself by the parts that run apart', () => {
    const t = topology('words', ({ stream, table }) => {
      const stop = table('stop', { ...text, name: 'stop-words' });
      const words = stream('lines', text)
        .flatMapValues((line) => line.split(' '))
        .selectKey((_, word) => word);
      words
        .leftJoin(stop, (word, row) => (row === undefined ? word : ''), { ...text, name: 'words' })
        .groupByKey(text)
        .count({ name: 'counts' });
    });
    expect(t.describe()).toBe(`part 0
  stop-words-source (table) < stop -> stop-words
  stop-words (table) [stop-words]
  words-source (repartition) < words.repartition -> left-join-7
  left-join-7 -> counts
  counts (count) [counts]
part 1
  stream-2 < lines -> flat-map-values-3
  flat-map-values-3 -> select-key-4
  select-key-4 -> words-sink
  words-sink (repartition)`);
  });

  it('refuses two nodes of one name, and one topic read twice', () => {
    const twice = ({ stream }: TopologyBuilder) => (stream('in', text), stream('in', text));
    expect(() => topology('t', twice)).toThrow('reads in twice');
    const same = ({ stream }: TopologyBuilder) => (stream('a', { ...text, name: 'x' }), stream('b', { ...text, name: 'x' }));
    expect(() => topology('t', same)).toThrow('two nodes named x');
  });

  it('does not compile where types do not meet', () => {
    topology('t', ({ stream, table }) => {
      const numbers = table('numbers', { key: long, value: string });
      // @ts-expect-error -- keys of different types
      stream('in', text).join(numbers, (a) => a);
      // @ts-expect-error -- a serde of another type
      stream('other', text).to('out', { key: string, value: long });
      stream('third', text).process({
        name: 'p',
        stores: { known: text },
        handle(key, value, { stores }) {
          stores.known.put(key, value);
          // @ts-expect-error -- no such store
          expect(stores.other).toBeUndefined();
        },
      });
    });
  });
});
