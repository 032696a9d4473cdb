import type { Codec } from '@spool/schemas';
import type { Kafka } from '@spool/streams';
import { eventTails } from './fan-out.js';
import type { Delivery, TailRequest, Tails } from './tail.js';
import { Account, stage, until, type Stage } from './testing.js';

let on: Stage;
let tails: Tails;
let readers: number;
let decoded: number;
const stops: AbortController[] = [];
beforeEach(async () => {
  on = await stage();
  readers = decoded = 0;
  const reader: Kafka['reader'] = (options) => ((readers += 1), on.kafka.reader(options));
  const decodeAny: Codec['decodeAny'] = (value) => ((decoded += 1), on.codec.decodeAny(value));
  const { topics, now, log } = on.platform;
  tails = eventTails({ topics, now, log, kafka: { ...on.kafka, reader }, codec: { ...on.codec, decodeAny } }, on.registry);
});
afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  await on[Symbol.asyncDispose]();
});

interface Follower {
  readonly items: Delivery[];
  readonly stop: AbortController;
  readonly ended: Promise<void>;
  readonly amounts: () => number[];
}
async function follow(request: Partial<TailRequest> = {}, most = Infinity): Promise<Follower> {
  const stop = new AbortController();
  stops.push(stop);
  const items: Delivery[] = [];
  const tail = await tails.open({ from: 'now', signal: stop.signal, ...request });
  const ended = tail.follow({
    deliver: (item) => items.push(item) < most,
    ready: () => undefined,
  });
  ended.catch(() => undefined);
  const amounts = () => items.flatMap(({ event }) => (event?.payload === undefined ? [] : [(event.payload as { amount: number }).amount]));
  return { items, stop, ended, amounts };
}
const put = (id: string, amount: number): Promise<unknown> => on.bank.gateway.send(Account, 'Put', id, { amount, note: '' });
const upTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);
const ascending = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b);

describe('many tails', () => {
  it('are served by one reader, and each event is decoded and written out once', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => follow()));
    const paid = await Promise.all(Array.from({ length: 100 }, () => follow({ types: ['Paid'] })));
    await put('a', 1);
    await until(() => [...all, ...paid].every(({ amounts }) => amounts().length === 1));
    expect([readers, decoded]).toEqual([1, 1]);
    const events = [...all, ...paid].map(({ items }) => items.find(({ event }) => event !== undefined)!);
    const make = ({ data }: Delivery): Buffer => Buffer.from(data);
    expect(new Set(events.map(({ event }) => event)).size).toBe(1);
    // One for each group, for all of its members.
    expect(new Set(events.map((item) => item.encoded('x', make))).size).toBe(2);
  });

  it('that begin at any time, in the past or now, get each event once and in order while events are written', async () => {
    const total = 400;
    let sent = 0;
    const sending = (async () => {
      for (; sent < total; sent++) await put(`a${sent % 5}`, sent);
    })();
    const followers: { readonly follower: Follower; readonly id: string | undefined; readonly had: readonly number[] }[] = [];
    while (sent < total) {
      const id = followers.length % 3 === 0 ? 'a2' : undefined;
      const types = followers.length % 2 === 0 ? ['Paid'] : undefined;
      // Every fourth goes on behind something that another one got.
      const other = followers.length % 4 === 3 && id === undefined ? followers.find((each) => each.id === undefined) : undefined;
      const got = other?.follower.items.filter(({ event }) => event !== undefined) ?? [];
      const resume = got.at(Math.floor(got.length / 2))?.position;
      const had = resume === undefined ? [] : other!.follower.amounts().slice(0, Math.floor(got.length / 2) + 1);
      followers.push({ follower: await follow({ from: 'earliest', aggregateId: id, types, resume }), id, had });
      const at = sent;
      await until(() => sent >= Math.min(total, at + 10));
    }
    await sending;
    for (const { follower, id, had } of followers) {
      const wanted = upTo(0, total).filter((n) => (id === undefined || n % 5 === 2) && !had.includes(n));
      await until(() => follower.amounts().length >= wanted.length);
      expect(ascending(follower.amounts())).toEqual(wanted);
      for (let each = 0; each < 5; each++) {
        const own = follower.amounts().filter((n) => n % 5 === each);
        expect(own).toEqual(ascending(own));
      }
    }
    // All that came behind what was read lately read nothing by themselves.
    expect(readers).toBeLessThan(followers.length);
  });

  it('go on in memory behind a position that was read lately', async () => {
    const first = await follow();
    for (let n = 0; n < 20; n++) await put('a', n);
    await until(() => first.amounts().length === 20);
    const position = first.items.filter(({ event }) => event !== undefined)[4]!.position;
    const again = await Promise.all(Array.from({ length: 300 }, () => follow({ resume: position })));
    await put('a', 20);
    await until(() => again.every(({ amounts }) => amounts().length === 16));
    for (const { amounts } of again) expect(amounts()).toEqual(upTo(5, 21));
    expect([readers, decoded]).toEqual([1, 21]);
  });

  it('of the past beyond two hundred are refused until others are at the present', async () => {
    for (let n = 0; n < 3; n++) await put('a', n);
    const opened = await Promise.allSettled(
      Array.from({ length: 201 }, () => {
        const stop = new AbortController();
        stops.push(stop);
        return tails.open({ from: 'earliest', signal: stop.signal });
      }),
    );
    const refused = opened.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    expect(refused).toEqual([expect.objectContaining({ code: 'OVERLOADED' })]);
    stops[0]!.abort();
    const late = await follow({ from: 'earliest' });
    await until(() => late.amounts().length === 3);
  });

  it('end one by one: those that take no more, and those that are told to, while the others go on', async () => {
    const [short, stopped, long] = await Promise.all([follow({}, 2), follow(), follow()]);
    await put('a', 1);
    await short.ended;
    stopped.stop.abort();
    await stopped.ended;
    await put('a', 2);
    await until(() => long.amounts().length === 2);
    expect([short.amounts(), stopped.amounts().slice(1), long.amounts()]).toEqual([[1], [], [1, 2]]);
    long.stop.abort();
    await long.ended;
    // The last one lets the shared reader go; the next one has another.
    const next = await follow();
    await put('a', 3);
    await until(() => next.amounts().length === 1);
    expect([next.amounts(), readers]).toEqual([[3], 2]);
  });
});
