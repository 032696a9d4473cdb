import { once } from 'node:events';
import { until } from '@spool/schemas/testing';
import { record } from '@spool/schemas';
import { WebSocket } from 'ws';
import { bundle } from '../bundle/bundle.js';
import { invoker } from '../invoker/invoker.js';
import { projection, type QueryContext } from '../projection/projection.js';
import { aggregate } from '../aggregate/aggregate.js';
import { Counter, Sums, Totals } from '../testing/counter.js';
import type { Direct } from './direct.js';
import type { Place } from './discovery.js';
import { path, protocol } from './frames.js';
import { connectDirect, serveDirect, type ConnectOptions } from './running.js';
import { startTwo, wireTo, type Two, type Wire } from './testing.js';

/** Answers when it is let, and tells when it is given up. */
const slow = { begun: 0, ended: 0, go: (): void => undefined };
const Slow = projection('Slow', {
  reads: Totals,
  queries: {
    Wait: { request: record('count.Wait', {}), view: record('count.WaitView', { n: 'int' }) },
    Fail: { request: record('count.Fail', {}), view: record('count.FailView', { n: 'int' }) },
  },
  answer: {
    Wait: (_: unknown, __: unknown, { signal }: QueryContext) => {
      slow.begun += 1;
      signal.addEventListener('abort', () => (slow.ended += 1));
      return new Promise<{ n: number }>((resolve) => (slow.go = () => resolve({ n: 1 })));
    },
    Fail: () => {
      throw new Error('a secret');
    },
  },
});
const Hidden = aggregate('Hidden', {
  ...Counter,
  commands: { Hide: Counter.commands.Add },
  events: { Hid: Counter.events.Added },
} as never);
const Caller = invoker('Caller', { sends: [Counter], asks: [Sums, Slow], run: () => Promise.resolve() });
const counting = bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, Sums, Slow, Hidden, Caller] });

let two: Two;
let wire: Wire;
const opened: { close(): Promise<void> }[] = [];
const direct = (places: readonly Place[], options: ConnectOptions = {}): Direct => {
  const made = connectDirect(two.running[0], { discovery: { find: () => places }, ...options });
  opened.push(made);
  return made;
};
beforeAll(async () => {
  two = await startTwo(counting);
  for (const each of two.running) await serveDirect(each, { maxInFlight: 3, maxCallsOfSocket: 2 });
});
beforeEach(async () => {
  Object.assign(slow, { begun: 0, ended: 0 });
  wire = await wireTo(two.places()[1].url);
});
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  await wire[Symbol.asyncDispose]();
});
afterAll(() => two[Symbol.asyncDispose]());
const wired = (): Place => ({ ...two.places()[1], url: wire.url });
const code = (expected: string) => expect.objectContaining({ code: expected }) as Error;

