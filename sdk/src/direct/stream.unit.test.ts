import { record, SpoolError } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { bundle } from '../bundle/bundle.js';
import { describe as described } from '../bundle/describe.js';
import { invoker } from '../invoker/invoker.js';
import { service } from '../service/service.js';
import { streaming, type StreamContext } from '../service/streaming.js';
import { topicCatalogue } from '@spool/streams';
import type { Direct } from './direct.js';
import type { Place } from './discovery.js';
import { connectDirect, serveDirect, type ConnectOptions } from './running.js';
import { startTwo, wireTo, type Two, type Wire } from './testing.js';

const Count = record('count.Count', { to: 'int' });
const events = { Counted: record('count.Counted', { n: 'int', by: 'string' }) };
/** What the handlers have done. */
let made: number[] = [];
let ended = 0;
let begun: StreamContext[] = [];
async function* count({ to }: { to: number }, context: StreamContext) {
  begun.push(context);
  try {
    for (let n = context.after + 1; n <= to; n += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      made.push(n);
      yield { type: 'Counted' as const, data: { n, by: context.commandId } };
    }
    if (to < 0) throw new SpoolError('NOT_FOUND', `there is nothing below ${to}`);
  } finally {
    ended += 1;
  }
}
const Counts = service('Counts', {
  commands: {},
  streams: {
    CountOnce: streaming({ command: Count, events, handle: count }),
    CountOn: streaming({ command: Count, events, resumable: true, handle: count }),
  },
  handle: {},
});
const Others = service('Others', {
  commands: {},
  streams: { CountOnce: streaming({ command: Count, events: { Other: events.Counted }, handle: count as never }) },
  handle: {},
});
const Caller = invoker('Caller', { sends: [Counts], run: () => Promise.resolve() });
const counting = bundle({ id: 'counting', version: '1.0.0', components: [Counts, Caller] });

let two: Two;
let wire: Wire;
const opened: { close(): Promise<void> }[] = [];
const direct = (places: readonly Place[], options: ConnectOptions = {}): Direct => {
  const calls = connectDirect(two.running[0], { discovery: { find: () => places }, ...options });
  opened.push(calls);
  return calls;
};
beforeEach(async () => {
  [made, begun, ended] = [[], [], 0];
  two = await startTwo(counting);
  for (const each of two.running) opened.push(await serveDirect(each, { resumeMs: 300, maxStreams: 2 }));
  wire = await wireTo(two.places()[1].url);
});
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
  await wire[Symbol.asyncDispose]();
  await two[Symbol.asyncDispose]();
});
const wired = (): Place => ({ ...two.places()[1], url: wire.url });
const upTo = (to: number): number[] => Array.from({ length: to }, (_, n) => n + 1);
const all = async (stream: AsyncIterable<{ readonly data: { readonly n: number } }>): Promise<number[]> => {
  const got: number[] = [];
  for await (const { data } of stream) got.push(data.n);
  return got;
};

