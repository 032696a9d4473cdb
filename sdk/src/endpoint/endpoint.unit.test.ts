import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT, UnsecuredJWT } from 'jose';
import { WebSocket, WebSocketServer } from 'ws';
import { createEndpoint, type Endpoint, type EndpointOptions } from './endpoint.js';
import { createTokens } from './tokens.js';

const dataDir = mkdtempSync(join(tmpdir(), 'spool-endpoint-'));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

let clock = 1_700_000_000_000;
const located: (string | null)[] = [];
const opened: Endpoint[] = [];
const endpoint = (instance: string, rest: Partial<EndpointOptions> = {}): Endpoint => {
  const made = createEndpoint({
    self: { instance, bundle: 'shop', payloads: ['Add', 'Total'] },
    dataDir,
    now: () => clock,
    log: () => undefined,
    onLocation: (url) => located.push(url),
    timeoutMs: 300,
    ...rest,
  });
  opened.push(made);
  return made;
};
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  located.length = 0;
});
const key = 'k'.repeat(32);
const token = async (from: Endpoint, to: string): Promise<string> => (await from.tokens()).issue(to);
const post = (to: Endpoint, path: string, bearer: string, body = ''): Promise<Response> =>
  fetch(`${to.url}${path}`, { method: 'POST', body, headers: { authorization: `Bearer ${bearer}` } });
const answered = async (pending: Promise<Response>): Promise<string> => {
  const response = await pending;
  return `${response.status} ${((await response.json()) as { code: string }).code}`;
};

