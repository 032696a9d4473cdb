import { SpoolError } from '@spool/schemas';
import { createEvents, type Events } from './events.js';
import { createEventHub, type EventHub } from './memory.js';
import { consume, expose } from './remote.js';

let hub: EventHub;
let ids = 0;
const newId = (): string => `i${ids++}`;
beforeEach(() => (hub = createEventHub(() => undefined)));
const eventsOf = (id: string): Events =>
  createEvents({
    ...{
      emitter: { host: 'h', kind: 'app', id },
      transport: () => Promise.resolve(hub.connect(id)),
      log: () => undefined,
      now: () => 0,
      newId,
    },
  });
const rates = { root: 'app', service: 'rates', newId };
interface Rates {
  convert(amount: number, to: string): Promise<number>;
  none(): void;
}

describe('a service over events', () => {
  it('is called as an object is: by one of those who offer it, each in turn', async () => {
    await using all = pack(eventsOf('one'), eventsOf('two'), eventsOf('caller'));
    const [one, two, caller] = all;
    const calls: string[] = [];
    const methods = (name: string) => ({
      convert: (amount: number, to: string) => {
        calls.push(name);
        return Promise.resolve(amount * to.length);
      },
      none: () => undefined,
    });
    await expose(one, rates, methods('one'));
    await expose(two, rates, methods('two'));
    const { remote, close } = await consume<Rates>(caller, rates);
    const results = await Promise.all([1, 2, 3].map((amount) => remote.convert(amount, 'EUR')));
    expect(results).toEqual([3, 6, 9]);
    for (let n = 0; n < 4; n++) await remote.convert(n, 'EUR');
    expect(calls).toHaveLength(7);
    expect(new Set(calls)).toEqual(new Set(['one', 'two']));
    await expect(remote.none()).resolves.toBeNull();
    await close();
  });

  it('passes on what a method throws, and says that there is no such method, or nobody who offers it', async () => {
    await using all = pack(eventsOf('one'), eventsOf('caller'));
    const [one, caller] = all;
    const { remote, close } = await consume<Rates & { missing(): void }>(caller, { ...rates, findMs: 50 });
    await expect(remote.convert(1, 'EUR')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/nobody offers/) as string,
    });
    const offer = await expose(one, rates, {
      convert: (amount: number) => {
        throw amount > 1 ? new SpoolError('REJECTED', 'too much') : new TypeError('a defect');
      },
    });
    await expect(remote.convert(2, 'EUR')).rejects.toMatchObject({ code: 'REJECTED', message: 'too much' });
    await expect(remote.convert(1, 'EUR')).rejects.toMatchObject({ code: 'INTERNAL', message: 'a defect' });
    await expect(remote.missing()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect((remote as unknown as { toString(): Promise<void> }).toString()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await offer.close();
    await close();
  });

  it('leaves it open what became of a call that is not answered in time, or aborted, and looks for others then', async () => {
    await using all = pack(eventsOf('one'), eventsOf('two'), eventsOf('caller'));
    const [one, two, caller] = all;
    const silent = await expose(one, rates, { convert: () => new Promise(() => undefined) });
    const { remote, close } = await consume<Rates>(caller, { ...rates, timeoutMs: 100 });
    await expect(remote.convert(1, 'EUR')).rejects.toMatchObject({
      code: 'INDETERMINATE',
      message: expect.stringMatching(/100 ms/) as string,
    });
    await silent.close();
    await expose(two, rates, { convert: () => 7 });
    expect(await remote.convert(1, 'EUR')).toBe(7);
    await close();
    await expect(remote.convert(1, 'EUR')).rejects.toMatchObject({ code: 'INDETERMINATE' });
    const controller = new AbortController();
    const aborted = await consume<Rates>(caller, { ...rates, signal: controller.signal });
    const call = aborted.remote.convert(1, 'EUR');
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: 'INDETERMINATE', message: expect.stringMatching(/aborted/) as string });
    await aborted.close();
  });
});

/** All are closed at the end of the test. */
const pack = <T extends readonly Events[]>(...all: T): T & AsyncDisposable =>
  Object.assign(all, {
    [Symbol.asyncDispose]: async () => {
      for (const each of all) await each.close();
    },
  });
