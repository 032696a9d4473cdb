import { until } from '@spool/schemas/testing';
import type { CarriedEvent, EventTransport } from '../transport.js';

/** Two processes that see each other's events, and what closes them. */
export interface Pair extends AsyncDisposable {
  readonly one: EventTransport;
  readonly two: EventTransport;
  /** The name of the second, where it can be named. */
  readonly secondNode: string | undefined;
}

export interface TransportSubject {
  readonly name: string;
  open(): Promise<Pair>;
}

let next = 0;
/** An event of the first process. */
export const carried = (routing: string, rest: Partial<CarriedEvent> = {}): CarriedEvent => ({
  ...{ id: `e${next++}`, routing, emitter: { host: 'h', kind: 'gateway', id: 'g-1' }, at: 1_700_000_000_000, delivery: 'durable' },
  ...{ contentType: 'application/json', value: Buffer.from('{}') },
  ...rest,
});

/** What every transport of events does. */
export function describeEventTransport({ name, open }: TransportSubject): void {
  describe(`a transport of events: ${name}`, () => {
    it('carries an event as it is to whoever wants it, in other processes and in its own', async () => {
      await using pair = await open();
      const seen: CarriedEvent[][] = [[], [], []];
      await pair.one.subscribe({ routing: 'app.data.#' }, (event) => void seen[0]!.push(event));
      await pair.two.subscribe({ routing: 'app.data.#' }, (event) => void seen[1]!.push(event));
      await pair.two.subscribe({ routing: 'app.exception.#' }, (event) => void seen[2]!.push(event));
      const full = { correlationId: 'c', causationId: 'd', traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` };
      const event = carried('app.data.x.info.made', { ...full, value: Buffer.from([0, 255, 1]), delivery: 'transient' });
      await pair.one.send(event, { scope: 'global' });
      await until(() => seen[0]!.length === 1 && seen[1]!.length === 1);
      const [got] = seen[1]!;
      expect({ ...got, value: Buffer.from(got!.value) }).toEqual(event);
      expect(seen[2]).toEqual([]);
    });

    it('matches by emitter too', async () => {
      await using pair = await open();
      const seen: string[] = [];
      await pair.two.subscribe({ routing: 'app.*.#', emitter: '*.gateway.*' }, ({ id }) => void seen.push(id));
      const wrong = carried('app.data.x.info.made', { emitter: { host: 'h', kind: 'registry', id: 'r' } });
      const right = carried('app.data.x.info.made');
      for (const event of [wrong, right]) await pair.one.send(event, { scope: 'global' });
      await until(() => seen.length > 0);
      expect(seen).toEqual([right.id]);
    });

    it('keeps the order of one sender and routing, one at a time, and goes on after a subscriber has failed', async () => {
      await using pair = await open();
      const [seen, beside]: [string[], string[]] = [[], []];
      let under = 0;
      await pair.two.subscribe({ routing: 'app.#' }, async ({ id }) => {
        expect((under += 1)).toBe(1);
        await new Promise((resolve) => setImmediate(resolve));
        under -= 1;
        seen.push(id);
        if (seen.length % 3 === 0) throw new Error('it failed');
      });
      await pair.two.subscribe({ routing: 'app.#' }, ({ id }) => void beside.push(id));
      const events = Array.from({ length: 300 }, () => carried('app.data.x.info.made'));
      for (const event of events) await pair.one.send(event, { scope: 'global' });
      await until(() => seen.length === events.length && beside.length === events.length);
      expect(seen).toEqual(events.map(({ id }) => id));
      expect(beside).toEqual(seen);
    });

    it('keeps what is local in its process, and sends to one node alone, or says that it cannot', async () => {
      await using pair = await open();
      const [here, there]: [string[], string[]] = [[], []];
      await pair.one.subscribe({ routing: '#' }, ({ id }) => void here.push(id));
      await pair.two.subscribe({ routing: '#' }, ({ id }) => void there.push(id));
      const [local, named, all] = [0, 1, 2].map(() => carried('app.data.x.info.made')) as [CarriedEvent, CarriedEvent, CarriedEvent];
      await pair.one.send(local, { scope: 'local' });
      const toNode = pair.one.send(named, { scope: 'node', node: pair.secondNode ?? 'two' });
      if (pair.secondNode === undefined) await expect(toNode).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      else await toNode;
      await pair.one.send(all, { scope: 'global' });
      await until(() => here.includes(all.id) && there.includes(all.id));
      expect(here).toEqual([local.id, all.id]);
      expect(there).toEqual(pair.secondNode === undefined ? [all.id] : [named.id, all.id]);
    });

    it('gives nothing to who has unsubscribed, and refuses once it is closed', async () => {
      await using pair = await open();
      const [gone, there]: [string[], string[]] = [[], []];
      const subscription = await pair.two.subscribe({ routing: '#' }, ({ id }) => void gone.push(id));
      await pair.two.subscribe({ routing: '#' }, ({ id }) => void there.push(id));
      await subscription.close();
      await pair.one.send(carried('app.data.x.info.made'), { scope: 'global' });
      await until(() => there.length === 1);
      expect(gone).toEqual([]);
      await pair.one.close();
      await expect(pair.one.send(carried('app.data.x.info.made'), { scope: 'global' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      await expect(pair.two.subscribe({ routing: 'app.a*' }, () => undefined)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    });
  });
}
