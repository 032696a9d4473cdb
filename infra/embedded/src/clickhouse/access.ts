import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { EngineError } from './engine-error.js';

/** The writer does what it likes; readers read, locked by the engine. */
export type Role = 'writer' | 'reader';

export interface User {
  readonly name: string;
  readonly role: Role;
  /** Empty: none is asked for. */
  readonly password: string;
}

/** The platform writes as `spool`; analysts read as `analyst`; who names nobody is `default` and reads. */
export const usersOf = (passwords: { readonly writer: string; readonly reader: string }): readonly User[] => [
  { name: 'spool', role: 'writer', password: passwords.writer },
  { name: 'analyst', role: 'reader', password: passwords.reader },
  { name: 'default', role: 'reader', password: '' },
];

interface Credentials {
  readonly name: string;
  readonly password: string;
}

/**
 * Finds the user of a request: Basic, the `X-ClickHouse-User` and `X-ClickHouse-Key` headers, or `user` and `password` in the URL.
 * @throws EngineError 516
 */
export function authenticate(users: readonly User[], headers: IncomingHttpHeaders, query: URLSearchParams): User {
  const given = [basic(headers.authorization), fromHeaders(headers), fromUrl(query)].filter((found) => found !== undefined);
  if (given.length > 1) throw refused('credentials were given in more than one way');
  const { name, password } = given[0] ?? { name: 'default', password: '' };
  const user = users.find((known) => known.name === name);
  const isRight = isSame(password, user?.password ?? '');
  if (user === undefined || !isRight) {
    throw refused(`${name}: Authentication failed: password is incorrect, or there is no user with such name.`);
  }
  if (user.password === '' && !isLoopback(headers.host)) {
    throw refused(`${name}: a user without a password is served under a loopback name alone, not as ${String(headers.host)}`);
  }
  return user;
}

function basic(header: string | undefined): Credentials | undefined {
  if (header === undefined) return undefined;
  const [scheme, value] = header.split(' ');
  if (scheme?.toLowerCase() !== 'basic' || value === undefined) throw refused('only Basic authentication is served');
  const [, name = '', password = ''] = /^([^:]*):?([^]*)$/.exec(Buffer.from(value, 'base64').toString()) ?? [];
  return { name: name === '' ? 'default' : name, password };
}

function fromHeaders(headers: IncomingHttpHeaders): Credentials | undefined {
  const name = headers['x-clickhouse-user'];
  const password = headers['x-clickhouse-key'];
  return name === undefined && password === undefined ? undefined : { name: String(name ?? 'default'), password: String(password ?? '') };
}

function fromUrl(query: URLSearchParams): Credentials | undefined {
  if (!query.has('user') && !query.has('password')) return undefined;
  return { name: query.get('user') ?? 'default', password: query.get('password') ?? '' };
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const isSame = (given: string, wanted: string): boolean => timingSafeEqual(digest(given), digest(wanted));

/** A web page may have its own name resolve to 127.0.0.1 and then read answers; its requests carry that name. */
const isLoopback = (host: string | undefined): boolean =>
  host === undefined || /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$/i.test(host);

const refused = (why: string): EngineError => new EngineError(516, 'AUTHENTICATION_FAILED', why);
