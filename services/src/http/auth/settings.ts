import { SpoolError, type Violation } from '@spool/schemas';
import { isRole, roles, type Role } from '../roles.js';
import type { AuthConfig } from './auth.js';
import type { JwtOptions } from './tokens.js';

/** What to set; the refusal to listen beyond loopback quotes it. */
export const authSettingsHint =
  'SPOOL_API_KEYS_FILE (a key file), or SPOOL_JWT_ISSUER, SPOOL_JWT_AUDIENCE and SPOOL_JWT_JWKS_URL or SPOOL_JWT_JWKS_FILE (tokens of an identity provider)';

/**
 * The authentication that an environment asks for: `SPOOL_API_KEYS_FILE`, `SPOOL_JWT_ISSUER`, `SPOOL_JWT_AUDIENCE` (several by commas),
 * `SPOOL_JWT_JWKS_URL` or `SPOOL_JWT_JWKS_FILE`, `SPOOL_JWT_ROLES_CLAIM`, `SPOOL_JWT_ROLE_NAMES` (`platform-admins=admin,oncall=operator`).
 * @throws SpoolError INVALID_CONFIG with every problem; half a set of settings is one
 */
export function authFromEnvironment(environment: Readonly<Record<string, string | undefined>>): AuthConfig {
  const violations: Violation[] = [];
  const read = (name: string): string | undefined => (environment[name] === '' ? undefined : environment[name]);
  const file = read('SPOOL_API_KEYS_FILE');
  const jwt = readJwt(read, (pointer, message) => violations.push({ pointer, message }));
  if (violations.length > 0) {
    const list = violations.map(({ pointer, message }) => `${pointer} ${message}`).join('; ');
    throw new SpoolError('INVALID_CONFIG', `The settings of authentication are not valid: ${list}`, { violations });
  }
  return { ...(file === undefined ? {} : { apiKeys: { file } }), ...(jwt === undefined ? {} : { jwt }) };
}

function readJwt(read: (name: string) => string | undefined, wrong: (pointer: string, message: string) => void): JwtOptions | undefined {
  const [issuer, audience, url, file] = [
    read('SPOOL_JWT_ISSUER'),
    read('SPOOL_JWT_AUDIENCE'),
    read('SPOOL_JWT_JWKS_URL'),
    read('SPOOL_JWT_JWKS_FILE'),
  ];
  const [rolesClaim, roleNames] = [read('SPOOL_JWT_ROLES_CLAIM'), read('SPOOL_JWT_ROLE_NAMES')];
  if ([issuer, audience, url, file, rolesClaim, roleNames].every((value) => value === undefined)) return undefined;
  if (issuer === undefined) wrong('SPOOL_JWT_ISSUER', 'is missing');
  if (audience === undefined) wrong('SPOOL_JWT_AUDIENCE', 'is missing: without it a token for another service would do');
  if ((url === undefined) === (file === undefined))
    wrong('SPOOL_JWT_JWKS_URL', 'or SPOOL_JWT_JWKS_FILE is to be set, and one of them only');
  const names = roleNames === undefined ? undefined : readRoleNames(roleNames, wrong);
  return {
    issuer: issuer ?? '',
    audience: (audience ?? '').split(',').map((each) => each.trim()),
    jwks: url === undefined ? { file: file ?? '' } : { url },
    ...(rolesClaim === undefined ? {} : { rolesClaim }),
    ...(names === undefined ? {} : { roleNames: names }),
  };
}

function readRoleNames(text: string, wrong: (pointer: string, message: string) => void): Readonly<Record<string, Role>> {
  const pairs = text.split(',').map((pair): readonly [string, string] => {
    const at = pair.lastIndexOf('=');
    return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  });
  const names: Record<string, Role> = {};
  for (const [theirs, ours] of pairs) {
    if (theirs !== '' && isRole(ours)) names[theirs] = ours;
    else wrong('SPOOL_JWT_ROLE_NAMES', `is to be a list of theirs=ours with ours one of ${roles.join(', ')}`);
  }
  return names;
}
