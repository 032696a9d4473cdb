import { SpoolError, type Violation } from '@spool/schemas';
import { isRole, namedRoles, type RequiredRole } from './roles.js';
import type { Route } from './route.js';
import type { SocketRoute } from './socket-route.js';

const segment = /^(?:[\w.~-]+|\{[A-Za-z]\w*\})$/;

/** @throws SpoolError INVALID_CONFIG that lists every mistake in the declarations. */
export function checkDeclarations(routes: readonly Route[], sockets: readonly SocketRoute[]): void {
  const violations: Violation[] = [];
  const seen = new Set<string>();
  for (const each of [...routes, ...sockets.map((socket) => ({ ...socket, method: 'GET' as const }))]) {
    const name = `${each.method} ${each.path}`;
    const wrong = (message: string): void => void violations.push({ pointer: name, message });
    if (!isRequiredRole(each.role)) wrong('declares no role; say who may call it, or public');
    if (
      !each.path.startsWith('/') ||
      !each.path
        .split('/')
        .slice(1)
        .every((part) => segment.test(part))
    )
      wrong('the path is not of the form /a/{b}');
    const shape = name.replaceAll(/\{\w+\}/g, '{}');
    if (seen.has(shape)) wrong('is declared twice');
    seen.add(shape);
    const inPath = pathParameters(each.path).sort().join(', ');
    const declared = Object.keys(each.params?.shape ?? {})
      .sort()
      .join(', ');
    if (inPath !== declared) wrong(`the path has the parameters [${inPath}], its schema has [${declared}]`);
    if (!('responses' in each)) continue;
    if (Object.keys(each.responses).length === 0) wrong('declares no response');
    if (each.method === 'GET' && each.body !== undefined) wrong('a GET has no body');
    const upper = Object.keys(each.headers?.shape ?? {}).filter((header) => header !== header.toLowerCase());
    if (upper.length > 0) wrong(`header names are written in lower case: ${upper.join(', ')}`);
  }
  if (violations.length === 0) return;
  const list = violations.map(({ pointer, message }) => `${pointer}: ${message}`).join('; ');
  throw new SpoolError('INVALID_CONFIG', `The routes are not declared well: ${list}`, { violations });
}

function pathParameters(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
}

function isRequiredRole(role: RequiredRole | undefined): boolean {
  if (role === undefined) return false;
  const named = namedRoles(role);
  return role === 'public' || (named.length > 0 && named.every(isRole));
}