describe('direct calls', () => {
  it('send a command to its owner, ask a query for what it has done, and share one socket', async () => {
    const calls = direct([wired()]);
    const sent = await calls.send(Counter, 'Add', 'a', { n: 2 });
    expect(sent).toMatchObject({ status: 'applied', aggregateId: 'a', version: 1, events: [{ type: 'Added', version: 1 }] });
    const before = (await calls.ask(Sums, 'Total', {}, { after: sent.position })).view.sum;
    const { position } = await calls.sendJson('Add', 'a', { n: 3 });
    const answers = await Promise.all([1, 2].map(() => calls.askJson('Total', {}, { after: position })));
    expect(answers.map(({ view }) => (view as { sum: number }).sum)).toEqual([before + 3, before + 3]);
    expect(wire.connections).toBe(1);
  });

  it('say what the owner says: a repetition, a conflict, a payload that does not fit', async () => {
    const calls = direct(two.places());
    const options = { commandId: 'd-1', expectedVersion: 'none' } as const;
    for (const status of ['applied', 'duplicate'])
      expect(await calls.send(Counter, 'Add', 'b', { n: 1 }, options)).toMatchObject({ status, version: 1 });
    const conflict = calls.send(Counter, 'Add', 'b', { n: 1 }, { expectedVersion: 7 });
    await expect(conflict).rejects.toMatchObject({ code: 'VERSION_CONFLICT', facts: { actualVersion: 1 } });
    await expect(calls.sendJson('Add', 'b', { n: 'one' })).rejects.toEqual(code('INVALID_PAYLOAD'));
    await expect(calls.ask(Slow, 'Fail', {})).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(calls.sendJson('Nothing', 'b', {})).rejects.toEqual(code('UNKNOWN_COMMAND'));
  });

  it('take from a bundle what its components declare, and nothing else', async () => {
    await expect(direct(two.places()).sendJson('Hide', 'b', { n: 1 })).rejects.toEqual(code('FORBIDDEN'));
    const nobody = new WebSocket(`${wire.url.replace('http', 'ws')}${path}`, protocol);
    expect(String(((await once(nobody, 'error')) as [Error])[0])).toContain('401');
  });

  it('say when an instance does not take their token, and go on at another', async () => {
    const stranger = { ...wired(), instance: 'counting-7' };
    await expect(direct([stranger]).send(Counter, 'Add', 'k', { n: 1 })).rejects.toEqual(code('UNAUTHENTICATED'));
    const calls = direct([stranger, two.places()[1]]);
    for (const version of [1, 2]) expect(await calls.send(Counter, 'Add', 'k', { n: 1 })).toMatchObject({ version });
  });

  it('end at their deadline and by their signal, and the work with them', async () => {
    const calls = direct([wired()]);
    await calls.send(Counter, 'Add', 'a', { n: 0 });
    await expect(calls.ask(Slow, 'Wait', {}, { timeoutMs: 50 })).rejects.toEqual(code('INDETERMINATE'));
    const stop = new AbortController();
    const given = calls.ask(Slow, 'Wait', {}, { signal: stop.signal });
    await until(() => slow.begun === 2);
    stop.abort();
    await expect(given).rejects.toEqual(code('INDETERMINATE'));
    await until(() => slow.ended === 2);
    await expect(calls.ask(Slow, 'Wait', {}, { signal: stop.signal })).rejects.toEqual(code('UNAVAILABLE'));
    expect(slow.begun).toBe(2);
  });

  it('are bounded on both sides: more are refused at once, with a time to come back', async () => {
    const few = direct([wired()], { maxInFlight: 1 });
    const [one, other] = [direct([wired()]), direct([wired()])];
    const waiting = [few.ask(Slow, 'Wait', {}, { timeoutMs: 500 })];
    await expect(few.ask(Slow, 'Wait', {})).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: expect.stringContaining(wire.url) as string,
    });
    waiting.push(...[1, 2].map(() => one.ask(Slow, 'Wait', {}, { timeoutMs: 500 })));
    await until(() => slow.begun === 3);
    await expect(one.ask(Slow, 'Wait', {})).rejects.toMatchObject({
      message: expect.stringContaining('of this socket') as string,
      retryAfterMs: 1000,
    });
    await expect(other.ask(Slow, 'Wait', {})).rejects.toMatchObject({ message: expect.stringContaining('under way here') as string });
    expect(await Promise.allSettled(waiting)).toMatchObject(Array(3).fill({ status: 'rejected' }));
  });

  it('go elsewhere with the same command id when the way breaks, and have their effect once', async () => {
    const calls = direct([wired(), two.places()[0]]);
    await calls.ask(Sums, 'Total', {}).catch(() => undefined);
    await calls.ask(Sums, 'Total', {}).catch(() => undefined);
    wire.hold();
    const sent = calls.send(Counter, 'Add', 'lost', { n: 1 });
    // It has been applied, and the answer is on its way.
    const behind = (): Promise<unknown> => two.running[0].gateway.send(Counter, 'Add', 'lost', { n: 0 }, { expectedVersion: 1 });
    await until(() =>
      behind().then(
        () => true,
        () => false,
      ),
    );
    wire.cut();
    expect(await sent).toMatchObject({ status: 'duplicate', version: 1 });
  });

  it('say that they do not know when the only way breaks, connect anew, and give up one who is silent', async () => {
    const calls = direct([wired()], { pingEveryMs: 50 });
    const broken = calls.ask(Slow, 'Wait', {});
    await until(() => slow.begun === 1);
    wire.cut();
    await expect(broken).rejects.toEqual(code('INDETERMINATE'));
    await until(() => slow.ended === 1);
    expect(await calls.send(Counter, 'Add', 'c', { n: 1 })).toMatchObject({ status: 'applied' });
    wire.hold();
    await expect(calls.send(Counter, 'Add', 'c', { n: 1 })).rejects.toMatchObject({ code: 'INDETERMINATE', facts: { lost: true } });
    expect(wire.connections).toBe(2);
  });

  it('say that nobody is there', async () => {
    await expect(direct([]).ask(Sums, 'Total', {})).rejects.toEqual(code('UNAVAILABLE'));
    const gone = direct([{ instance: 'counting-9', url: 'http://127.0.0.1:1' }, two.places()[1]]);
    for (let each = 0; each < 3; each += 1) expect(await gone.send(Counter, 'Add', 'd', { n: 1 })).toMatchObject({ status: 'applied' });
    const closed = direct(two.places());
    await closed.close();
    await expect(closed.ask(Sums, 'Total', {})).rejects.toEqual(code('UNAVAILABLE'));
  });
});
