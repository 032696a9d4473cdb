import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SpoolError } from '@spool/schemas';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JSONWebKeySet, type JWTPayload } from 'jose';
import { createAuth, type Auth } from './auth.js';
import { addApiKey, hashKey, listApiKeys, revokeApiKey } from './key-file.js';
import { authFromEnvironment } from './settings.js';

let folder: string;
let now = Date.parse('2026-01-01T00:00:00Z');
const clock = (): number => now;
const later = (ms: number): void => void (now += ms);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spool-auth-'));
  now = Date.parse('2026-01-01T00:00:00Z');
});
afterEach(() => rm(folder, { recursive: true }));

const withKey = (auth: Auth, key: string) => auth.authenticate({ 'x-api-key': key });
const withBearer = (auth: Auth, token: string) => auth.authenticate({ authorization: `Bearer ${token}` });
const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'UNAUTHENTICATED', message: expect.stringMatching(message) as string }) as Error;
const invalid = (message: RegExp) =>
  expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringMatching(message) as string }) as Error;

describe('API keys', () => {
  const file = (): string => join(folder, 'keys.json');

  it('are stored as hashes that only the owner may read, and let their holder in', async () => {
    const { id, key } = await addApiKey(file(), { name: 'ops', roles: ['operator'] }, { clock });
    expect(key).toMatch(/^spool_[a-z0-9]{12}_[\w-]{43}$/);
    const text = await readFile(file(), 'utf8');
    expect(text).not.toContain(key.slice(-43));
    expect((await stat(file())).mode & 0o077).toBe(0);
    expect(await listApiKeys(file())).toEqual([
      { id, name: 'ops', roles: ['operator'], hash: hashKey(key), createdAt: '2026-01-01T00:00:00.000Z' },
    ]);

    const auth = await createAuth({ apiKeys: { file: file() }, clock });
    const principal = { id, name: 'ops', roles: ['operator'], via: 'api-key' };
    expect(auth.configured).toBe(true);
    expect(await withKey(auth, key)).toEqual(principal);
    expect(await withBearer(auth, key)).toEqual(principal);
    expect(await auth.authenticate({})).toBeUndefined();
  });

  it('are refused if the secret, the id or the form is wrong, or they were sent twice', async () => {
    const { key } = await addApiKey(file(), { name: 'ops', roles: ['operator'] });
    const auth = await createAuth({ apiKeys: { file: file() } });
    const wrongEnd = key.endsWith('A') ? 'B' : 'A';
    await expect(withKey(auth, key.slice(0, -1) + wrongEnd)).rejects.toEqual(refused(/not known/));
    await expect(withKey(auth, `spool_aaaaaaaaaaaa_${key.slice(-43)}`)).rejects.toEqual(refused(/not known/));
    await expect(withKey(auth, 'spool_x')).rejects.toEqual(refused(/not known/));
    await expect(withKey(auth, 'hello')).rejects.toEqual(refused(/does not hold an API key/));
    await expect(withBearer(auth, 'hello')).rejects.toEqual(refused(/no credentials of a kind/));
    await expect(auth.authenticate({ authorization: `Basic ${key}` })).rejects.toEqual(refused(/not of the form/));
    await expect(auth.authenticate({ authorization: `Bearer ${key}`, 'x-api-key': key })).rejects.toEqual(refused(/more than once/));
  });

  it('end when they expire', async () => {
    const { key } = await addApiKey(file(), { name: 'x', roles: ['analyst'], expiresAt: new Date(now + 60_000) }, { clock });
    const auth = await createAuth({ apiKeys: { file: file() }, clock });
    expect(await withKey(auth, key)).toMatchObject({ expiresAt: now + 60_000 });
    later(60_000);
    await expect(withKey(auth, key)).rejects.toEqual(refused(/expired at 2026-01-01T00:01:00.000Z/));
  });

  it('that are added or revoked take effect within five seconds, without a restart', async () => {
    const first = await addApiKey(file(), { name: 'first', roles: ['analyst'] });
    const auth = await createAuth({ apiKeys: { file: file() }, clock });
    const second = await addApiKey(file(), { name: 'second', roles: ['analyst'] });
    expect(await revokeApiKey(file(), first.id)).toBe(true);
    expect(await revokeApiKey(file(), first.id)).toBe(false);
    later(4_999);
    await expect(withKey(auth, second.key)).rejects.toEqual(refused(/not known/));
    later(1);
    expect(await withKey(auth, second.key)).toMatchObject({ name: 'second' });
    await expect(withKey(auth, first.key)).rejects.toEqual(refused(/not known/));
  });

  it('stay in force when the file breaks, which is reported', async () => {
    const { key } = await addApiKey(file(), { name: 'x', roles: ['analyst'] });
    const failures: SpoolError[] = [];
    const auth = await createAuth({ apiKeys: { file: file() }, clock, onReloadFailure: (failure) => failures.push(failure) });
    await writeFile(file(), '{"version":1,');
    later(5_000);
    expect(await withKey(auth, key)).toMatchObject({ name: 'x' });
    expect(failures).toEqual([invalid(/keys\.json has changed and cannot be used: it is not valid JSON/)]);
  });

  it('are not opened from a file that is missing or odd', async () => {
    await expect(createAuth({ apiKeys: { file: file() } })).rejects.toEqual(invalid(/keys\.json cannot be used/));
    await writeFile(
      file(),
      JSON.stringify({ version: 1, keys: [{ id: 'abcdefghijkl', name: 'x', roles: ['root'], hash: 'plain', createdAt: 'today' }] }),
    );
    await expect(createAuth({ apiKeys: { file: file() } })).rejects.toEqual(invalid(/no key file.*roles/s));
    await expect(addApiKey(file(), { name: 'y', roles: ['admin'] })).rejects.toEqual(invalid(/no key file/));
  });

  it('are not lost when two processes add at once: one is told to wait', async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => addApiKey(file(), { name: `k${index}`, roles: ['analyst'] })),
    );
    const added = results.filter(({ status }) => status === 'fulfilled').length;
    expect(added).toBeGreaterThan(0);
    expect(await listApiKeys(file())).toHaveLength(added);
    for (const each of results) if (each.status === 'rejected') expect(each.reason).toEqual(invalid(/another process is changing it/));
  });
});

