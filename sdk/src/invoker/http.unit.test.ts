import { once } from 'node:events';

import { bundle } from '../bundle/bundle.js';
import type { Intercepted } from '../interceptor/interceptor.js';
import { only } from '../messages.js';
import { Counter, counting, Sums } from '../testing/counter.js';
import { startInMemory, type BundleInMemory } from '../testing/start-in-memory.js';
import { http, type HttpOptions } from './http.js';

const Adds = only(Counter, 'Add');
type Options = HttpOptions<typeof Adds, typeof Sums>;

let whole: BundleInMemory;
let url = '';
const intercepted: Pick<Intercepted, 'kind' | 'messageKind' | 'type'>[] = [];
const serve = async (options: Partial<Options> = {}): Promise<void> => {
  const Webhook = http('Webhook', {
    port: 0,
    path: '/hook',
    sends: [Adds],
    asks: [Sums],
    onListening: (at) => (url = at),
    handle: async (request, { commands, queries }) => {
      const { n, to } = request.json() as { n: number; to: string };
      const { position, status } = await commands.send(Counter, 'Add', to, { n });
      const { view } = await queries.ask(Sums, 'Total', {}, { after: position });
      return { status: 201, headers: { 'x-status': status }, body: view };
    },
    ...options,
  });
  const components = [...counting.components, Webhook];
  const interceptors = [{ before: ({ kind, messageKind, type }: Intercepted) => void intercepted.push({ kind, messageKind, type }) }];
  whole = await startInMemory(bundle({ id: 'counting', version: '1.0.0', components, interceptors }));
};
const post = (body: string, headers: Record<string, string> = {}, to = url): Promise<Response> =>
  fetch(to, { method: 'POST', body, headers });
const add = (n: unknown, headers?: Record<string, string>): Promise<Response> => post(JSON.stringify({ n, to: 'a' }), headers);
const code = async (pending: Promise<Response>): Promise<string> => {
  const response = await pending;
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const body = (await response.json()) as { code: string; status: number };
  expect(body.status).toBe(response.status);
  return `${response.status} ${body.code}`;
};
afterEach(() => whole.close());

describe('an http invoker', () => {
  it('serves its endpoint on this machine, and sends and asks what it declares', async () => {
    await serve();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/hook$/);
    const response = await add(2);
    expect([response.status, response.headers.get('x-status'), await response.json()]).toEqual([201, 'applied', { events: 1, sum: 2 }]);
    expect(intercepted).toContainEqual({ kind: 'invoker', messageKind: 'request', type: 'Webhook' });
  });

  it('subscribes to what it declares, until it is done', async () => {
    let left: Promise<unknown> | undefined;
    await serve({
      handle: async (_request, { commands, queries }) => {
        const { position } = await commands.send(Counter, 'Add', 'a', { n: 2 });
        const sums = queries.subscribe(Sums, 'Total', {}, { after: position });
        const seen = [(await sums.next()).value?.view.sum];
        await commands.send(Counter, 'Add', 'a', { n: 3 });
        seen.push((await sums.next()).value?.view.sum);
        left = sums.next();
        // @ts-expect-error Counter is not among its questions
        expect(() => queries.subscribe(Counter, 'Total', {})).toThrow(/which it does not declare/);
        return { body: seen };
      },
    });
    expect(await (await add(1)).json()).toEqual([2, 5]);
    expect(await left).toEqual({ done: true, value: undefined });
  });

  it('has each effect once for an Idempotency-Key', async () => {
    await serve();
    for (const expected of ['applied', 'duplicate'])
      expect((await add(2, { 'idempotency-key': 'k1' })).headers.get('x-status')).toBe(expected);
    expect((await add(2, { 'idempotency-key': 'k2' })).headers.get('x-status')).toBe('applied');
    expect((await whole.events()).length).toBe(2);
    expect(await code(add(2, { 'idempotency-key': 'k'.repeat(201) }))).toBe('400 INVALID_REQUEST');
  });

  it('says what is wrong as a problem document', async () => {
    await serve({ maxBodyBytes: 50 });
    expect(await code(fetch(url))).toBe('405 METHOD_NOT_ALLOWED');
    expect(await code(post('{}', {}, url.replace('/hook', '/other')))).toBe('404 NOT_FOUND');
    expect(await code(post('{'))).toBe('400 MALFORMED_JSON');
    expect(await code(post('x'.repeat(51)))).toBe('413 BODY_TOO_LARGE');
    expect(await code(add(1.5))).toBe('400 INVALID_PAYLOAD');
    expect(await code(add(1, { origin: 'https://evil.example' }))).toBe('403 CROSS_ORIGIN');
    expect(await whole.events()).toEqual([]);
  });

  it('tells nothing of a fault within', async () => {
    await serve({ handle: () => Promise.reject(new TypeError('a secret')) });
    const response = await add(1);
    expect([response.status, await response.text()]).toEqual([500, expect.not.stringContaining('a secret')]);
  });

  it('takes so many requests at once, and each for so long; what is late sends nothing', async () => {
    let late: Promise<unknown> = Promise.resolve();
    await serve({
      maxInFlight: 1,
      timeoutMs: 100,
      handle: (_, { commands, signal }) => {
        late = once(signal, 'abort').then(() => commands.send(Counter, 'Add', 'a', { n: 1 }));
        return late as Promise<never>;
      },
    });
    const first = add(1);
    await whole.until(async () => (await code(add(1))) === '503 OVERLOADED');
    expect(await code(first)).toBe('504 INDETERMINATE');
    await expect(late).rejects.toThrow('the request took longer than 100 ms');
    expect(await whole.events()).toEqual([]);
  });

  it('finishes what is under way when the bundle stops, and takes nothing more', async () => {
    let go = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      void serve({
        handle: async () => {
          resolve();
          await new Promise<void>((done) => (go = done));
          return { body: 'done' };
        },
      }).then(() => (pending = add(1)));
    });
    let pending: Promise<Response> | undefined;
    await begun;
    const closing = whole.close();
    const refused = async (): Promise<boolean> =>
      post('{}').then(
        () => false,
        () => true,
      );
    await whole.until(refused);
    go();
    expect(await (await pending!).text()).toBe('done');
    await closing;
  });

  it('is refused a port that is in use, and the bundle with it', async () => {
    await serve();
    const port = Number(new URL(url).port);
    const second = bundle({ id: 'other', version: '1.0.0', components: [http('Other', { port, handle: () => Promise.resolve({}) })] });
    await expect(startInMemory(second)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
  });
});
