import { testKafka } from '@spool/embedded';
import { json, long, nullable, string, type KeyValue } from '../serde.js';
import { topology, type Declare } from '../topology.js';
import { hopping, tumbling, windowed } from '../windows.js';
import { openStage, type Feed, type Stage } from './stage.js';

/** What Kafka Streams documents of its verbs, on a real broker. Written from the documentation; each is named after what it shows. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage(testKafka());
});
afterEach(() => stage.clear());
afterAll(() => stage[Symbol.asyncDispose]());

const words = { key: string, value: string };
const counts = { key: string, value: long };
const nulls = { key: nullable(string), value: nullable(string) };

interface Scenario {
  readonly partitions?: number;
  /** Topics besides `out`. */
  readonly topics?: readonly string[];
  readonly declare: (define: Declare, topic: (name: string) => string) => void;
  /** Each list is handled before the next is sent. */
  readonly feeds: readonly (readonly Feed[])[];
}
/** Runs it and gives what `out` holds, and what was passed over. */
async function play<K, V>({ partitions = 1, topics = ['in'], declare, feeds }: Scenario, out: KeyValue<K, V>) {
  const name = stage.name();
  const topic = (of: string): string => `${name}.${of}`;
  await stage.topics(partitions, ...[...topics, 'out'].map(topic));
  const running = await stage.run(topology(name, (define) => declare(define, topic)));
  for (const each of feeds) {
    await stage.send(each.map(([of, ...rest]) => [topic(of), ...rest]));
    await running.caughtUp();
  }
  return { shown: await stage.shown(topic('out'), out), dropped: { ...running.dropped }, name };
}
const one = (...feeds: Feed[]): Feed[][] => feeds.map((feed) => [feed]);
const pair = (a: string | undefined, b: string | undefined): string => `${a ?? '?'}${b ?? '?'}`;

describe('stateless verbs', () => {
  it('a filter keeps, flatMap makes none or many, and order by key stays', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .filter((value) => value !== 'drop')
            .flatMapValues((value) => value.split(' '))
            .to(topic('out'), words),
        feeds: [
          [
            ['in', 'a', 'x y', 1],
            ['in', 'a', 'drop', 2],
            ['in', 'a', 'z', 3],
          ],
        ],
      },
      words,
    );
    expect(shown).toEqual(['a:x@1', 'a:y@1', 'a:z@3']);
  });

  it('a split gives each record to the first branch that takes it', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) => {
          const { low, rest } = define.stream(topic('in'), words).split({ low: (value) => value < 'm' });
          low.mapValues((value) => `low ${value}`).to(topic('out'), words);
          rest.mapValues((value) => `high ${value}`).to(topic('out'), words);
        },
        feeds: [
          [
            ['in', 'k', 'a', 1],
            ['in', 'k', 'z', 2],
          ],
        ],
      },
      words,
    );
    expect(shown).toEqual(['k:low a@1', 'k:high z@2']);
  });

  it('a merge has the records of both', async () => {
    const { shown } = await play(
      {
        topics: ['one', 'two'],
        declare: (define, topic) =>
          define
            .stream(topic('one'), words)
            .merge(define.stream(topic('two'), words))
            .to(topic('out'), words),
        feeds: one(['one', 'a', '1', 1], ['two', 'a', '2', 2]),
      },
      words,
    );
    expect(shown).toEqual(['a:1@1', 'a:2@2']);
  });

  it('null keys and values pass through what has no state', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) => define.stream(topic('in'), nulls).to(topic('out'), nulls),
        feeds: [
          [
            ['in', null, 'v', 1],
            ['in', 'k', null, 2],
          ],
        ],
      },
      words,
    );
    expect(shown).toEqual(['-:v@1', 'k:-@2']);
  });
});