describe('tokens', () => {
  const issuer = 'https://id.example';
  const audience = 'spool';
  let keys: { privateKey: CryptoKey; publicKey: CryptoKey };
  let jwks: JSONWebKeySet;
  beforeAll(async () => {
    keys = await generateKeyPair('ES256', { extractable: true });
    jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256' }] };
  });
  const sign = (payload: { [claim in keyof JWTPayload]: unknown } = {}, privateKey = keys.privateKey): Promise<string> =>
    new SignJWT({ iss: issuer, aud: audience, sub: 'ada', exp: now / 1000 + 60, roles: ['operator'], ...payload } as JWTPayload)
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .sign(privateKey);
  const open = async (more: object = {}): Promise<Auth> => {
    await writeFile(join(folder, 'jwks.json'), JSON.stringify(jwks));
    return createAuth({ jwt: { issuer, audience, jwks: { file: join(folder, 'jwks.json') }, ...more }, clock });
  };

  it('let their holder in', async () => {
    expect(await withBearer(await open(), await sign({ name: 'Ada L.' }))).toEqual({
      id: 'ada',
      name: 'Ada L.',
      roles: ['operator'],
      via: 'jwt',
      expiresAt: now + 60_000,
    });
  });

  it.each<[string, () => Promise<string> | string, RegExp]>([
    ['expired', () => sign({ exp: now / 1000 - 6 }), /exp/],
    ['not valid yet', () => sign({ nbf: now / 1000 + 6 }), /nbf/],
    ['for somebody else', () => sign({ aud: 'other' }), /aud/],
    ['of another issuer', () => sign({ iss: 'https://evil.example' }), /iss/],
    ['without an end', () => sign({ exp: undefined }), /exp/],
    ['without a subject', () => sign({ sub: undefined }), /sub/],
    [
      'not signed',
      () => new UnsecuredJWT({ iss: issuer, aud: audience, sub: 'ada', exp: now / 1000 + 60, roles: ['admin'] }).encode(),
      /not valid/,
    ],
    [
      'signed with the public key as a shared secret',
      async () =>
        new SignJWT({ iss: issuer, aud: audience, sub: 'ada', exp: now / 1000 + 60, roles: ['admin'] })
          .setProtectedHeader({ alg: 'HS256', kid: 'one' })
          .sign(Buffer.from(JSON.stringify(jwks.keys[0]))),
      /alg/,
    ],
    ['signed by somebody else', async () => sign({}, (await generateKeyPair('ES256')).privateKey), /signature/],
    [
      'changed',
      async () =>
        (await sign()).replace(
          /\.[^.]+\./,
          `.${Buffer.from(JSON.stringify({ iss: issuer, aud: audience, sub: 'ada', exp: now / 1000 + 60, roles: ['admin'] })).toString('base64url')}.`,
        ),
      /signature/,
    ],
    ['no token', () => 'eyJhbGciOiJub25lIn0', /not valid/],
  ])('are refused if %s', async (_what, token, reason) => {
    const auth = await open();
    await expect(withBearer(auth, await token())).rejects.toEqual(refused(reason));
  });

  it('are refused if their algorithm is not allowed, though the key is known', async () => {
    const rsa = await generateKeyPair('RS256', { extractable: true });
    await writeFile(
      join(folder, 'both.json'),
      JSON.stringify({ keys: [...jwks.keys, { ...(await exportJWK(rsa.publicKey)), kid: 'two', alg: 'RS256' }] }),
    );
    const signed = (): Promise<string> =>
      new SignJWT({ iss: issuer, aud: audience, sub: 'ada', exp: now / 1000 + 60 })
        .setProtectedHeader({ alg: 'RS256', kid: 'two' })
        .sign(rsa.privateKey);
    expect(await withBearer(await open({ jwks: { file: join(folder, 'both.json') } }), await signed())).toMatchObject({ id: 'ada' });
    const strict = await open({ jwks: { file: join(folder, 'both.json') }, algorithms: ['ES256'] });
    await expect(withBearer(strict, await signed())).rejects.toEqual(refused(/alg/i));
  });

  it('may be a few seconds off the clock', async () => {
    expect(await withBearer(await open(), await sign({ exp: now / 1000 - 4 }))).toMatchObject({ id: 'ada' });
  });

  it('that were seen before end when they expire', async () => {
    const auth = await open();
    const token = await sign();
    expect(await withBearer(auth, token)).toBe(await withBearer(auth, token));
    later(66_000);
    await expect(withBearer(auth, token)).rejects.toEqual(refused(/exp/));
  });

  it('carry their roles where the provider puts them, under its names', async () => {
    const nested = await open({ rolesClaim: 'realm.roles', roleNames: { 'platform-admins': 'admin', oncall: 'operator' } });
    const token = await sign({ realm: { roles: ['oncall', 'platform-admins', 'admin', 'toString', 7] }, roles: ['bundle'] });
    expect(await withBearer(nested, token)).toMatchObject({ roles: ['operator', 'admin'] });
    const url = await open({ rolesClaim: 'https://spool.example/roles' });
    expect(await withBearer(url, await sign({ 'https://spool.example/roles': 'analyst  bundle root' }))).toMatchObject({
      roles: ['analyst', 'bundle'],
    });
    expect(await withBearer(url, await sign({ sub: 'bob' }))).toMatchObject({ roles: [] });
  });

  it('are not opened with an algorithm that shares its secret, or none', async () => {
    await expect(open({ algorithms: ['ES256', 'HS256'] })).rejects.toEqual(invalid(/not HS256/));
    await expect(open({ algorithms: ['none'] })).rejects.toEqual(invalid(/not none/));
    await expect(open({ algorithms: [] })).rejects.toEqual(invalid(/none at all/));
    await expect(open({ jwks: { url: 'http://id.example/jwks' } })).rejects.toEqual(invalid(/https/));
  });

  it('take their keys from an address, and tell when it does not answer', async () => {
    let status = 500;
    const server: Server = createServer((_request, response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(jwks)),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const auth = await open({ jwks: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks` } });
      await expect(withBearer(auth, await sign())).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      status = 200;
      expect(await withBearer(auth, await sign())).toMatchObject({ id: 'ada' });
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});

describe('without authentication', () => {
  it('everybody is the admin of this machine', async () => {
    const auth = await createAuth();
    expect(auth.configured).toBe(false);
    expect(await auth.authenticate({})).toEqual({ id: 'local', name: 'local', roles: ['admin'], via: 'loopback' });
  });
});

describe('the settings of authentication', () => {
  it('are none if nothing is set', () => {
    expect(authFromEnvironment({ SPOOL_API_KEYS_FILE: '' })).toEqual({});
  });

  it('are read from the environment', () => {
    expect(
      authFromEnvironment({
        SPOOL_API_KEYS_FILE: '/keys.json',
        SPOOL_JWT_ISSUER: 'https://id.example',
        SPOOL_JWT_AUDIENCE: 'spool, console',
        SPOOL_JWT_JWKS_URL: 'https://id.example/jwks',
        SPOOL_JWT_ROLES_CLAIM: 'realm.roles',
        SPOOL_JWT_ROLE_NAMES: 'platform-admins=admin, cn=x=operator',
      }),
    ).toEqual({
      apiKeys: { file: '/keys.json' },
      jwt: {
        issuer: 'https://id.example',
        audience: ['spool', 'console'],
        jwks: { url: 'https://id.example/jwks' },
        rolesClaim: 'realm.roles',
        roleNames: { 'platform-admins': 'admin', 'cn=x': 'operator' },
      },
    });
  });

  it('are refused with every problem if they are halves', () => {
    const half = { SPOOL_JWT_JWKS_URL: 'https://x', SPOOL_JWT_JWKS_FILE: '/x', SPOOL_JWT_ROLE_NAMES: 'a=root' };
    expect(() => authFromEnvironment(half)).toThrow(
      expect.objectContaining({
        code: 'INVALID_CONFIG',
        violations: ['SPOOL_JWT_ISSUER', 'SPOOL_JWT_AUDIENCE', 'SPOOL_JWT_JWKS_URL', 'SPOOL_JWT_ROLE_NAMES'].map(
          (pointer) => expect.objectContaining({ pointer }) as object,
        ),
      }) as Error,
    );
  });
});
