import { record } from '@spool/schemas';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundle } from '../bundle/bundle.js';
import { Counter, Sums, Totals } from '../testing/counter.js';
import { startInMemory, type BundleInMemory } from '../testing/start-in-memory.js';
import { fromToken, reached } from '../position/token.js';
import { projection } from './projection.js';

let evaluated = 0;
/** Parity changes with every second event only, and there is room for two. */
const Parity = projection('Parity', {
  reads: Totals,
  maxSubscriptions: 2,
  queries: { Odd: { request: record('parity.Odd', {}), view: record('parity.OddView', { odd: 'boolean' }) } },
  answer: {
    Odd: (_, { totals }) => {
      evaluated += 1;
      const sum = totals.get('all')?.sum;
      return sum === undefined ? undefined : { odd: sum % 2 === 1 };
    },
  },
});
let whole: BundleInMemory;
beforeEach(async () => {
  evaluated = 0;
  whole = await startInMemory(bundle({ id: 'parity', version: '1.0.0', components: [Counter, Totals, Sums, Parity] }));
});
afterEach(() => whole.close());
const add = (n: number) => whole.gateway.send(Counter, 'Add', 'a', { n });

describe('a subscription to a query', () => {
  it('gives the answer, and then what it has become', async () => {
    const { position } = await add(1);
    const seen: unknown[] = [];
    for await (const { view } of whole.gateway.subscribe(Sums, 'Total', {}, { after: position })) {
      if (seen.push(view) === 3) break;
      await add(10);
    }
    expect(seen).toEqual([
      { events: 1, sum: 1 },
      { events: 2, sum: 11 },
      { events: 3, sum: 21 },
    ]);
  });

  it('is told of changes alone, and by its position of how far the answer reaches', async () => {
    const first = await add(1);
    const updates = whole.gateway.subscribe(Parity, 'Odd', {}, { after: first.position });
    expect((await updates.next()).value).toMatchObject({ view: { odd: true } });
    const before = evaluated;
    const same = await add(2);
    await whole.until(same.position);
    await whole.until(() => evaluated > before);
    const changed = await add(1);
    const { value } = await updates.next();
    expect(value!.view).toEqual({ odd: false });
    expect(reached(fromToken(value!.position), fromToken(changed.position))).toBe(true);
    await updates.return();
  });

  it('passes over what nobody has taken: the latest waits', async () => {
    const { position } = await add(1);
    const updates = whole.gateway.subscribe(Sums, 'Total', {}, { after: position });
    await updates.next();
    const other = whole.gateway.subscribe(Sums, 'Total', {});
    await other.next();
    for (let n = 0; n < 5; n++) {
      await add(1);
      await other.next();
    }
    expect((await updates.next()).value).toMatchObject({ view: { events: 6, sum: 6 } });
    await updates.return();
    await other.return();
  });

  it('goes by type and JSON too', async () => {
    const { position } = await add(3);
    const updates = whole.gateway.subscribeJson('Odd', {}, { after: position });
    expect((await updates.next()).value).toMatchObject({ view: { odd: true } });
    await add(1);
    expect((await updates.next()).value).toMatchObject({ view: { odd: false } });
    await updates.return();
    expect(() => whole.gateway.subscribeJson('Even', {})).toThrow(/no bundle declares the query Even/);
  });

  it('ends with its signal, with `break`, and with the gateway', async () => {
    const { position } = await add(1);
    const stop = new AbortController();
    const one = whole.gateway.subscribe(Sums, 'Total', {}, { after: position, signal: stop.signal });
    await one.next();
    const waiting = one.next();
    stop.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
    const other = whole.gateway.subscribe(Sums, 'Total', {});
    await other.next();
    const left = other.next().catch((error: unknown) => error);
    await whole.close();
    expect(await left).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('is refused beyond the bound, and has its place again when another has ended', async () => {
    const { position } = await add(1);
    const open = [1, 2].map(() => whole.gateway.subscribe(Parity, 'Odd', {}, { after: position }));
    for (const each of open) await each.next();
    await expect(whole.gateway.subscribe(Parity, 'Odd', {}).next()).rejects.toMatchObject({ code: 'OVERLOADED', retryAfterMs: 1000 });
    await open[0]!.return();
    const third = whole.gateway.subscribe(Parity, 'Odd', {});
    await whole.until(async () => {
      const attempt = whole.gateway.subscribe(Parity, 'Odd', {});
      const found = await attempt.next().then(
        () => true,
        () => false,
      );
      await attempt.return();
      return found;
    });
    expect((await third.next()).value).toMatchObject({ view: { odd: true } });
    for (const each of [open[1]!, third]) await each.return();
  });

  it('lasts beyond its lease as long as it is renewed', async () => {
    const { position } = await add(1);
    const updates = whole.gateway.subscribe(Parity, 'Odd', {}, { after: position, leaseMs: 90 });
    await updates.next();
    // Each renewal is an evaluation, and there is no other.
    await whole.until(() => evaluated > 8);
    await add(1);
    expect((await updates.next()).value).toMatchObject({ view: { odd: false } });
    await updates.return();
    const after = evaluated;
    await sleep(100);
    expect(evaluated - after).toBeLessThanOrEqual(1);
  });

  it('throws what the query is refused with', async () => {
    await expect(whole.gateway.subscribe(Parity, 'Odd', {}).next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
