import { SpoolError } from '@spool/schemas';
import { offset } from '../kafka/port.js';
import { indexLetters, type LetterEntry } from './letters.js';
import { kinds, openStage, until, type Handle, type Stage } from './testing/stage.js';

let stage: Stage;
/** `key:value` of the records that fail for good. */
let poison: Set<string>;
const handle: Handle = async (record, table) => {
  if (poison.has(`${record.key}:${record.value}`)) throw new TypeError('poison');
  await stage.note(record, table);
};
beforeEach(async () => {
  stage = await openStage();
  poison = new Set(['a:2']);
});
afterEach(() => stage[Symbol.asyncDispose]());

async function letters(resolved = false): Promise<LetterEntry[]> {
  const found: LetterEntry[] = [];
  for (const partition of [0, 1]) {
    found.push(...(await indexLetters({ kafka: stage.kafka, partition: { topic: 'dlq.counter', partition }, owner: 'any', resolved })));
  }
  return found;
}
const of = (...values: string[]) => values.map((value) => `a:${value}`);
const key = (name: string) => ({ key: Buffer.from(name) });
const retry = { action: 'retry', value: undefined } as const;

describe.each(kinds)('dead letters of work on %s', (kind) => {
  const parkThree = async () => {
    await stage.send('a:1', 'a:2', 'b:1', 'a:3', 'a:4');
    const processor = await stage.start(kind, { handle });
    await processor.caughtUp();
    return processor;
  };

  it('lie in the partition of their records, in order, behind the one that failed', async () => {
    await parkThree();
    const source = (await letters()).map(({ source: from }) => from!);
    expect(source.map(({ offset: at }) => at)).toEqual([...source.map(({ offset: at }) => at)].sort());
    expect(new Set(source.map(({ partition }) => partition)).size).toBe(1);
    expect(source).toHaveLength(3);
    expect(stage.handled.sort()).toEqual(['a:1', 'b:1']);
  });

  it('are retried in order when the cause is gone, before new records of their key (Evento defect 8)', async () => {
    const processor = await parkThree();
    poison.clear();
    const { answers } = await stage.order(processor, { ...retry, letters: key('a') });
    expect(answers).toEqual([{ order: 0n, refused: undefined, records: 3, failed: undefined }]);
    await stage.send('a:5');
    await processor.caughtUp();
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1', '2', '3', '4', '5'));
    expect(await letters()).toEqual([]);
    expect((await letters(true)).map(({ resolution }) => resolution)).toEqual(['retried', 'retried', 'retried']);
  });

  it('stop at the next failure of their key, and the rest stays in order', async () => {
    const processor = await parkThree();
    poison = new Set(['a:3']);
    const { answers } = await stage.order(processor, { ...retry, letters: 'all' });
    expect(answers).toEqual([{ order: 0n, refused: undefined, records: 1, failed: 'INTERNAL: poison' }]);
    await stage.send('a:5');
    await processor.caughtUp();
    expect(await letters()).toHaveLength(3);
    poison.clear();
    await stage.order(processor, { ...retry, letters: key('a') });
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1', '2', '3', '4', '5'));
  });

  it('are discarded one by one or by key, and the key goes on', async () => {
    const processor = await parkThree();
    const [head] = await letters();
    const one = await stage.order(processor, { action: 'discard', letters: { letter: head!.source! } });
    expect(one.answers.at(-1)).toMatchObject({ records: 1 });
    expect(await letters()).toHaveLength(2);
    await stage.order(processor, { action: 'discard', letters: key('a') });
    await stage.send('a:5');
    await processor.caughtUp();
    expect([await letters(), stage.handled.at(-1)]).toEqual([[], 'a:5']);
    expect(stage.handled).not.toContain('a:3');
  });

  it('are retried with another value for the first', async () => {
    const processor = await parkThree();
    await stage.order(processor, { action: 'retry', letters: key('a'), value: Buffer.from('II') });
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1', 'II', '3', '4'));
  });

  it('cannot be retried out of order', async () => {
    const processor = await parkThree();
    const [, second] = await letters();
    const { answers } = await stage.order(processor, { ...retry, letters: { letter: second!.source! } });
    expect(answers[0]).toMatchObject({ records: 0, refused: expect.stringContaining('an earlier record of its key is parked') as string });
  });

  it('keep their key parked over a restart, and an order is not obeyed twice', async () => {
    const first = await parkThree();
    poison = new Set(['a:2', 'a:3']);
    await stage.order(first, { ...retry, letters: key('a') });
    await stage.stop();
    await stage.send('a:5');
    poison.clear();
    const second = await stage.start(kind, { handle });
    await second.caughtUp();
    // The old order would have retried them now.
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1'));
    await stage.order(second, { ...retry, letters: key('a') });
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1', '2', '3', '4', '5'));
    expect(await letters()).toEqual([]);
  });

  it('wait for a cause that is there for the moment', async () => {
    const processor = await parkThree();
    poison.clear();
    let away = 2;
    await stage.stop();
    const second = await stage.start(kind, {
      handle: async (record, table) => {
        if (away-- > 0) throw new SpoolError('UNAVAILABLE', 'away');
        await stage.note(record, table);
      },
    });
    expect(processor.status().state).toBe('stopped');
    await stage.order(second, { ...retry, letters: 'all' });
    expect(stage.handled.filter((each) => each.startsWith('a'))).toEqual(of('1', '2', '3', '4'));
  });
});

