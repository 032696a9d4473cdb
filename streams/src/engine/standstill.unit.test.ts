import { createMemoryCluster } from '../kafka/memory/connect.js';
import { offset, type ConsumedRecord } from '../kafka/port.js';
import { createMemoryStore } from '../store/memory-store.js';
import { localWork } from './local-work.js';
import { runProcessor, type RunningProcessor } from './processor.js';
import { standsAt } from './standstill.js';
import { openStage, until, type Handle, type Kind } from './testing/stage.js';

const held = (processor: RunningProcessor): string | undefined => processor.status().error;
const positions = (processor: RunningProcessor): Record<string, bigint> =>
  Object.fromEntries(processor.status().partitions.map(({ topic, partition, position }) => [`${topic}-${partition}`, position]));

describe.each<Kind>(['its own store', 'transactions'])('a record that may not be passed, by work on %s', (kind) => {
  it('keeps its partition where it is, with all before it done, and is tried again until it passes', async () => {
    await using stage = await openStage();
    let known = false;
    const handle: Handle = (record, table) => {
      if (!known && String(record.value) === '?') throw standsAt(record, 'nobody knows it');
      return stage.note(record, table);
    };
    const at = (partition: number, key: string, value: string) => ({ topic: 'in', partition, key, value: Buffer.from(value) });
    await stage.producer.sendAll([at(0, 'a', '1'), at(0, 'a', '?'), at(0, 'a', '3'), at(1, 'b', '1')]);
    const processor = await stage.start(kind, { handle });
    await until(() => positions(processor)['in-0'] === 1n);
    expect(held(processor)).toBe('PARTITION_HELD: in-0@1: nobody knows it');
    await stage.producer.sendAll([at(1, 'b', '2'), at(0, 'c', '1')]);
    await until(() => stage.rows()['b'] === '12');
    expect(stage.rows()).toEqual({ a: '1', b: '12' });
    known = true;
    await processor.caughtUp();
    expect(stage.rows()).toEqual({ a: '1?3', b: '12', c: '1' });
    expect(held(processor)).toBeUndefined();
  });
});

describe.each(['arrival', 'time'] as const)('a partition that stands still among others of its task, in order of %s', (order) => {
  async function open() {
    const kafka = createMemoryCluster().connect();
    const producer = await kafka.producer();
    const topic = (name: string) => ({ name, partitions: 2, cleanup: 'delete', retentionMs: -1 }) as const;
    await kafka.admin.ensureTopics([topic('in'), topic('of'), topic('dlq.counter')]);
    const store = createMemoryStore();
    const tried: string[] = [];
    const handle = (record: ConsumedRecord, { table }: { table: (name: string) => { put(key: string, value: unknown): void } }): void => {
      const name = `${record.topic}-${record.partition}@${record.offset}`;
      if (String(record.value) === '?') {
        tried.push(name);
        throw standsAt(record, 'nobody knows it');
      }
      table('rows').put(name, String(record.value));
    };
    const processor = await runProcessor(
      {
        ...{ consumer: 'counter', sources: ['in', 'of'], assignment: 'all', startAt: 'earliest', order, maxGroupRecords: 3 },
        open: () => Promise.resolve(localWork({ consumer: 'counter', store, deadLetters: producer, now: Date.now, handle })),
      },
      { kafka, now: Date.now, log: () => undefined },
    );
    const send = (topic: string, partition: number, ...values: string[]) =>
      producer.sendAll(values.map((value) => ({ topic, partition, key: null, value: Buffer.from(value) })));
    return {
      ...{ processor, tried, send },
      rows: () => Object.fromEntries(store.range('rows')),
      async [Symbol.asyncDispose]() {
        await processor.close();
        await kafka.close();
      },
    };
  }

  it('holds up none of them, and what it has done is done once', async () => {
    await using world = await open();
    await world.send('in', 0, '1', '?', '3');
    for (let n = 0; n < 5; n++) for (const topic of ['in', 'of']) await world.send(topic, 1, String(n));
    await until(() => positions(world.processor)['of-1'] === 5n && positions(world.processor)['in-1'] === 5n);
    await until(() => world.tried.length > 2);
    await world.send('of', 0, 'more');
    await until(() => positions(world.processor)['of-0'] === 1n);
    expect(positions(world.processor)['in-0']).toBe(1n);
    expect(Object.keys(world.rows())).toHaveLength(12);
    expect(held(world.processor)).toBe('PARTITION_HELD: in-0@1: nobody knows it');
  });

  it('goes on where an order moves it', async () => {
    await using world = await open();
    await world.send('in', 0, '1', '?', '3');
    await until(() => held(world.processor) !== undefined && positions(world.processor)['in-0'] === 1n);
    world.processor.apply({ consumer: 'counter', epoch: 0n, action: 'seek', starts: new Map([['in-0', offset(2)]]), reset: false });
    await world.processor.caughtUp();
    expect(world.rows()).toEqual({ 'in-0@0': '1', 'in-0@2': '3' });
    expect(held(world.processor)).toBeUndefined();
  });
});