describe('aggregates', () => {
  const feeds: Feed[][] = [
    [
      ['in', 'a', 'x', 1],
      ['in', 'b', 'y', 2],
      ['in', 'a', 'z', 3],
    ],
  ];
  it('a count gives each update', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) => define.stream(topic('in'), words).groupByKey().count('counts').toStream().to(topic('out'), counts),
        feeds,
      },
      counts,
    );
    expect(shown).toEqual(['a:1@1', 'b:1@2', 'a:2@3']);
  });

  it('a reduce begins with the first value', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .groupByKey()
            .reduce('all', (all, value) => all + value)
            .toStream()
            .to(topic('out'), words),
        feeds,
      },
      words,
    );
    expect(shown).toEqual(['a:x@1', 'b:y@2', 'a:xz@3']);
  });

  it('an aggregate that gives nothing deletes its row, and begins anew', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .groupByKey()
            .aggregate('lists', {
              initial: (): string[] => [],
              add: (list, value) => (value === 'reset' ? undefined : [...list, value]),
              value: json<string[]>(),
            })
            .toStream()
            .to(topic('out'), { key: string, value: json<string[]>() }),
        feeds: [
          [
            ['in', 'k', '1', 1],
            ['in', 'k', '2', 2],
            ['in', 'k', 'reset', 3],
            ['in', 'k', '3', 4],
          ],
        ],
      },
      { key: string, value: json<string[]>() },
    );
    expect(shown).toEqual(['k:["1"]@1', 'k:["1","2"]@2', 'k:-@3', 'k:["3"]@4']);
  });

  it('records with a null key or a null value are skipped by an aggregate', async () => {
    const { shown, dropped } = await play(
      {
        declare: (define, topic) => define.stream(topic('in'), nulls).groupByKey().count('counts').toStream().to(topic('out'), counts),
        feeds: [
          [
            ['in', null, 'v', 1],
            ['in', 'k', null, 2],
            ['in', 'k', 'v', 3],
          ],
        ],
      },
      counts,
    );
    expect([shown, dropped.skipped]).toEqual([['k:1@3'], 2]);
  });

  it('a result bears the highest timestamp that went into it', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) => define.stream(topic('in'), words).groupByKey().count('counts').toStream().to(topic('out'), counts),
        feeds: [
          [
            ['in', 'k', 'v', 90],
            ['in', 'k', 'v', 10],
          ],
        ],
      },
      counts,
    );
    expect(shown).toEqual(['k:1@90', 'k:2@90']);
  });
});

describe('tables', () => {
  it('a topic read as a table: the last value stands, null deletes, and deleting what is not there says nothing', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .table(topic('in'), { ...words, name: 'rows' })
            .toStream()
            .to(topic('out'), words),
        feeds: [
          [
            ['in', 'a', '1', 1],
            ['in', 'b', null, 2],
            ['in', 'a', '2', 3],
            ['in', 'a', null, 4],
          ],
        ],
      },
      words,
    );
    expect(shown).toEqual(['a:1@1', 'a:2@3', 'a:-@4']);
  });

  it('a filtered table deletes rows that no longer pass', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .table(topic('in'), { ...words, name: 'rows' })
            .filter((value) => value > 'm')
            .toStream()
            .to(topic('out'), words),
        feeds: [
          [
            ['in', 'k', 'a', 1],
            ['in', 'k', 'z', 2],
            ['in', 'k', 'b', 3],
            ['in', 'k', 'c', 4],
          ],
        ],
      },
      words,
    );
    expect(shown).toEqual(['k:z@2', 'k:-@3']);
  });

  it('a table grouped by another key takes the old value back before it adds the new one', async () => {
    const { shown } = await play(
      {
        declare: (define, topic) =>
          define
            .table(topic('in'), { ...words, name: 'people' })
            .groupBy((city, person) => [city, person], words)
            .count('byCity')
            .toStream()
            .to(topic('out'), counts),
        feeds: [
          [
            ['in', 'ann', 'oslo', 1],
            ['in', 'bob', 'oslo', 2],
            ['in', 'ann', 'rome', 3],
            ['in', 'bob', null, 4],
          ],
        ],
      },
      counts,
    );
    expect(shown).toEqual(['oslo:1@1', 'oslo:2@2', 'oslo:1@3', 'rome:1@3', 'oslo:0@4']);
  });

  it('a stream becomes a table of its last values', async () => {
    const name = stage.name();
    await stage.topics(1, `${name}.in`);
    const running = await stage.run(topology(name, (define) => ({ rows: define.stream(`${name}.in`, nulls).toTable('rows', words) })));
    await stage.send([
      [`${name}.in`, 'a', '1', 1],
      [`${name}.in`, 'b', '2', 2],
      [`${name}.in`, 'a', null, 3],
    ]);
    await running.caughtUp();
    const { result } = await (await running.store('rows')).range();
    expect(result).toEqual([{ key: 'b', value: '2', timestamp: 2 }]);
  });
});