it('a store that is lost knows what is parked, from the changelog that the letters were written with', async () => {
  await stage.send('a:1', 'a:2', 'a:3');
  await (await stage.start('transactions', { handle })).caughtUp();
  await stage.stop();
  stage.stores.clear();
  await stage.send('a:4');
  const second = await stage.start('transactions', { handle });
  await second.caughtUp();
  expect([(await letters()).length, stage.rows()]).toEqual([3, { a: '1' }]);
  poison.clear();
  await stage.order(second, { ...retry, letters: 'all' });
  expect(stage.rows()).toEqual({ a: '1234' });
});

it.each(['aborted', 'committed'] as const)('a retry whose transaction breaks off and turns out %s counts once', async (ending) => {
  await stage.send('a:1', 'a:2', 'a:3', 'a:4');
  const processor = await stage.start('transactions', { handle });
  await processor.caughtUp();
  poison.clear();
  for (const task of [0, 1]) stage.cluster!.breakCommit(`counter.${task}`, ending);
  const epoch = stage.give(processor, { ...retry, letters: 'all' });
  await until(() => processor.status().epoch === epoch && processor.status().partitions.length === 2);
  await until(async () => (await letters()).length === 0);
  await processor.caughtUp();
  expect(stage.rows()).toEqual({ a: '1234' });
  expect((await letters(true)).map(({ resolution }) => resolution)).toEqual(['retried', 'retried', 'retried']);
});

it('a crash between the commit of a local store and its markers does not count a letter twice', async () => {
  await stage.send('a:1', 'a:2', 'a:3');
  const processor = await stage.start('its own store', { handle });
  await processor.caughtUp();
  poison.clear();
  const { sendAll } = stage.producer;
  let broken = 1;
  stage.producer.sendAll = (records) => {
    const markers = records.some(({ headers }) => headers?.['dlq-resolution'] !== undefined);
    if (markers && broken-- > 0) return Promise.reject(new SpoolError('KAFKA_UNAVAILABLE', 'away'));
    return sendAll.call(stage.producer, records);
  };
  await stage.order(processor, { ...retry, letters: 'all' });
  expect(broken).toBeLessThan(0);
  expect([await letters(), stage.rows()]).toEqual([[], { a: '123' }]);
});

const zero = new Map([0, 1].map((partition) => [`in-${partition}`, offset(0)]));

describe.each(['its own store', 'transactions'] as const)('on %s', (kind) => {
  it('a store that is emptied voids its letters; what still fails is parked anew', async () => {
    await stage.send('a:1', 'a:2', 'a:3');
    const processor = await stage.start(kind, { handle });
    await processor.caughtUp();
    poison = new Set(['a:3']);
    await stage.order(processor, { action: 'seek', starts: zero, reset: true });
    await processor.caughtUp();
    await until(async () => (await letters()).length === 1);
    expect([stage.rows(), (await letters(true)).length]).toEqual([{ a: '12' }, 3]);
  });

  it('a record that is parked is not parked again when it is read again', async () => {
    await stage.send('a:1', 'a:2', 'a:3');
    const processor = await stage.start(kind, { handle });
    await processor.caughtUp();
    stage.handled.length = 0;
    await stage.order(processor, { action: 'seek', starts: zero, reset: false });
    await stage.send('a:4', 'b:1');
    await until(() => stage.handled.includes('b:1'));
    await processor.caughtUp();
    expect((await letters()).map(({ source, last, offset: at }) => [source!.offset, last === at])).toEqual([
      [1n, true],
      [2n, true],
      [3n, true],
    ]);
  });
});
