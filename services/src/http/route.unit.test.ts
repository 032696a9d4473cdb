import { z } from 'zod';
import { checkDeclarations } from './declarations.js';
import { route, type Route } from './route.js';

const base = { method: 'GET', path: '/a', summary: 's', role: 'analyst' } as const;
const responses = {
  200: { description: 'ok', schema: z.object({ items: z.array(z.string()), kind: z.enum(['a', 'b']) }) },
  202: { description: 'later' },
};

const noBody = (body: undefined): boolean => String(body) === 'undefined';

/** Read by the compiler alone: what a handler may return and what it is given. */
export const typeChecks: readonly Route[] = [
  route({ ...base, responses, handler: () => ({ status: 200, body: { items: ['a'], kind: 'a' } }) }),
  route({ ...base, responses, handler: async () => ({ status: 202 }) }),
  route({
    ...base,
    responses,
    query: z.object({ n: z.coerce.number().default(4) }),
    handler: ({ query, body }) =>
      query.n.toFixed() === '3' && noBody(body) ? { status: 202 } : { status: 200, body: { items: [], kind: 'b' } },
  }),
  route({ ...base, responses, stream: true, handler: ({ response }) => Promise.resolve(void response.end()) }),
  // @ts-expect-error -- 201 is not declared
  route({ ...base, responses, handler: () => ({ status: 201 }) }),
  // @ts-expect-error -- the body does not fit
  route({ ...base, responses, handler: () => ({ status: 200, body: { items: [1], kind: 'a' } }) }),
  // @ts-expect-error -- the body is missing
  route({ ...base, responses, handler: () => ({ status: 200 }) }),
  // @ts-expect-error -- the role is missing
  route({ method: 'GET', path: '/a', summary: 's', responses, handler: () => ({ status: 202 }) }),
  // @ts-expect-error -- no such problem
  route({ ...base, responses, errors: ['NOPE'], handler: () => ({ status: 202 }) }),
  // @ts-expect-error -- only streams have the response
  route({ ...base, responses, handler: ({ response }) => ({ status: 202, body: String(response) }) }),
];

const plain = (changes: object): Route => ({
  ...route({ ...base, responses: { 204: { description: 'ok' } }, handler: () => ({ status: 204 }) }),
  ...changes,
});

describe('declarations', () => {
  it('are taken as they should be', () => {
    expect(() => {
      checkDeclarations([plain({}), plain({ method: 'PUT' }), plain({ path: '/a/{b}/c.json', params: z.object({ b: z.string() }) })], []);
    }).not.toThrow();
  });

  it('do not start without a role, and every mistake is listed at once', () => {
    const wrong = [
      plain({ path: '/no-role', role: undefined }),
      plain({ path: '/odd-role', role: 'root' }),
      plain({ path: '/empty-roles', role: [] }),
      plain({ path: '/twice/{a}', params: z.object({ a: z.string() }) }),
      plain({ path: '/twice/{b}', params: z.object({ b: z.string() }) }),
      plain({ path: '/missing/{x}' }),
      plain({ path: '/colon/:x' }),
      plain({ path: '/body', body: z.string() }),
      plain({ path: '/headers', headers: z.object({ 'If-Match': z.string() }) }),
      plain({ path: '/no-response', responses: {} }),
    ];
    let caught: unknown;
    try {
      checkDeclarations(wrong, [{ path: '/socket', summary: 's', role: undefined as never, handler: () => undefined }]);
    } catch (error) {
      caught = error;
    }
    const paths = (caught as { violations: { pointer: string }[] }).violations.map(({ pointer }) => pointer);
    expect(caught).toMatchObject({ code: 'INVALID_CONFIG' });
    expect(paths).toEqual([
      'GET /no-role',
      'GET /odd-role',
      'GET /empty-roles',
      'GET /twice/{b}',
      'GET /missing/{x}',
      'GET /colon/:x',
      'GET /body',
      'GET /headers',
      'GET /no-response',
      'GET /socket',
    ]);
    expect((caught as Error).message).toContain('GET /no-role: declares no role');
  });
});