describe('joins', () => {
  const updates: Feed[][] = one(
    ['left', 'k', 'a', 1],
    ['right', 'k', '1', 2],
    ['left', 'k', 'b', 3],
    ['left', 'k', null, 4],
    ['right', 'k', null, 5],
    ['right', 'k', '2', 6],
  );
  const tables = (kind: 'join' | 'leftJoin' | 'outerJoin') =>
    play(
      {
        topics: ['left', 'right'],
        declare(define, topic) {
          const [left, right] = [
            define.table(topic('left'), { ...words, name: 'left' }),
            define.table(topic('right'), { ...words, name: 'right' }),
          ];
          const joined =
            kind === 'join' ? left.join(right, pair) : kind === 'leftJoin' ? left.leftJoin(right, pair) : left.outerJoin(right, pair);
          joined.toStream().to(topic('out'), words);
        },
        feeds: updates,
      },
      words,
    );
  it('table with table: a row where both have one, updated by either side', async () => {
    expect((await tables('join')).shown).toEqual(['k:a1@2', 'k:b1@3', 'k:-@4']);
  });
  it('table with table, left: the right side may be missing', async () => {
    expect((await tables('leftJoin')).shown).toEqual(['k:a?@1', 'k:a1@2', 'k:b1@3', 'k:-@4']);
  });
  it('table with table, outer: either side may be missing', async () => {
    expect((await tables('outerJoin')).shown).toEqual(['k:a?@1', 'k:a1@2', 'k:b1@3', 'k:?1@4', 'k:-@5', 'k:?2@6']);
  });

  const enriched = (left: boolean) =>
    play(
      {
        topics: ['in', 'names'],
        declare(define, topic) {
          const [stream, names] = [define.stream(topic('in'), nulls), define.table(topic('names'), { ...words, name: 'names' })];
          if (left) stream.leftJoin(names, pair).to(topic('out'), nulls);
          else stream.join(names, pair).to(topic('out'), words);
        },
        feeds: one(
          ['in', 'k', 'a', 1],
          ['names', 'k', 'N', 2],
          ['in', 'k', 'b', 3],
          ['in', null, 'c', 4],
          ['in', 'k', null, 5],
          ['names', 'k', null, 6],
          ['in', 'k', 'd', 7],
        ),
      },
      words,
    );
  it('stream with table: only the stream triggers, and only with a row', async () => {
    expect((await enriched(false)).shown).toEqual(['k:bN@3']);
  });
  it('stream with table, left: without a row and without a key too, but not without a value', async () => {
    expect((await enriched(true)).shown).toEqual(['k:a?@1', 'k:bN@3', '-:c?@4', 'k:d?@7']);
  });
  const streams = (left: boolean, feeds: readonly Feed[]) =>
    play(
      {
        topics: ['one', 'two'],
        declare(define, topic) {
          const [first, second] = [define.stream(topic('one'), words), define.stream(topic('two'), words)];
          const near = { beforeMs: 5, afterMs: 10, graceMs: 3 };
          const joined = left ? first.leftJoinStream('near', second, near, pair) : first.joinStream('near', second, near, pair);
          joined.to(topic('out'), words);
        },
        feeds: one(...feeds),
      },
      words,
    );
  it('stream with stream: all pairs within the window, both ends counted, whichever side is first', async () => {
    const { shown } = await streams(false, [
      ['one', 'k', 'a', 100],
      ['two', 'k', '1', 94],
      ['two', 'k', '2', 95],
      ['two', 'k', '3', 110],
      ['two', 'k', '4', 111],
      ['one', 'k', 'b', 106],
    ]);
    expect(shown).toEqual(['k:a2@100', 'k:a3@110', 'k:b3@110', 'k:b4@111']);
  });
  it('stream with stream: a record beyond window and grace is dropped', async () => {
    const { shown, dropped } = await streams(false, [
      ['one', 'k', 'a', 100],
      ['two', 'k', '1', 114],
      ['one', 'k', 'b', 100],
      ['two', 'k', '2', 100],
    ]);
    expect([shown, dropped.late]).toEqual([[], 2]);
  });
  it('stream with stream, left: what stayed alone comes when its window has closed, not before', async () => {
    const { shown } = await streams(true, [
      ['one', 'k', 'a', 100],
      ['one', 'k', 'b', 103],
      ['two', 'k', '1', 113],
      ['two', 'x', '2', 114],
    ]);
    expect(shown).toEqual(['k:b1@113', 'k:a?@100']);
  });
});

