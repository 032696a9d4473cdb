import { messageHeaders, record } from '@spool/schemas';
import { fromToken, toToken } from '@spool/sdk';
import { partitionOf } from '@spool/streams';
import { eventTails } from './fan-out.js';
import type { TailedEvent, TailItem, TailRequest, Tails } from './tail.js';
import { Account, pulled, stage, until, type Stage } from './testing.js';

let on: Stage;
let tails: Tails;
const stops: AbortController[] = [];
beforeEach(async () => {
  on = await stage();
  tails = eventTails(on.platform, on.registry);
});
afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  await on[Symbol.asyncDispose]();
});

const put = (id: string, amount: number, more = {}): Promise<unknown> =>
  on.bank.gateway.send(Account, 'Put', id, { amount, note: '' }, more);
async function open(request: Partial<TailRequest> = {}): Promise<AsyncIterator<TailItem>> {
  const stop = new AbortController();
  stops.push(stop);
  return pulled(await tails.open({ from: 'earliest', signal: stop.signal, ...request }));
}
async function take(tail: AsyncIterator<TailItem>, count: number): Promise<(TailItem & { readonly event: TailedEvent })[]> {
  const items: (TailItem & { readonly event: TailedEvent })[] = [];
  while (items.length < count) {
    const next = await tail.next();
    if (next.done === true) throw new Error('the tail has ended');
    const { position, event } = next.value;
    if (event !== undefined) items.push({ position, event });
  }
  return items;
}
const amounts = (items: readonly { event: TailedEvent }[]): number[] =>
  items.map(({ event }) => (event.payload as { amount: number }).amount);

