import { SpoolError } from '@spool/schemas';
import { offset, type Offset } from '../kafka/port.js';
import { kinds, openStage, until, type Handle, type Kind, type Stage, type Wish } from './testing/stage.js';
import type { ControlOrder } from './control.js';
import type { RunningProcessor } from './processor.js';

let stage: Stage;
beforeEach(async () => {
  stage = await openStage();
});
afterEach(() => stage[Symbol.asyncDispose]());

const start = (kind: Kind, handle?: Handle, rest: { fixed?: string } = {}) =>
  stage.start(kind, { ...rest, ...(handle === undefined ? {} : { handle }) });
const order = (processor: RunningProcessor, wish: Wish<ControlOrder>) => stage.order(processor, wish);
const starts = (...offsets: number[]): ReadonlyMap<string, Offset> =>
  new Map(offsets.map((at, partition): [string, Offset] => [`in-${partition}`, offset(at)]));

describe.each(kinds)('orders to work on %s', (kind) => {
  it('are acknowledged when every task has obeyed them', async () => {
    const processor = await start(kind);
    expect(await order(processor, { action: 'rate', recordsPerSecond: 50 })).toMatchObject({
      epoch: 0n,
      recordsPerSecond: 50,
      paused: false,
    });
    expect(await order(processor, { action: 'pause' })).toMatchObject({ epoch: 1n, state: 'paused', paused: true });
  });

  it('a pause holds from the first record on after a restart, and a step of before is not made again', async () => {
    await stage.send('a:1');
    const first = await start(kind);
    await first.caughtUp();
    await order(first, { action: 'pause' });
    await stage.send('a:2', 'a:3', 'a:4');
    await order(first, { action: 'step', records: 1 });
    await until(() => stage.handled.length === 2);
    await stage.stop();
    const second = await start(kind);
    await until(() => second.status().epoch >= 0n && second.status().partitions.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([stage.handled, second.status().paused]).toEqual([['a:1', 'a:2'], true]);
    await order(second, { action: 'resume' });
    await second.caughtUp();
    expect(stage.handled).toEqual(['a:1', 'a:2', 'a:3', 'a:4']);
  });

  it('a seek moves back and forth, and is not made again after a restart (Evento defect 7)', async () => {
    await stage.send('a:1', 'a:2', 'a:3');
    const first = await start(kind);
    await first.caughtUp();
    const at = first.status().partitions.find(({ position }) => position > 0n)!.partition;
    stage.handled.length = 0;
    await order(first, { action: 'seek', starts: new Map([[`in-${at}`, offset(1)]]), reset: false });
    await until(() => stage.handled.length === 2);
    expect(stage.handled).toEqual(['a:2', 'a:3']);
    await order(first, { action: 'pause' });
    await stage.send('a:4', 'a:5');
    await order(first, { action: 'seek', starts: new Map([[`in-${at}`, offset(4)]]), reset: false });
    await order(first, { action: 'resume' });
    await first.caughtUp();
    await stage.stop();
    await stage.send('a:6');
    const second = await start(kind);
    await second.caughtUp();
    expect(stage.handled).toEqual(['a:2', 'a:3', 'a:5', 'a:6']);
  });

  it('reach a consumer that waits for its rate', async () => {
    const processor = await start(kind);
    await order(processor, { action: 'rate', recordsPerSecond: 0.01 });
    await stage.send('a:1', 'a:2');
    await until(() => stage.handled.length === 1);
    await order(processor, { action: 'rate', recordsPerSecond: undefined });
    await processor.caughtUp();
    expect(stage.handled).toEqual(['a:1', 'a:2']);
  });

  it('reach a consumer that fails again and again', async () => {
    await stage.send('a:1', 'a:2');
    const processor = await start(kind, () => {
      throw new SpoolError('UNAVAILABLE', 'away');
    });
    await until(() => processor.status().error !== undefined);
    expect(await order(processor, { action: 'pause' })).toMatchObject({ paused: true });
    expect((await order(processor, { action: 'seek', starts: starts(2, 2), reset: false })).answers).toEqual([]);
  });

  it('are refused with the reason where they cannot be obeyed', async () => {
    const processor = await start(kind, undefined, { fixed: 'it decides each command once' });
    const { answers } = await order(processor, { action: 'seek', starts: starts(0, 0), reset: false });
    expect(answers).toEqual([{ order: 0n, refused: 'it decides each command once', records: 0, failed: undefined }]);
    const stepped = await order(processor, { action: 'step', records: 1 });
    expect(stepped.answers.at(-1)).toMatchObject({ order: 1n, refused: expect.stringContaining('not paused') as string });
  });
});

describe.each(['its own store', 'transactions', 'effects'] as const)('a reset of work on %s', (kind) => {
  it('empties the store and handles everything anew, once', async () => {
    await stage.send('a:1', 'b:1', 'a:2');
    const first = await start(kind);
    await first.caughtUp();
    const before = stage.rows();
    await order(first, { action: 'seek', starts: starts(0, 0), reset: true });
    await until(() => stage.handled.length === 6);
    await first.caughtUp();
    expect(stage.rows()).toEqual(before);
    await stage.stop();
    const second = await start(kind);
    await second.caughtUp();
    expect([stage.handled.length, stage.rows()]).toEqual([6, before]);
  });
});

it('a reset is gone from the changelog too: a store that is lost comes back as it is', async () => {
  await stage.send('a:1', 'a:2');
  const first = await start('transactions');
  await first.caughtUp();
  const at = first.status().partitions.find(({ position }) => position > 0n)!.partition;
  await order(first, { action: 'seek', starts: new Map([[`in-${at}`, offset(1)]]), reset: true });
  await until(() => stage.handled.length === 3);
  await stage.stop();
  stage.stores.clear();
  await (await start('transactions')).caughtUp();
  expect([stage.rows(), stage.handled.length]).toEqual([{ a: '2' }, 3]);
});

it('a reset of work that keeps no store is refused', async () => {
  const processor = await start('committed offsets');
  const { answers } = await order(processor, { action: 'seek', starts: starts(0, 0), reset: true });
  expect(answers[0]).toMatchObject({ refused: expect.stringContaining('keeps no store') as string });
});

it('work on committed offsets commits the lowest unfinished record, and hands over what is not finished', async () => {
  await stage.producer.sendAll(['slow', 'b', 'c'].map((key) => ({ topic: 'in', partition: 0, key, value: Buffer.from('1') })));
  let release: () => void = () => undefined;
  const stuck = new Promise<void>((resolve) => (release = resolve));
  const first = await start('committed offsets', async (record, table) => {
    if (String(record.key) === 'slow') await stuck;
    await stage.note(record, table);
  });
  await until(() => stage.handled.length === 2);
  expect(first.status().partitions.find(({ partition }) => partition === 0)).toMatchObject({ position: 0n, end: 3n });
  release();
  await until(() => first.status().partitions[0]!.position === 3n);
  await stage.stop();
  const [committed] = await stage.kafka.admin.committedOffsets('counter', ['in']);
  expect(committed).toMatchObject({ partition: 0, offset: 3n });
});