describe('windows', () => {
  const ten = { sizeMs: 10, graceMs: 5 };
  const windowedCounts = (
    windows: Parameters<typeof tumbling>[0] & { advanceMs?: number },
    emit: 'updates' | 'final',
    feeds: readonly Feed[],
  ) =>
    play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .groupByKey()
            .windowedBy(hopping({ advanceMs: windows.sizeMs, ...windows }), { emit })
            .count('counts')
            .toStream()
            .to(topic('out'), { key: windowed(string, windows), value: long }),
        feeds: [feeds],
      },
      { key: windowed(string, windows), value: long },
    );
  const at = (start: number, key = 'k', size = 10): string => JSON.stringify({ key, start, end: start + size });

  it('tumbling: each record counts in one window, aligned to the epoch', async () => {
    const { shown } = await windowedCounts(ten, 'updates', [
      ['in', 'k', 'v', 9],
      ['in', 'k', 'v', 10],
      ['in', 'k', 'v', 19],
    ]);
    expect(shown).toEqual([`${at(0)}:1@9`, `${at(10)}:1@10`, `${at(10)}:2@19`]);
  });
  it('hopping: a record counts in every window that covers it', async () => {
    const { shown } = await windowedCounts({ ...ten, advanceMs: 5 }, 'updates', [['in', 'k', 'v', 12]]);
    expect(shown).toEqual([`${at(5)}:1@12`, `${at(10)}:1@12`]);
  });
  it('grace: late records count until stream time reaches the end and the grace, then they are dropped', async () => {
    const { shown, dropped } = await windowedCounts(ten, 'updates', [
      ['in', 'k', 'v', 1],
      ['in', 'x', 'v', 14],
      ['in', 'k', 'v', 2],
      ['in', 'x', 'v', 15],
      ['in', 'k', 'v', 3],
    ]);
    expect(shown).toEqual([`${at(0)}:1@1`, `${at(10, 'x')}:1@14`, `${at(0)}:2@2`, `${at(10, 'x')}:2@15`]);
    expect(dropped.late).toBe(1);
  });
  it('suppressed until they close: one result for each window, and none while it is open', async () => {
    const { shown, dropped } = await windowedCounts(ten, 'final', [
      ['in', 'k', 'v', 1],
      ['in', 'k', 'v', 12],
      ['in', 'k', 'v', 4],
      ['in', 'k', 'v', 15],
      ['in', 'k', 'v', 5],
      ['in', 'k', 'v', 24],
    ]);
    expect(shown).toEqual([`${at(0)}:2@4`]);
    expect(dropped.late).toBe(1);
  });
  it('closed windows leave the store, and its changelog by tombstones', async () => {
    const name = stage.name();
    await stage.topics(1, `${name}.in`);
    const running = await stage.run(
      topology(name, (define) => ({
        counts: define.stream(`${name}.in`, words).groupByKey().windowedBy(tumbling(ten)).count('counts'),
      })),
    );
    await stage.send([
      [`${name}.in`, 'k', 'v', 1],
      [`${name}.in`, 'k', 'v', 11],
      [`${name}.in`, 'k', 'v', 26],
    ]);
    await running.caughtUp();
    const { result } = await (await running.store('counts')).range();
    expect(result.map(({ key }) => key.start)).toEqual([20]);
    const gone = (await stage.records(`${name}.0.changelog`)).filter(
      ({ key, value }) => key?.toString().startsWith('s/counts/') && value === null,
    );
    expect(gone.map(({ key }) => key?.toString())).toEqual(['s/counts/00000000000000k', 's/counts/00000000000010k']);
  });
});

