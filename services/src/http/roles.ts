/**
 * Who may do what. `admin` may do everything; `operator` runs the platform (pause, seek, drain, replay) and may read what an
 * analyst reads; `analyst` reads; `bundle` is a deployed process or an outside caller that sends commands and asks queries. A bundle
 * reads nothing of the platform, and an operator sends no commands: a route that both may call names both.
 */
export const roles = ['admin', 'operator', 'analyst', 'bundle'] as const;
export type Role = (typeof roles)[number];

/** What a route asks for: one role, any one of several, or nothing. */
export type RequiredRole = 'public' | Role | readonly Role[];

const implied: Readonly<Record<Role, readonly Role[]>> = {
  admin: roles,
  operator: ['operator', 'analyst'],
  analyst: ['analyst'],
  bundle: ['bundle'],
};

/** Who is calling. */
export interface Principal {
  /** Stable and unique among its kind: the id of an API key, the subject of a token. */
  readonly id: string;
  /** For people: audit and logs. */
  readonly name: string;
  readonly roles: readonly Role[];
  readonly via: 'api-key' | 'jwt' | 'loopback' | 'nothing';
  /** Milliseconds since the epoch; streams end then. Undefined: never. */
  readonly expiresAt?: number;
}

/** The caller of a public route; public routes look at no credentials. */
export const anonymous: Principal = { id: 'anonymous', name: 'anonymous', roles: [], via: 'nothing' };

/** The roles that a route names, `[]` for a public one. */
export function namedRoles(required: RequiredRole): readonly Role[] {
  if (required === 'public') return [];
  return typeof required === 'string' ? [required] : required;
}

/** Whether one of the principal's roles is, or implies, one of those that are required. */
export function mayAct(principal: Principal, required: RequiredRole): boolean {
  if (required === 'public') return true;
  return namedRoles(required).some((wanted) => principal.roles.some((held) => implied[held].includes(wanted)));
}

export function isRole(name: unknown): name is Role {
  return (roles as readonly unknown[]).includes(name);
}
