import { anonymous, mayAct, roles, type Principal, type RequiredRole, type Role } from './roles.js';

const holding = (...held: Role[]): Principal => ({ id: 'x', name: 'x', roles: held, via: 'api-key' });

describe('roles', () => {
  const matrix: Record<Role, Role[]> = {
    admin: ['admin', 'operator', 'analyst', 'bundle'],
    operator: ['operator', 'analyst'],
    analyst: ['analyst'],
    bundle: ['bundle'],
  };
  it.each(roles)('%s may do what the matrix says and nothing else', (held) => {
    expect(roles.filter((required) => mayAct(holding(held), required))).toEqual(
      roles.filter((required) => matrix[held].includes(required)),
    );
  });

  it('lets in whoever has any one of several', () => {
    const required: RequiredRole = ['bundle', 'analyst'];
    expect(roles.filter((held) => mayAct(holding(held), required))).toEqual(['admin', 'operator', 'analyst', 'bundle']);
    expect(mayAct(holding('bundle'), ['operator', 'analyst'])).toBe(false);
  });

  it('gives nobody without a role anything but what is public', () => {
    expect(mayAct(anonymous, 'public')).toBe(true);
    expect(roles.some((required) => mayAct(anonymous, required))).toBe(false);
    expect(mayAct(holding('admin'), [])).toBe(false);
  });
});