describe('repartitioning', () => {
  it('a changed key goes through a topic of the topology, so that equal keys of all partitions meet', async () => {
    const { shown, name } = await play(
      {
        partitions: 3,
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .groupBy((value) => value, string)
            .count('words')
            .toStream()
            .to(topic('out'), counts),
        feeds: [Array.from({ length: 30 }, (_, n) => ['in', `k${n}`, `w${n % 3}`, n] as const)],
      },
      counts,
    );
    const last = Object.fromEntries(shown.map((each) => each.split('@')[0]!.split(':') as [string, string]));
    expect(last).toEqual({ w0: '10', w1: '10', w2: '10' });
    expect(await stage.kafka.admin.offsets(`${name}.words.repartition`)).toHaveLength(3);
  });

  it('a kept key needs none', async () => {
    const { name } = await play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .filter(() => true)
            .mapValues((value) => value, string)
            .groupByKey()
            .count('counts')
            .toStream()
            .to(topic('out'), counts),
        feeds: [],
      },
      counts,
    );
    expect((await stage.kafka.admin.listTopics()).filter((topic) => topic.startsWith(name) && topic.endsWith('repartition'))).toEqual([]);
  });

  it('a stream that was moved has as many partitions as the table that it joins', async () => {
    const name = stage.name();
    await stage.topics(2, `${name}.orders`, `${name}.out`);
    await stage.topics(5, `${name}.users`);
    const running = await stage.run(
      topology(name, (define) =>
        define
          .stream(`${name}.orders`, words)
          .selectKey((value) => value)
          .join(define.table(`${name}.users`, { ...words, name: 'users' }), pair, { name: 'byUser', ...words })
          .to(`${name}.out`, words),
      ),
    );
    await stage.send(Array.from({ length: 6 }, (_, n) => [`${name}.users`, `u${n}`, 'U', n] as const));
    await running.caughtUp();
    await stage.send(Array.from({ length: 6 }, (_, n) => [`${name}.orders`, `o${n}`, `u${n}`, 10 + n] as const));
    await running.caughtUp();
    expect((await stage.shown(`${name}.out`, words)).sort()).toEqual(Array.from({ length: 6 }, (_, n) => `u${n}:u${n}U@${10 + n}`));
    expect(await stage.kafka.admin.offsets(`${name}.byUser.repartition`)).toHaveLength(5);
  });

  it('repartition takes the number of partitions that it is told', async () => {
    const { shown, name } = await play(
      {
        declare: (define, topic) =>
          define
            .stream(topic('in'), words)
            .repartition('wider', { ...words, partitions: 4 })
            .groupByKey()
            .count('counts')
            .toStream()
            .to(topic('out'), counts),
        feeds: [
          [
            ['in', 'a', 'v', 1],
            ['in', 'b', 'v', 2],
          ],
        ],
      },
      counts,
    );
    expect(shown.sort()).toEqual(['a:1@1', 'b:1@2']);
    expect(await stage.kafka.admin.offsets(`${name}.wider.repartition`)).toHaveLength(4);
  });

  it('topics that meet by key but are partitioned differently are refused at the start', async () => {
    const name = stage.name();
    await stage.topics(2, `${name}.a`);
    await stage.topics(3, `${name}.b`);
    const joined = topology(name, (define) => {
      define.table(`${name}.a`, { ...words, name: 'a' }).join(define.table(`${name}.b`, { ...words, name: 'b' }), pair);
    });
    await expect(stage.run(joined)).rejects.toThrow(/\.a \(2\) and .*\.b \(3\) meet by key and need the same number of partitions/);
  });

  it('a topic that is not there is named at the start', async () => {
    const name = stage.name();
    const lost = topology(name, (define) => define.stream(`${name}.nowhere`, words).to(`${name}.out`, words));
    await expect(stage.run(lost)).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
  });
});
