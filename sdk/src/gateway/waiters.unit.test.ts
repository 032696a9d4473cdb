import { SpoolError, type Reply } from '@spool/schemas';
import { createWaiters, type Waiters } from './waiters.js';

const reply: Reply = { outcome: 'applied', version: 1, events: [], position: '', view: null, problem: null };
let waiters: Waiters;
beforeEach(() => (waiters = createWaiters(() => 1000)));
afterEach(() => waiters.rejectAll(new SpoolError('UNAVAILABLE', 'the test is over')));

const codeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'answered',
    (error: unknown) => (error instanceof SpoolError ? error.code : String(error)),
  );

describe('those who wait for replies', () => {
  it('all get the reply to one message', async () => {
    const both = [waiters.add('m', 61_000, undefined), waiters.add('m', 61_000, undefined)];
    const another = codeOf(waiters.add('n', 61_000, undefined));
    waiters.resolve('m', reply);
    expect(await Promise.all(both)).toEqual([reply, reply]);
    expect([waiters.size, waiters.has('m'), waiters.has('n')]).toEqual([1, false, true]);
    waiters.reject('n', new SpoolError('RECORD_UNREADABLE', 'a reply'));
    expect(await another).toBe('RECORD_UNREADABLE');
  });

  it('end with their deadlines, each with its own, whatever the order in which they came', async () => {
    const ended: string[] = [];
    const wait = async (name: string, ms: number): Promise<void> => {
      expect(await codeOf(waiters.add(name, 1000 + ms, undefined))).toBe('INDETERMINATE');
      ended.push(name);
    };
    await Promise.all([wait('late', 90), wait('early', 0), wait('between', 45)]);
    expect(ended).toEqual(['early', 'between', 'late']);
    expect(waiters.size).toBe(0);
  });

  it('end at once when their message was not sent; others who wait for the same go on', async () => {
    const repeated = waiters.add('m', 61_000, undefined);
    const failed = waiters.add('m', 61_000, Promise.reject(new SpoolError('OVERLOADED', 'too much')));
    expect(await codeOf(failed)).toBe('OVERLOADED');
    expect(waiters.size).toBe(1);
    waiters.resolve('m', reply);
    expect(await repeated).toEqual(reply);
  });

  it('are told when nobody waits any longer', async () => {
    const pending = [waiters.add('m', 61_000, undefined), waiters.add('n', 61_000, undefined)].map(codeOf);
    waiters.rejectAll(new SpoolError('UNAVAILABLE', 'closed'));
    expect(await Promise.all(pending)).toEqual(['UNAVAILABLE', 'UNAVAILABLE']);
  });
});
