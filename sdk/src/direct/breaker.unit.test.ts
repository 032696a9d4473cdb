import { SpoolError, type Reply } from '@spool/schemas';
import { withBreaker, type BreakerOptions } from './breaker.js';
import type { Call } from './call.js';
import type { Executor } from './executor.js';
import { metered } from './meters.js';

const answer: Reply = { outcome: 'answered', version: null, events: [], position: '', view: Buffer.from('v'), problem: null };
const call = (type = 'Total'): Call => ({ ...{ kind: 'query', id: 'q', type, key: null, value: Buffer.of(), timeoutMs: 1000, meta: {} } });
const away = (): SpoolError => new SpoolError('UNAVAILABLE', 'nobody is there', { retryAfterMs: 1 });

let tried: number;
let result: () => Reply;
const opened: { close(): Promise<void> }[] = [];
beforeEach(() => {
  tried = 0;
  result = () => answer;
});
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});
function breaking(options: BreakerOptions = {}): ReturnType<typeof metered> {
  const executor: Executor = {
    inFlight: 0,
    call: () => {
      tried += 1;
      return new Promise((resolve) => resolve(result()));
    },
    async *stream() {
      yield { type: 'Counted', value: await Promise.resolve(Buffer.of(1)) };
      return undefined;
    },
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const made = withBreaker(executor, { volume: 4, openMs: 50, ...options });
  opened.push(made);
  return metered(made);
}
const codeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'answered',
    (error: unknown) => (error as SpoolError).code,
  );
const fail = (): never => {
  throw away();
};

it('does not try calls of a type that keep failing, tries one after a while, and all when that is answered', async () => {
  const direct = breaking();
  result = fail;
  for (let n = 0; n < 4; n++) expect(await codeOf(direct.call(call()))).toBe('UNAVAILABLE');
  expect(tried).toBe(4);
  for (let n = 0; n < 10; n++) expect(await codeOf(direct.call(call()))).toBe('UNAVAILABLE');
  expect(tried).toBe(4);
  result = () => answer;
  expect(await codeOf(direct.call(call('Other')))).toBe('answered');
  await new Promise((resolve) => setTimeout(resolve, 80));
  for (let n = 0; n < 3; n++) expect(await codeOf(direct.call(call()))).toBe('answered');
  expect(tried).toBe(8);
  expect(direct.meters().get('Total')).toMatchObject({ begun: 17, completed: 3, failed: 14, events: 0 });
});

it('takes what is the fault of the call for no sign of trouble', async () => {
  const direct = breaking();
  result = () => {
    throw new SpoolError('FORBIDDEN', 'not declared');
  };
  for (let n = 0; n < 12; n++) expect(await codeOf(direct.call(call()))).toBe('FORBIDDEN');
  expect(tried).toBe(12);
});

it('falls back for what fails for the moment and for what is not tried', async () => {
  const why: string[] = [];
  const direct = breaking({ fallBack: (_, { message }) => (why.push(message), { ...answer, position: 'before' }) });
  result = fail;
  for (let n = 0; n < 6; n++) expect((await direct.call(call())).position).toBe('before');
  expect(tried).toBe(4);
  expect(why[0]).toBe('nobody is there');
  expect(why.at(-1)).toBe('Total has kept failing, and is not tried for now');
});

it('counts the elements of streams', async () => {
  const direct = breaking();
  for await (const element of direct.stream({ id: 's', type: 'Count', value: Buffer.of(), meta: {}, events: ['Counted'] }))
    expect(element.type).toBe('Counted');
  expect(direct.meters().get('Count')).toMatchObject({ begun: 1, events: 1, completed: 1, failed: 0 });
});