describe('a command that is answered with a stream', () => {
  it('gives its events in order, each once, and then the end', async () => {
    const got = await all(direct([wired()]).stream(Counts, 'CountOnce', { to: 1000 }, { commandId: 'c-1' }));
    expect(got).toEqual(upTo(1000));
    expect([begun.map(({ commandId, after }) => [commandId, after]), ended]).toEqual([[['c-1', 0]], 1]);
    expect(await all(direct([wired()]).stream(Counts, 'CountOnce', { to: 0 }))).toEqual([]);
  });

  it('makes no more than its caller has granted, and goes on as it takes', async () => {
    const stream = direct([wired()]).stream(Counts, 'CountOnce', { to: 100 }, { window: 4 });
    expect((await stream.next()).value?.data.n).toBe(1);
    await until(() => made.length >= 4);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(made).toEqual(upTo(4));
    await stream.next();
    await until(() => made.length === 6);
    expect(await all(stream)).toEqual(upTo(100).slice(2));
  });

  it('goes on behind the last element when its socket is cut, without a handler that begins again', async () => {
    const stream = direct([wired()]).stream(Counts, 'CountOnce', { to: 400 }, { window: 16 });
    const got: number[] = [];
    for await (const { data } of stream) {
      got.push(data.n);
      if (data.n % 100 === 0) wire.cut();
    }
    expect([got, made]).toEqual([upTo(400), upTo(400)]);
    expect(begun).toHaveLength(1);
    expect(wire.connections).toBeGreaterThanOrEqual(4);
  });

  it('gives again what was on its way when the socket was cut', async () => {
    const stream = direct([wired()]).stream(Counts, 'CountOnce', { to: 100 }, { window: 16 });
    const got = [(await stream.next()).value!.data.n];
    while (got.length < 16) got.push((await stream.next()).value!.data.n);
    // What is made from here on does not come.
    wire.hold();
    const next = stream.next();
    await until(() => made.length > 20);
    wire.cut();
    got.push((await next).value!.data.n, ...(await all(stream)));
    expect([got, made, begun.length]).toEqual([upTo(100), upTo(100), 1]);
  });

  it('goes on at another instance where its handler can', async () => {
    const places: Place[] = [wired(), two.places()[0]];
    const calls = direct([], { discovery: { find: () => places } });
    const [on, once] = [calls.stream(Counts, 'CountOn', { to: 200 }), calls.stream(Counts, 'CountOnce', { to: 200 })];
    const got = [(await on.next()).value!.data.n];
    places.reverse();
    expect((await once.next()).value?.data.n).toBe(1);
    // The one that has it is gone for good.
    places.splice(
      places.findIndex(({ url }) => url === wire.url),
      1,
    );
    await wire[Symbol.asyncDispose]();
    got.push(...(await all(on)));
    expect(got).toEqual(upTo(200));
    const contexts = begun.filter(({ after }) => after > 0);
    expect(contexts).toHaveLength(1);
    await all(once).catch(() => undefined);
  });

  it('says so where it cannot go on', async () => {
    const places: Place[] = [wired()];
    const stream = direct([], { discovery: { find: () => places } }).stream(Counts, 'CountOnce', { to: 200 });
    await stream.next();
    places[0] = two.places()[0];
    wire.cut();
    await expect(all(stream)).rejects.toMatchObject({ code: 'INDETERMINATE' });
    const nowhere = direct([]).stream(Counts, 'CountOnce', { to: 1 }, { resumeWithinMs: 100 });
    await expect(nowhere.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('ends its work when the caller breaks off, gives up, or does not come back', async () => {
    const calls = direct([wired()]);
    for await (const { data } of calls.stream(Counts, 'CountOnce', { to: 1e6 })) if (data.n === 3) break;
    await until(() => ended === 1 && begun[0]!.signal.aborted);
    const stop = new AbortController();
    const given = calls.stream(Counts, 'CountOnce', { to: 1e6 }, { signal: stop.signal });
    await given.next();
    stop.abort();
    await expect(all(given)).rejects.toMatchObject({ code: 'INDETERMINATE' });
    await until(() => ended === 2);
    const left = direct([wired()]).stream(Counts, 'CountOnce', { to: 1e6 }, { resumeWithinMs: 0 });
    await left.next();
    wire.cut();
    await until(() => ended === 3);
    await expect(all(left)).rejects.toMatchObject({ code: 'INDETERMINATE' });
  });

  it('tells what the handler throws, behind what it gave, and what is refused', async () => {
    const calls = direct([wired()]);
    await expect(all(calls.stream(Counts, 'CountOnce', { to: -1 }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.any(String) as string,
    });
    await expect(all(calls.stream(Others, 'CountOnce', { to: 1 }))).rejects.toMatchObject({ code: 'UNKNOWN_COMMAND' });
    await expect(all(calls.stream(Counts, 'CountOnce', { to: 'x' } as never))).rejects.toMatchObject({ code: 'INVALID_PAYLOAD' });
    const held = [1, 2].map(() => calls.stream(Counts, 'CountOnce', { to: 1e6 }));
    for (const each of held) await each.next();
    const third = calls.stream(Counts, 'CountOnce', { to: 1 }, { resumeWithinMs: 50 });
    await expect(all(third)).rejects.toMatchObject({ code: 'OVERLOADED' });
    for (const each of held) await each.return(undefined);
  });

  it('is found by the types of command and events, in the descriptor of its bundle', () => {
    const { components } = described(counting, topicCatalogue({}));
    expect(components[0]?.streams).toEqual([
      { command: 'CountOnce', events: ['Counted'] },
      { command: 'CountOn', events: ['Counted'] },
    ]);
    expect(components[1]?.sends).toEqual(['CountOnce', 'CountOn']);
  });
});
