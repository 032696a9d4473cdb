import { isIPv4 } from 'node:net';
import { SpoolError } from '@spool/schemas';
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { LRUCache } from 'lru-cache';
import { isRole, type Principal, type Role } from '../roles.js';
import type { AuthSurroundings } from './api-keys.js';
import { openWatchedFile } from './watched-file.js';

export interface JwtOptions {
  /** The `iss` that a token must have. */
  readonly issuer: string;
  /** The `aud` that a token must have, or one of several. */
  readonly audience: string | readonly string[];
  /** Where the issuer's public keys come from. https, or http on loopback; a file is read again within five seconds of a change. */
  readonly jwks: { readonly url: string } | { readonly file: string };
  /** Signatures that are accepted; asymmetric ones only. @default RS256, PS256, ES256, ES384, EdDSA, Ed25519 */
  readonly algorithms?: readonly string[];
  /** How far the clocks may be apart, in seconds. @default 5 */
  readonly clockToleranceSeconds?: number;
  /** The claim with the roles, a list or words in a text; dots lead into objects (`realm_access.roles`). @default 'roles' */
  readonly rolesClaim?: string;
  /** The issuer's names for our roles. Names that are missing here mean nothing. @default our own names */
  readonly roleNames?: Readonly<Record<string, Role>>;
  /** The claim with a name for people. @default 'name', else the subject */
  readonly nameClaim?: string;
}

export interface Tokens {
  /** @throws SpoolError UNAUTHENTICATED; UNAVAILABLE if the issuer's keys cannot be fetched */
  verify(token: string): Promise<Principal>;
}

const asymmetric = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
const usual = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519'];

/** @throws SpoolError INVALID_CONFIG */
export async function openTokens(options: JwtOptions, surroundings: AuthSurroundings): Promise<Tokens> {
  const { clock } = surroundings;
  const algorithms = [...(options.algorithms ?? usual)];
  const weak = algorithms.filter((each) => !asymmetric.includes(each));
  if (weak.length > 0 || algorithms.length === 0) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `JWT algorithms are to be some of ${asymmetric.join(', ')}; not ${weak.join(', ') || 'none at all'}`,
    );
  }
  const keys = 'url' in options.jwks ? remoteKeys(options.jwks.url) : await fileKeys(options.jwks.file, surroundings);
  // A signature costs 50 to 200 us to verify; a caller sends the same token thousands of times. Kept for half a minute, so that a key that is
  // withdrawn is not honoured for long.
  const verified = new LRUCache<string, Principal>({ max: 1_000, ttl: 30_000 });
  return {
    verify: async (token) => {
      const seen = verified.get(token);
      if (seen?.expiresAt !== undefined && seen.expiresAt > clock()) return seen;
      const { payload } = await jwtVerify(token, keys, {
        issuer: options.issuer,
        audience: typeof options.audience === 'string' ? options.audience : [...options.audience],
        algorithms,
        clockTolerance: options.clockToleranceSeconds ?? 5,
        requiredClaims: ['exp', 'sub'],
        currentDate: new Date(clock()),
      }).catch((failure: unknown) => {
        throw tokenProblem(failure);
      });
      const principal = principalOf(payload, options);
      verified.set(token, principal);
      return principal;
    },
  };
}

function remoteKeys(address: string): JWTVerifyGetKey {
  const url = URL.canParse(address) ? new URL(address) : null;
  const loopback =
    url !== null && (url.hostname === 'localhost' || url.hostname === '[::1]' || (isIPv4(url.hostname) && url.hostname.startsWith('127.')));
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))) {
    throw new SpoolError(
      'INVALID_CONFIG',
      'The JWKS URL is to be https (or http on loopback): whoever can change the keys on the way can be anybody',
    );
  }
  return createRemoteJWKSet(url, { timeoutDuration: 5_000, cooldownDuration: 10_000, cacheMaxAge: 600_000 });
}

async function fileKeys(path: string, { clock, onReloadFailure }: AuthSurroundings): Promise<JWTVerifyGetKey> {
  const keySet = await openWatchedFile({
    path,
    parse: (text) => createLocalJWKSet(JSON.parse(text) as Parameters<typeof createLocalJWKSet>[0]),
    clock,
    checkEveryMs: 5_000,
    onReloadFailure,
  });
  return async (header, token) => (await keySet())(header, token);
}

/** jose's own messages name claims and reasons, never values. */
function tokenProblem(failure: unknown): SpoolError {
  const refused =
    failure instanceof errors.JOSEError &&
    !(failure instanceof errors.JWKSTimeout) &&
    !(failure instanceof errors.JWKSInvalid) &&
    failure.code !== 'ERR_JOSE_GENERIC';
  return refused
    ? new SpoolError('UNAUTHENTICATED', `The bearer token is not valid: ${failure.message}`, { cause: failure })
    : new SpoolError('UNAVAILABLE', 'The keys of the token issuer cannot be fetched', { cause: failure, retryAfterMs: 5_000 });
}

function principalOf(payload: JWTPayload, options: JwtOptions): Principal {
  const id = payload.sub!;
  const name = payload[options.nameClaim ?? 'name'];
  const claimed = claim(payload, options.rolesClaim ?? 'roles');
  const words: unknown[] = typeof claimed === 'string' ? claimed.split(/[\s,]+/) : Array.isArray(claimed) ? claimed : [];
  const names = options.roleNames;
  const held = words.map((word) =>
    names === undefined ? word : typeof word === 'string' && Object.hasOwn(names, word) ? names[word] : undefined,
  );
  return {
    id,
    name: typeof name === 'string' && name !== '' ? name : id,
    roles: [...new Set(held.filter(isRole))],
    via: 'jwt',
    expiresAt: payload.exp! * 1000,
  };
}

/** The claim of exactly this name, else along the dots. */
function claim(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  return path
    .split('.')
    .reduce<unknown>(
      (value, key) =>
        typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined,
      payload,
    );
}