describe('a tail of events', () => {
  it('goes from the past to the present without a gap and without a repetition', async () => {
    const total = 300;
    const sending = (async () => {
      for (let n = 0; n < total; n++) await put(`a${n % 7}`, n);
    })();
    await until(async () => (await on.kafka.admin.offsets(on.topics.events('Account').name)).some(({ latest }) => latest > 40n));
    const found = amounts(await take(await open(), total));
    await sending;
    expect(found.toSorted((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, n) => n));
    // In order for each aggregate.
    for (let id = 0; id < 7; id++) {
      const own = found.filter((n) => n % 7 === id);
      expect(own).toEqual(own.toSorted((a, b) => a - b));
    }
  });

  it('goes on behind any item, whoever serves it then', async () => {
    for (let n = 0; n < 20; n++) await put(`a${n % 3}`, n);
    const all = await take(await open(), 20);
    const rest = amounts(all).slice(8);
    for (let n = 20; n < 25; n++) await put(`a${n % 3}`, n);
    const restarted = eventTails(on.platform, on.registry);
    const stop = new AbortController();
    stops.push(stop);
    const again = await restarted.open({ from: 'now', resume: all[7]!.position, signal: stop.signal });
    const found = amounts(await take(pulled(again), 17));
    expect(found.toSorted((a, b) => a - b)).toEqual([...rest, 20, 21, 22, 23, 24].toSorted((a, b) => a - b));
  });

  it('that begins now tells at once where it is, so that what is missed before the first event is found again', async () => {
    await put('a', 1);
    const tail = await open({ from: 'now' });
    const first = await tail.next();
    expect((first.value as TailItem).event).toBeUndefined();
    await put('a', 2);
    const resumed = await open({ from: 'now', resume: (first.value as TailItem).position });
    expect(amounts(await take(resumed, 1))).toEqual([2]);
    expect(amounts(await take(tail, 1))).toEqual([2]);
  });

  it('gives what is asked for by type, aggregate, flow and context', async () => {
    await put('a', 1, { correlationId: 'flow' });
    await put('b', 2, { context: 'import' });
    await on.bank.gateway.send(Account, 'Close', 'a', {});
    await put('b', 3);
    const of = async (request: Partial<TailRequest>, count: number) =>
      (await take(await open(request), count)).map(({ event }) => `${event.aggregateId}@${event.version ?? ''} ${event.type}`);
    expect(await of({ types: ['Closed'] }, 1)).toEqual(['a@2 Closed']);
    expect(await of({ aggregateId: 'b' }, 2)).toEqual(['b@1 Paid', 'b@2 Paid']);
    expect(await of({ correlationId: 'flow' }, 1)).toEqual(['a@1 Paid']);
    expect(await of({ context: 'import' }, 1)).toEqual(['b@1 Paid']);
    expect(await of({ context: 'default', aggregateId: 'b' }, 1)).toEqual(['b@2 Paid']);
    expect(await of({ aggregateTypes: ['Account'], from: { at: 0 }, types: ['Closed'] }, 1)).toEqual(['a@2 Closed']);
  });

  it('reads only the partition of an aggregate, and tells how far it is when it passes over many', async () => {
    const tail = await open({ aggregateId: 'a', types: ['Closed'] });
    await on.bank.gateway.send(Account, 'Many', 'a', { count: 1200 });
    const first = (await tail.next()).value as TailItem;
    expect([...fromToken(first.position).keys()]).toEqual([`evt.Account-${partitionOf(Buffer.from('a'), 2)}`]);
    const reached = async (): Promise<bigint> => {
      const { position, event } = (await tail.next()).value as TailItem;
      expect(event).toBeUndefined();
      return [...fromToken(position).values()][0]!;
    };
    let at = await reached();
    while (at < 1200n) at = await reached();
  });

  it('begins behind a position, and now in partitions that it does not name', async () => {
    await put('a', 1);
    const { position } = await on.bank.gateway.send(Account, 'Put', 'a', { amount: 2, note: '' });
    await put('a', 3);
    const other = ['b', 'c', 'd', 'e'].find((id) => partitionOf(Buffer.from(id), 2) !== partitionOf(Buffer.from('a'), 2))!;
    await put(other, 4);
    const tail = await open({ from: { position } });
    expect(amounts(await take(tail, 1))).toEqual([3]);
    await put(other, 5);
    expect(amounts(await take(tail, 1))).toEqual([5]);
  });

  it('takes in topics that come, from their beginning', async () => {
    const tail = await open({ from: 'now' });
    await tail.next();
    const topic = on.topics.events('Late');
    await on.kafka.admin.ensureTopics([topic]);
    const encoder = await on.codec.encoder(topic.name, record('late.Come', { n: 'int' }));
    const headers = messageHeaders({ id: 'l/0', type: 'Come', aggregateVersion: 1 });
    await on.platform.producer.send({ topic: topic.name, key: 'l', value: encoder.encode({ n: 1 }), headers });
    const pending = take(tail, 1);
    // A bundle that announces itself is what changes the registry.
    await on.deploy(Account);
    expect((await pending)[0]!.event).toMatchObject({ aggregateType: 'Late', aggregateId: 'l', payload: { n: 1 } });
  });

  it('gives a record that cannot be read with the reason', async () => {
    await on.platform.producer.send({ topic: on.topics.events('Account').name, key: 'x', value: Buffer.from('no Avro') });
    const [item] = await take(await open(), 1);
    expect(item!.event).toMatchObject({ aggregateId: 'x', payload: null, version: null });
    expect(item!.event.unreadable).toContain('RECORD_UNREADABLE');
  });

  it('refuses a position that the log does not have, and one that is none', async () => {
    const beyond = toToken(new Map([...fromToken(Buffer.from('evt.Account-0:999').toString('base64url'))]));
    await expect(open({ resume: beyond })).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    await expect(open({ resume: '!!' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('ends when it is told to', async () => {
    const stop = new AbortController();
    const tail = pulled(await tails.open({ from: 'now', signal: stop.signal }));
    await tail.next();
    const next = tail.next();
    stop.abort();
    expect(await next).toMatchObject({ done: true });
  });
});
