import { randomUUID } from 'node:crypto';
import { testKafka } from '@spool/embedded';
import { connectKafka } from '../kafka/kafkajs/connect.js';
import { standsAt } from './standstill.js';
import { kinds, openStage, until, type Handle } from './testing/stage.js';

// Work on lanes holds up the lane of the record alone.
describe.each(kinds)('a record that may not be passed on a real broker, by work on %s', (kind) => {
  it('is passed once, in its place, when it is known', async () => {
    const id = randomUUID().slice(0, 8);
    const names = { input: `in-${id}`, log: `log-${id}`, consumer: `counter-${id}` };
    await using stage = await openStage(await connectKafka({ brokers: [testKafka()[0]!], clientId: 'standstill' }), names);
    let known = false;
    const handle: Handle = (record, table) => {
      if (!known && String(record.value) === '?') throw standsAt(record, 'nobody knows it');
      return stage.note(record, table);
    };
    const at = (partition: number, key: string, value: string) => ({ topic: names.input, partition, key, value: Buffer.from(value) });
    await stage.producer.sendAll([at(0, 'a', '1'), at(0, 'a', '?'), at(0, 'a', '3'), at(1, 'b', '1')]);
    const processor = await stage.start(kind, { handle });
    await until(() => processor.status().error !== undefined && stage.handled.includes('b:1'));
    expect(processor.status().error).toBe(`PARTITION_HELD: ${names.input}-0@1: nobody knows it`);
    await stage.producer.sendAll([at(1, 'b', '2'), at(0, 'a', '4')]);
    await until(() => stage.handled.includes('b:2'));
    known = true;
    await processor.caughtUp();
    expect(stage.handled.filter((each) => each !== 'a:1')).toEqual(['b:1', 'b:2', 'a:?', 'a:3', 'a:4']);
    if (kind !== 'committed offsets') expect(stage.rows()).toEqual({ a: '1?34', b: '12' });
  });
});
