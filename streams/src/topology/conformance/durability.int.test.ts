import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { testKafka } from '@spool/embedded';
import { SpoolError } from '@spool/schemas';
import type { RunTopologyOptions } from '../run.js';
import { long, string, json } from '../serde.js';
import { topology } from '../topology.js';
import { tumbling, windowed } from '../windows.js';
import { openStage, until, type Feed, type Stage } from './stage.js';

/** What Kafka Streams documents of state, fail-over and exactly-once, on a real broker; and what Spool adds: parking, TTL, persisted timers. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage(testKafka());
});
afterEach(() => stage.clear());
afterAll(() => stage[Symbol.asyncDispose]());

const words = { key: string, value: string };
const counts = { key: string, value: long };
const counting = (name: string) =>
  topology(name, (define) => {
    const table = define.stream(`${name}.in`, words).groupByKey().count('counts');
    table.toStream().to(`${name}.out`, counts);
    return { counts: table };
  });
const numbered = (name: string, from: number, count: number, keys = 7): Feed[] =>
  Array.from({ length: count }, (_, n) => [`${name}.in`, `k${(from + n) % keys}`, 'v', from + n] as const);
const prepared = async (partitions = 1): Promise<string> => {
  const name = stage.name();
  await stage.topics(partitions, `${name}.in`, `${name}.out`);
  return name;
};
const both = (all: number, keys = 7): Record<string, number> =>
  Object.fromEntries(Array.from({ length: keys }, (_, key) => [`k${key}`, Math.floor((all - key + keys - 1) / keys)]));

describe('restore', () => {
  it.each([
    ['with its local store', false],
    ['from the changelog when the local store is lost', true],
  ])('a restart goes on where it stopped, %s', async (_, lost) => {
    const name = await prepared();
    const first = await stage.run(counting(name));
    await stage.send(numbered(name, 0, 20));
    await first.caughtUp();
    await first.close();
    await stage.send(numbered(name, 20, 15));
    if (lost) rmSync(stage.storesOf(`${name}.0`), { recursive: true });
    const second = await stage.run(counting(name));
    await second.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(35));
    expect((await stage.records(`${name}.out`)).length).toBe(35);
    const rows = (await (await second.store('counts')).range()).result;
    expect(Object.fromEntries(rows.map(({ key, value }) => [key, value]))).toEqual(both(35));
  });

  it('the changelog holds the last value of every row of the store', async () => {
    const name = await prepared();
    const running = await stage.run(counting(name));
    await stage.send(numbered(name, 0, 30));
    await running.caughtUp();
    const rows = new Map<string, number>();
    for (const { key, value } of await stage.records(`${name}.0.changelog`)) {
      // A row is a timestamp of 8 bytes and the value.
      if (key!.toString().startsWith('s/counts/')) rows.set(key!.toString().slice(9), long.decode(value!.subarray(8)) as number);
    }
    expect(Object.fromEntries(rows)).toEqual(both(30));
  });

  it('stream time survives a restart: what was late stays late', async () => {
    const name = await prepared();
    const app = () =>
      topology(name, (define) => {
        define
          .stream(`${name}.in`, words)
          .groupByKey()
          .windowedBy(tumbling({ sizeMs: 10, graceMs: 0 }))
          .count('counts')
          .toStream()
          .to(`${name}.out`, { key: windowed(string, { sizeMs: 10 }), value: long });
      });
    const first = await stage.run(app());
    await stage.send([[`${name}.in`, 'k', 'v', 100]]);
    await first.caughtUp();
    await first.close();
    rmSync(stage.storesOf(`${name}.0`), { recursive: true });
    const second = await stage.run(app());
    await stage.send([[`${name}.in`, 'k', 'v', 5]]);
    await second.caughtUp();
    expect(second.dropped.late).toBe(1);
    expect(await stage.records(`${name}.out`)).toHaveLength(1);
  });

  it('windows that were open at a restart still give their final result', async () => {
    const name = await prepared();
    const app = () =>
      topology(name, (define) => {
        define
          .stream(`${name}.in`, words)
          .groupByKey()
          .windowedBy(tumbling({ sizeMs: 10, graceMs: 0 }), { emit: 'final' })
          .count('counts')
          .toStream()
          .to(`${name}.out`, { key: windowed(string, { sizeMs: 10 }), value: long });
      });
    const first = await stage.run(app());
    await stage.send([1, 2].map((at) => [`${name}.in`, 'k', 'v', at] as const));
    await first.caughtUp();
    await first.close();
    rmSync(stage.storesOf(`${name}.0`), { recursive: true });
    const second = await stage.run(app());
    await stage.send([3, 10].map((at) => [`${name}.in`, 'k', 'v', at] as const));
    await second.caughtUp();
    expect(await stage.shown(`${name}.out`, { key: windowed(string, { sizeMs: 10 }), value: long })).toEqual([
      '{"key":"k","start":0,"end":10}:3@3',
    ]);
  });

  it('a timer of the wall clock that was set before a restart goes off after it, once', async () => {
    const name = await prepared();
    let delay = 600_000;
    const app = () =>
      topology(name, (define) => {
        define
          .stream(`${name}.in`, words)
          .process('reminders', {
            output: words,
            handle({ key, value }, context) {
              if (value === 'first') context.schedule({ name: 'due', key, clock: 'wall', at: context.now + delay });
              else context.schedule({ name: 'due', key: 'other', clock: 'wall', at: context.now });
            },
            onTimer: ({ name: timer, key }, context) => context.forward(key, timer),
          })
          .to(`${name}.out`, words);
      });
    delay = 1500;
    const first = await stage.run(app());
    await stage.send([[`${name}.in`, 'k', 'first', 1]]);
    await first.caughtUp();
    await first.close();
    expect(await stage.records(`${name}.out`)).toEqual([]);
    rmSync(stage.storesOf(`${name}.0`), { recursive: true });
    await stage.run(app());
    await until(async () => (await stage.records(`${name}.out`)).length > 0);
    await stage.send([[`${name}.in`, 'k', 'second', 2]]);
    await until(async () => (await stage.records(`${name}.out`)).length > 1);
    expect(await stage.latest(`${name}.out`, words)).toEqual({ k: 'due', other: 'due' });
    expect(await stage.records(`${name}.out`)).toHaveLength(2);
  });

  it('rows with a TTL go with a tombstone', async () => {
    const name = await prepared();
    const app = topology(name, (define) => {
      define.stream(`${name}.in`, words).groupByKey().count('counts', { ttlMs: 300 }).toStream().to(`${name}.out`, counts);
    });
    const running = await stage.run(app);
    await stage.send([
      [`${name}.in`, 'k', 'v', 1],
      [`${name}.in`, 'k', 'v', 2],
    ]);
    await running.caughtUp();
    await until(async () => (await stage.records(`${name}.out`)).length === 3);
    expect((await stage.shown(`${name}.out`, counts)).map((each) => each.split('@')[0])).toEqual(['k:1', 'k:2', 'k:-']);
  });
});

describe('exactly once', () => {
  const settings: readonly (readonly [string, RunTopologyOptions])[] = [
    ['one transaction for all tasks', { transactions: 'instance' }],
    ['a transaction for each task', { transactions: 'partition' }],
  ];
  it.each(settings)('a task that ends in the middle of a group, uncommitted, leaves nothing behind: %s', async (_, options) => {
    const name = await prepared(2);
    let failing = true;
    const app = () =>
      topology(name, (define) => {
        const table = define.stream(`${name}.in`, words).groupByKey().count('counts');
        table
          .toStream()
          .peek((value) => {
            if (failing && value === 3) throw new SpoolError('UNAVAILABLE', 'the outside is away');
          })
          .to(`${name}.out`, counts);
        return { table };
      });
    await stage.send(numbered(name, 0, 40));
    const first = await stage.run(app(), options);
    await until(() => first.status()[0]?.error !== undefined);
    // Closed while it fails again and again: nothing of the group under way is kept.
    await first.close();
    failing = false;
    const second = await stage.run(app(), options);
    await second.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(40));
    expect(await stage.records(`${name}.out`)).toHaveLength(40);
  });

  it('a writer that is fenced stops, its task is opened anew, and every record counts once', async () => {
    const name = await prepared();
    const running = await stage.run(counting(name), { transactions: 'partition' });
    await stage.send(numbered(name, 0, 20));
    await running.caughtUp();
    const rival = await stage.kafka.transactionalProducer({ transactionalId: `${name}.0.0` });
    await stage.send(numbered(name, 20, 20));
    await running.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(40));
    expect(await stage.records(`${name}.out`)).toHaveLength(40);
    await expect(rival.commit([{ topic: `${name}.out`, key: 'k', value: null }])).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await rival.close();
  });

  it('records of an aborted transaction are not seen', async () => {
    const name = await prepared();
    const running = await stage.run(counting(name));
    const [topic, small] = [`${name}.in`, `${name}.small`];
    await stage.kafka.admin.ensureTopics([
      { name: small, partitions: 1, cleanup: 'delete', retentionMs: -1, config: { 'max.message.bytes': '500' } },
    ]);
    await using writer = await stage.kafka.transactionalProducer({ transactionalId: `${name}.source` });
    const refused = writer.commit([
      { topic, key: 'k', value: Buffer.from('aborted') },
      { topic: small, key: 'k', value: randomBytes(2000) },
    ]);
    await expect(refused).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
    expect((await stage.records(topic, 'read_uncommitted')).map(({ value }) => value?.toString())).toEqual(['aborted']);
    await stage.send([[`${name}.in`, 'k', 'v', 1]]);
    await running.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual({ k: 1 });
  });

  it.each(settings)('a partition that moves between instances under load loses and doubles nothing: %s', async (_, options) => {
    const name = await prepared(4);
    const one = await stage.run(counting(name), { ...options, on: 0 });
    let sent = 0;
    const load = async (count: number): Promise<void> => {
      for (const end = sent + count; sent < end; sent += 25) await stage.send(numbered(name, sent, 25));
    };
    await load(200);
    const joining = stage.run(counting(name), { ...options, on: 1 });
    await load(200);
    const two = await joining;
    await until(() => two.status()[0]!.partitions.length === 2 && one.status()[0]!.partitions.length === 2);
    await load(200);
    const closing = one.close();
    await load(200);
    await closing;
    await until(() => two.status()[0]!.partitions.length === 4);
    await two.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(800));
    expect(await stage.records(`${name}.out`)).toHaveLength(800);
  });

  it('through a repartition topic every record counts once, over restarts of the parts', async () => {
    const name = await prepared(2);
    const app = () =>
      topology(name, (define) => {
        define
          .stream(`${name}.in`, words)
          .groupBy((_value, key) => key.toUpperCase(), string)
          .count('counts')
          .toStream()
          .to(`${name}.out`, counts);
      });
    for (let round = 0; round < 3; round++) {
      await stage.send(numbered(name, round * 20, 20));
      const running = await stage.run(app());
      if (round < 2) await running.close();
      else await running.caughtUp();
    }
    const upper = Object.fromEntries(Object.entries(both(60)).map(([key, count]) => [key.toUpperCase(), count]));
    expect(await stage.latest(`${name}.out`, counts)).toEqual(upper);
    expect(await stage.records(`${name}.out`)).toHaveLength(60);
  });

  it('at least once by declaration: the same results, without transactions', async () => {
    const name = await prepared(2);
    const running = await stage.run(counting(name), { delivery: 'at-least-once' });
    await stage.send(numbered(name, 0, 40));
    await running.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(40));
    await running.close();
    const again = await stage.run(counting(name), { delivery: 'at-least-once' });
    await stage.send(numbered(name, 40, 10));
    await again.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(50));
  });
});

describe('failure of a record', () => {
  it('a poison record is parked, what follows of its key too, in order, and other keys go on', async () => {
    const name = await prepared();
    const app = topology(name, (define) => {
      define
        .stream(`${name}.in`, words)
        .mapValues((value) => {
          if (value === 'poison') throw new TypeError('no');
          return value;
        })
        .to(`${name}.out`, words);
    });
    const running = await stage.run(app);
    await stage.send([
      [`${name}.in`, 'a', '1', 1],
      [`${name}.in`, 'a', 'poison', 2],
      [`${name}.in`, 'b', '2', 3],
      [`${name}.in`, 'a', '3', 4],
    ]);
    await running.caughtUp();
    expect(await stage.shown(`${name}.out`, words)).toEqual(['a:1@1', 'b:2@3']);
    const parked = await stage.records(`dlq.${name}.0`);
    expect(parked.map(({ value, headers }) => [value?.toString(), headers['dlq-code']?.toString()])).toEqual([
      ['poison', 'INTERNAL'],
      ['3', 'FOLLOWS_PARKED'],
    ]);
  });

  it('bytes that are not of the declared type are parked as they came', async () => {
    const name = await prepared();
    const app = topology(name, (define) => {
      define
        .stream(`${name}.in`, { key: string, value: json<{ n: number }>() })
        .mapValues(({ n }) => n)
        .to(`${name}.out`, counts);
    });
    const running = await stage.run(app);
    await stage.send([
      [`${name}.in`, 'a', '{"n":1}', 1],
      [`${name}.in`, 'b', '{"n":', 2],
      [`${name}.in`, 'c', null, 3],
    ]);
    await running.caughtUp();
    expect(await stage.shown(`${name}.out`, counts)).toEqual(['a:1@1']);
    expect((await stage.records(`dlq.${name}.0`)).map(({ key, value }) => `${String(key)} ${String(value)}`).sort()).toEqual([
      'b {"n":',
      'c null',
    ]);
  });
});

describe('several instances', () => {
  it('a standby follows the state, and takes over with it', async () => {
    const name = await prepared(2);
    const one = await stage.run(counting(name), { standbys: 1, on: 0 });
    await stage.send(numbered(name, 0, 100));
    await one.caughtUp();
    const two = await stage.run(counting(name), { standbys: 1, on: 1 });
    await until(() => one.status()[0]!.standbys.length === 1 && two.status()[0]!.standbys.length === 1);
    await stage.send(numbered(name, 100, 50));
    await until(async () => (await stage.records(`${name}.out`)).length === 150);
    await one.close();
    await until(() => two.status()[0]!.partitions.length === 2);
    expect(two.status()[0]!.standbys).toEqual([]);
    await stage.send(numbered(name, 150, 50));
    await two.caughtUp();
    expect(await stage.latest(`${name}.out`, counts)).toEqual(both(200));
  });

  it('a store is asked where its partition is, and says which input its answer is of', async () => {
    const name = await prepared(2);
    const one = await stage.run(counting(name), { on: 0 });
    await stage.send(numbered(name, 0, 70));
    await one.caughtUp();
    const alone = await one.store('counts');
    const all = await alone.range();
    expect(Object.fromEntries(all.result.map(({ key, value }) => [key, value]))).toEqual(both(70));
    expect([...all.position].reduce((sum, [, at]) => sum + Number(at), 0)).toBe(70);
    expect((await alone.count()).result).toBe(7);
    expect((await alone.get('k3')).result).toEqual({ key: 'k3', value: 10, timestamp: 66 });
    expect((await alone.get('nobody')).result).toBeUndefined();
    const two = await stage.run(counting(name), { on: 1 });
    await until(() => one.status()[0]!.partitions.length === 1 && two.status()[0]!.partitions.length === 1);
    const [here, there] = [await one.store('counts'), await two.store('counts')];
    expect((await here.count()).result + (await there.count()).result).toBe(7);
    for (const key of Object.keys(both(70))) {
      const answers = await Promise.allSettled([here.get(key), there.get(key)]);
      expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    }
  });
});
