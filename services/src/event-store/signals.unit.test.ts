import { instanceEvents, messagePackSerializer, type Events } from '@spool/sdk/routed';
import { eventTails } from './fan-out.js';
import type { Delivery, TailRequest, Tails } from './tail.js';
import { Account, stage, until, type Stage } from './testing.js';

let on: Stage;
let tails: Tails;
let events: Events;
const stops: AbortController[] = [];
beforeEach(async () => {
  on = await stage();
  tails = eventTails(on.platform, on.registry);
  const packed = { for: { routing: 'shop.data.packed.#' }, serializer: messagePackSerializer };
  const foreign = { for: { routing: 'shop.data.foreign.#' }, serializer: { ...messagePackSerializer, contentType: 'text/plain' } };
  events = instanceEvents(on.platform, { root: 'shop', kind: 'gateway', serializers: [packed, foreign] });
  for (const category of ['plain', 'packed', 'foreign', 'exact'])
    events.declare(category, { routing: { root: 'shop', kind: 'data', category: [category], severity: 'info', detail: 'made' } });
  events.declare('failed', { routing: { root: 'shop', kind: 'exception', category: ['auth'], severity: 'error', detail: 'failed' } });
});
afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  await events.close();
  await on[Symbol.asyncDispose]();
});

interface Follower {
  readonly items: Delivery[];
  readonly said: () => unknown[];
}
async function follow(request: Partial<TailRequest> = {}): Promise<Follower> {
  const stop = new AbortController();
  stops.push(stop);
  const items: Delivery[] = [];
  const tail = await tails.open({ from: 'now', signal: stop.signal, ...request });
  void tail.follow({ deliver: (item) => items.push(item) > 0, ready: () => undefined });
  return { items, said: () => items.flatMap(({ signal }) => (signal === undefined ? [] : [signal.data])) };
}
const routed = (routing: string, emitter?: string) => ({ routed: { routing, ...(emitter === undefined ? {} : { emitter }) } });

describe('a tail of routed events', () => {
  it('gives what fits its patterns, from the past and the present, and goes on behind any item', async () => {
    await events.fire('plain', 1);
    await events.fire('failed', 2);
    const all = await follow({ ...routed('#'), from: 'earliest' });
    const failures = await follow({ ...routed('shop.exception.#', '*.gateway.*'), from: 'earliest' });
    const others = await follow({ ...routed('shop.#', '*.registry.*'), from: 'earliest' });
    const exact = await follow(routed('shop.data.exact.info.made'));
    await until(() => all.said().length === 2);
    await events.fire('failed', 3);
    await events.fire('exact', 4);
    await until(() => all.said().length === 4 && failures.said().length === 2 && exact.said().length === 1);
    expect(all.said().toSorted()).toEqual([1, 2, 3, 4]);
    expect([failures.said(), others.said(), exact.said()]).toEqual([[2, 3], [], [4]]);
    const first = failures.items.find(({ signal }) => signal !== undefined)!;
    expect(first.signal).toMatchObject({ routing: 'shop.exception.auth.error.failed', unreadable: null });
    expect(JSON.parse(first.data)).toMatchObject({ data: 2, emitter: expect.stringMatching(/\.gateway\.platform-0$/) as string });
    const again = await follow({ ...routed('shop.exception.#'), resume: first.position });
    await until(() => again.said().length === 1);
    expect(again.said()).toEqual([3]);
  });

  it('has no events of aggregates, and theirs have no routed events', async () => {
    await events.fire('plain', 1);
    const aggregates = await follow({ from: 'earliest' });
    const signals = await follow({ ...routed('#'), from: 'earliest' });
    await on.bank.gateway.send(Account, 'Put', 'a', { amount: 5, note: '' });
    await events.fire('plain', 2);
    await until(() => signals.said().length === 2 && aggregates.items.some(({ event }) => event !== undefined));
    expect(aggregates.said()).toEqual([]);
    expect(signals.items.filter(({ event }) => event !== undefined)).toEqual([]);
  });

  it('says of one flow alone what belongs to it', async () => {
    const flow = await follow({ ...routed('#'), correlationId: 'flow' });
    const whole = await follow(routed('#'));
    // The topic is not there yet.
    await events.fire('plain', 1, { correlationId: 'other' });
    await events.fire('plain', 2, { correlationId: 'flow' });
    await until(() => whole.said().length === 2 && flow.said().length === 1);
    expect(flow.said()).toEqual([2]);
  });

  it('reads what the serializers of the SDK write, and says so of what it cannot read', async () => {
    const tail = await follow(routed('shop.#'));
    await events.fire('packed', { bytes: new Uint8Array([1, 2]), more: [1] });
    await until(() => tail.said().length === 1);
    await events.fire('foreign', 1);
    await until(() => tail.said().length === 2);
    expect(tail.said()).toEqual([{ bytes: 'AQI=', more: [1] }, null]);
    expect(tail.items.at(-1)!.signal!.unreadable).toMatch(/RECORD_UNREADABLE.*text\/plain/);
  });

  it('finds the few patterns that fit among thousands', async () => {
    await events.fire('plain', 0);
    const followers = await Promise.all(Array.from({ length: 3000 }, (_, n) => follow(routed(`shop.data.c${n}.#`))));
    const one = await follow(routed('shop.data.plain.#'));
    await events.fire('plain', 1);
    await until(() => one.said().length === 1);
    expect(followers.flatMap(({ said }) => said())).toEqual([]);
  });

  it('refuses a pattern that can never match', async () => {
    await expect(follow(routed('shop.a*'))).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});
