import type { Direct } from '../direct.js';
import { Counts } from './bundle.js';

export { conforming } from './bundle.js';

/** What every way to a bundle can do. */
export interface Calls {
  readonly sendJson: Direct['sendJson'];
  readonly askJson: Direct['askJson'];
  /** Undefined: it has no streams. */
  readonly stream?: Direct['stream'];
}
export interface OpenedCalls extends AsyncDisposable {
  readonly calls: Calls;
  /** Ends the way, not the bundle. */
  close(): Promise<void>;
}

export interface CallSubject {
  readonly name: string;
  /** To an instance of `conforming` that runs for nobody else. */
  open(): Promise<OpenedCalls>;
  /** Where they differ, and have to say so. */
  readonly differences: {
    /** What no component of the calling bundle declares is FORBIDDEN, or taken since who may send is settled elsewhere. */
    readonly undeclared: 'forbidden' | 'taken';
    /** A call can be given up by a signal. */
    readonly givesUp: boolean;
    /** A command can be answered with a stream. */
    readonly streams: boolean;
  };
}

const code = (expected: string): unknown => expect.objectContaining({ code: expected });
const totals = async ({ askJson }: Calls, after: string): Promise<unknown> => (await askJson('Total', {}, { after })).view;

/** What every transport of calls does. */
export function describeCalls({ name, open, differences }: CallSubject): void {
  describe(`a transport of calls: ${name}`, () => {
    let opened: OpenedCalls;
    let calls: Calls;
    beforeAll(async () => {
      opened = await open();
      calls = opened.calls;
    }, 60_000);
    afterAll(() => opened[Symbol.asyncDispose]());

    it('applies a command, and a query with its position sees it', async () => {
      const sent = await calls.sendJson('Add', 'a', { n: 2 });
      expect(sent).toMatchObject({ status: 'applied', aggregateId: 'a', version: 1, events: [{ type: 'Added', version: 1 }] });
      expect(await totals(calls, sent.position)).toEqual({ events: 1, sum: 2 });
    });

    it('applies a command id once, however often it is sent, also at the same time', async () => {
      const first = await calls.sendJson('Add', 'b', { n: 1 }, { commandId: 'same' });
      const again = await Promise.all([1, 2, 3].map(() => calls.sendJson('Add', 'b', { n: 1 }, { commandId: 'same' })));
      expect(again).toMatchObject([1, 2, 3].map(() => ({ status: 'duplicate', commandId: 'same', version: first.version })));
      const twice = await Promise.all([1, 2].map(() => calls.sendJson('Add', 'b', { n: 1 }, { commandId: 'other' })));
      // Two who wait at one gateway for one id hear one answer.
      expect(twice.map(({ version }) => version)).toEqual([2, 2]);
      expect((await calls.sendJson('Add', 'b', { n: 1 })).version).toBe(3);
    });

    it('tells a conflict with the actual version, and a rejection with its reason', async () => {
      await calls.sendJson('Add', 'c', { n: 1 }, { expectedVersion: 'none' });
      const conflict = calls.sendJson('Add', 'c', { n: 1 }, { expectedVersion: 7 });
      await expect(conflict).rejects.toMatchObject({ code: 'VERSION_CONFLICT', facts: { actualVersion: 1 } });
      await expect(calls.sendJson('Add', 'c', { n: -1 })).rejects.toMatchObject({ code: 'REJECTED', facts: { reason: 'NEGATIVE' } });
    });

    it('refuses what does not fit, what nobody handles, and tells that nothing was found', async () => {
      await expect(calls.sendJson('Add', 'd', { n: 'one' })).rejects.toEqual(code('INVALID_PAYLOAD'));
      await expect(calls.sendJson('Add', null, { n: 1 })).rejects.toEqual(code('INVALID_REQUEST'));
      await expect(calls.sendJson('Subtract', 'd', { n: 1 })).rejects.toEqual(code('UNKNOWN_COMMAND'));
      await expect(calls.askJson('Ghosts', {})).rejects.toEqual(code('UNKNOWN_QUERY'));
      await expect(calls.askJson('Nothing', {})).rejects.toEqual(code('NOT_FOUND'));
    });

    it('ends a call that gets no answer at its deadline, and begins nothing after it', async () => {
      await expect(calls.askJson('Never', {}, { timeoutMs: 200 })).rejects.toEqual(code('INDETERMINATE'));
      const late = calls.askJson('Total', {}, { timeoutMs: 200, after: 'eyJ4LTAiOiI5OSJ9' });
      await expect(late).rejects.toMatchObject({ code: expect.stringMatching(/^(INDETERMINATE|EXPIRED|INVALID_REQUEST)$/) as string });
    });

    it('answers many at once, each its own', async () => {
      const before = (await calls.sendJson('Add', 'many', { n: 0 })).version;
      const sent = await Promise.all(
        Array.from({ length: 100 }, (_, n) => calls.sendJson('Add', `m${n % 10}`, { n }, { commandId: `m-${n}` })),
      );
      expect(sent.map(({ commandId }) => commandId)).toEqual(sent.map((_, n) => `m-${n}`));
      expect(sent.map(({ aggregateId }) => aggregateId)).toEqual(sent.map((_, n) => `m${n % 10}`));
      expect((await calls.sendJson('Add', 'many', { n: 0 })).version).toBe(before + 1);
    });

    it(
      differences.undeclared === 'forbidden' ? 'forbids what its bundle does not declare' : 'takes what no bundle declares to send',
      async () => {
        const sent = calls.sendJson('Hide', 'e', { n: 1 });
        if (differences.undeclared === 'forbidden') await expect(sent).rejects.toEqual(code('FORBIDDEN'));
        else expect(await sent).toMatchObject({ status: 'applied', version: 0 });
      },
    );

    (differences.givesUp ? it : it.skip)('gives a call up by its signal', async () => {
      const stop = new AbortController();
      const asked = calls.askJson('Never', {}, { signal: stop.signal });
      setTimeout(() => stop.abort(), 20);
      await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^(INDETERMINATE|UNAVAILABLE)$/) as string });
    });

    (differences.streams ? it : it.skip)('gives a stream in order, to its end, and no further than it is taken', async () => {
      const got: number[] = [];
      for await (const { data } of calls.stream!(Counts, 'Count', { to: 500 })) got.push(data.n);
      expect(got).toEqual(Array.from({ length: 500 }, (_, n) => n + 1));
      for await (const { data } of calls.stream!(Counts, 'Count', { to: 1_000_000 }, { window: 4 })) if (data.n === 10) break;
    });

    it('refuses once it is closed', async () => {
      await opened.close();
      await expect(calls.askJson('Total', {}, { timeoutMs: 500 })).rejects.toMatchObject({
        code: expect.stringMatching(/UNAVAILABLE$/) as string,
      });
    });
  });
}