describe('the endpoint of an instance', () => {
  it('listens from its first route on, and tells where, until it ends', async () => {
    const a = endpoint('a-0');
    expect([a.url, located]).toEqual([undefined, []]);
    await a.route('/x', () => Promise.resolve({}));
    expect(a.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await a.close();
    expect([a.url, located]).toEqual([undefined, [expect.stringContaining('127.0.0.1'), null]]);
    await expect(a.route('/y', () => Promise.resolve({}))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('takes a request of who proves who it is, and tells the handler', async () => {
    const [a, b] = [endpoint('a-0'), endpoint('b-0')];
    await b.route('/x', ({ caller, body }) => Promise.resolve({ body: `${caller.instance} ${caller.payloads.join()} ${body.toString()}` }));
    const response = await post(b, '/x', await token(a, 'b-0'), 'hello');
    expect([response.status, await response.text()]).toEqual([200, 'a-0 Add,Total hello']);
  });

  it('refuses a token of another key, for another instance, too old, without a signature, or none', async () => {
    const [a, b, other] = [endpoint('a-0', { key }), endpoint('b-0', { key }), endpoint('a-0', { key: 'o'.repeat(32) })];
    await b.route('/x', () => Promise.resolve({}));
    const early = await token(a, 'b-0');
    const unsigned = new UnsecuredJWT({ bundle: 'shop', payloads: [] })
      .setSubject('a-0')
      .setAudience('b-0')
      .setIssuedAt(clock / 1000)
      .encode();
    const eternal = await new SignJWT({ bundle: 'shop', payloads: [] })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('a-0')
      .setAudience('b-0')
      .setIssuedAt(clock / 1000 - 1000)
      .setExpirationTime(clock / 1000 + 1e6)
      .sign(Buffer.from(key));
    const vague = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('a-0')
      .setAudience('b-0')
      .setIssuedAt(clock / 1000)
      .setExpirationTime(clock / 1000 + 10)
      .sign(Buffer.from(key));
    expect((await post(b, '/x', early)).status).toBe(204);
    for (const wrong of [await token(other, 'b-0'), await token(a, 'c-0'), unsigned, eternal, vague, '', 'a.b.c', 'x'.repeat(9000)]) {
      expect(await answered(post(b, '/x', wrong))).toBe('401 UNAUTHENTICATED');
    }
    clock += 66_000;
    expect(await answered(post(b, '/x', early))).toBe('401 UNAUTHENTICATED');
    expect((await post(b, '/x', await token(a, 'b-0'))).status).toBe(204);
  });

  it('gives the same token for calls that follow soon', async () => {
    const tokens = createTokens({ key: Buffer.from(key), self: { instance: 'a', bundle: 'a', payloads: [] }, now: () => clock });
    const first = await tokens.issue('b');
    clock += 29_000;
    expect(await tokens.issue('b')).toBe(first);
    clock += 2000;
    expect(await tokens.issue('b')).not.toBe(first);
  });

  it('bounds bodies and requests, and answers what is wrong as a problem', async () => {
    const [a, b] = [endpoint('a-0'), endpoint('b-0', { maxBodyBytes: 4, maxInFlight: 1 })];
    let go: (() => void) | undefined;
    await b.route('/slow', async () => {
      await new Promise<void>((resolve) => (go = resolve));
      return {};
    });
    await b.route('/x', () => Promise.reject(new Error('a secret')));
    const bearer = await token(a, 'b-0');
    expect(await answered(post(b, '/nothing', bearer))).toBe('404 NOT_FOUND');
    expect(await answered(fetch(`${b.url}/x`))).toBe('405 METHOD_NOT_ALLOWED');
    expect(await answered(post(b, '/x', bearer, '12345'))).toBe('413 BODY_TOO_LARGE');
    expect(await answered(post(b, '/x', bearer))).toBe('500 INTERNAL');
    const slow = post(b, '/slow', bearer);
    while (go === undefined) await new Promise((resolve) => setTimeout(resolve, 2));
    const full = await post(b, '/x', bearer);
    expect([full.status, full.headers.get('retry-after')]).toEqual([503, '1']);
    go();
    expect((await slow).status).toBe(204);
  });

  it('takes WebSockets of who proves who it is, and cuts those that stay at its end', async () => {
    const [a, b] = [endpoint('a-0'), endpoint('b-0')];
    const sockets = new WebSocketServer({ noServer: true });
    await b.upgrade('/ws', ({ request, socket, head, caller }) => {
      sockets.handleUpgrade(request, socket, head, (ws) => ws.send(caller.instance));
    });
    const to = `${b.url!.replace('http', 'ws')}/ws`;
    const refused = new WebSocket(to);
    expect(String(((await once(refused, 'error')) as [Error])[0])).toContain('401');
    const ws = new WebSocket(to, { headers: { authorization: `Bearer ${await token(a, 'b-0')}` } });
    const closed = once(ws, 'close');
    expect(String(((await once(ws, 'message')) as [Buffer])[0])).toBe('a-0');
    await b.close();
    await closed;
  });

  it('has one key for all instances of a data folder, for its user alone to read', async () => {
    const keyed = mkdtempSync(join(dataDir, 'key-'));
    const [a, b] = [endpoint('a-0', { dataDir: keyed }), endpoint('b-0', { dataDir: keyed })];
    const [mine, yours] = await Promise.all([a.tokens(), b.tokens()]);
    await expect(yours.check(`Bearer ${await mine.issue('b-0')}`)).resolves.toMatchObject({ instance: 'a-0' });
    expect(statSync(join(keyed, 'cluster-key')).mode & 0o777).toBe(0o600);
  });

  it('does not listen for other machines without a key of the cluster, nor with one that is short', async () => {
    for (const wrong of [{ host: '0.0.0.0' }, { key: 'short' }]) {
      await expect(endpoint('a-0', wrong).route('/x', () => Promise.resolve({}))).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    }
    const open = endpoint('a-0', { host: '0.0.0.0', key });
    await open.route('/x', () => Promise.resolve({}));
    expect(open.url).not.toContain('0.0.0.0');
    const told = endpoint('b-0', { url: 'https://shop.example/b/' });
    await told.route('/x', () => Promise.resolve({}));
    expect(told.url).toBe('https://shop.example/b');
  });
});
