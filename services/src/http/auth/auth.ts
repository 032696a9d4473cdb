import type { IncomingHttpHeaders } from 'node:http';
import { SpoolError } from '@spool/schemas';
import type { Principal } from '../roles.js';
import { looksLikeApiKey, openApiKeys, type ApiKeysOptions } from './api-keys.js';
import { openTokens, type JwtOptions } from './tokens.js';

export interface AuthConfig {
  readonly apiKeys?: ApiKeysOptions;
  readonly jwt?: JwtOptions;
  /** Milliseconds since the epoch. @default Date.now */
  readonly clock?: () => number;
  /** Told when a changed key file cannot be read; the keys known before stay in force. */
  readonly onReloadFailure?: (failure: SpoolError) => void;
}

/** Finds out who is calling. */
export interface Auth {
  /** False: there is nothing to prove, and only loopback may be served. */
  readonly configured: boolean;
  /**
   * `X-API-Key: <key>`, or `Authorization: Bearer <key or token>`. Undefined if no credentials were sent.
   * @throws SpoolError UNAUTHENTICATED if they are not valid, UNAVAILABLE if the token's keys cannot be fetched
   */
  authenticate(
    headers: Pick<IncomingHttpHeaders, 'authorization'> & { readonly 'x-api-key'?: string | string[] | undefined },
  ): Promise<Principal | undefined>;
}

/** Everybody on this machine, while no authentication is set up. */
const local: Principal = { id: 'local', name: 'local', roles: ['admin'], via: 'loopback' };

/**
 * Opens the key file and the token keys that `config` names. With neither, whoever calls is the admin `local`, and `startHttp` refuses
 * to listen beyond loopback.
 * @throws SpoolError INVALID_CONFIG
 */
export async function createAuth(config: AuthConfig = {}): Promise<Auth> {
  const clock = config.clock ?? Date.now;
  if (config.apiKeys === undefined && config.jwt === undefined) {
    return { configured: false, authenticate: () => Promise.resolve(local) };
  }
  const shared = { clock, onReloadFailure: config.onReloadFailure ?? (() => undefined) };
  const keys = config.apiKeys === undefined ? undefined : await openApiKeys(config.apiKeys, shared);
  const tokens = config.jwt === undefined ? undefined : await openTokens(config.jwt, shared);
  return {
    configured: true,
    authenticate: async (headers) => {
      const credentials = readCredentials(headers);
      if (credentials === undefined) return undefined;
      if (looksLikeApiKey(credentials)) {
        if (keys === undefined) throw new SpoolError('UNAUTHENTICATED', 'API keys are not accepted here; send a bearer token');
        return keys.find(credentials);
      }
      if (tokens === undefined)
        throw new SpoolError('UNAUTHENTICATED', 'These are no credentials of a kind that is accepted here; send an API key');
      return tokens.verify(credentials);
    },
  };
}

function readCredentials(headers: Parameters<Auth['authenticate']>[0]): string | undefined {
  const { authorization, 'x-api-key': apiKey } = headers;
  if (apiKey !== undefined) {
    if (authorization !== undefined || Array.isArray(apiKey)) {
      throw new SpoolError('UNAUTHENTICATED', 'Credentials were sent more than once; send one Authorization or one X-API-Key header');
    }
    if (!looksLikeApiKey(apiKey)) throw new SpoolError('UNAUTHENTICATED', 'X-API-Key does not hold an API key of Spool');
    return apiKey;
  }
  if (authorization === undefined) return undefined;
  const match = /^bearer +(\S+)$/i.exec(authorization);
  if (match === null) throw new SpoolError('UNAUTHENTICATED', 'Authorization is not of the form: Bearer <key or token>');
  return match[1]!;
}
