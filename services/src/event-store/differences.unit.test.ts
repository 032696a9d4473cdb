import fc from 'fast-check';
import { differences, type Change } from './differences.js';

/** What RFC 6902 says that the changes do. */
function applied(document: unknown, changes: readonly Change[]): unknown {
  let root = structuredClone(document);
  for (const { op, path, after } of changes) {
    const names = path
      .split('/')
      .slice(1)
      .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = names.pop();
    if (last === undefined) {
      root = after;
      continue;
    }
    const holder = names.reduce((at, name) => (at as Record<string, unknown>)[name], root) as Record<string, unknown> | unknown[];
    if (Array.isArray(holder)) holder.splice(Number(last), op === 'add' ? 0 : 1, ...(op === 'remove' ? [] : [after]));
    else if (op === 'remove') Reflect.deleteProperty(holder, last);
    else Object.defineProperty(holder, last, { value: after, enumerable: true, configurable: true, writable: true });
  }
  return root;
}
const json = fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);

describe('differences', () => {
  it('lead from one value to the other', () => {
    fc.assert(
      fc.property(json, json, (before, after) => {
        expect(applied(before, differences(before, after))).toEqual(after);
      }),
      { numRuns: 500 },
    );
  });
  it('are none between a value and its copy', () => {
    fc.assert(fc.property(json, (value) => expect(differences(value, structuredClone(value))).toEqual([])));
  });
  it('leave the rest of a list alone', () => {
    expect(differences({ l: [1, 2, 3, 4, 5] }, { l: [1, 3, 4, 5] })).toEqual([{ op: 'remove', path: '/l/1', before: 2 }]);
    expect(differences([{ a: 1 }, { a: 2 }], [{ a: 0 }, { a: 1 }, { a: 2 }])).toEqual([{ op: 'add', path: '/0', after: { a: 0 } }]);
    expect(differences({ 'a/b~': 1 }, {})).toEqual([{ op: 'remove', path: '/a~1b~0', before: 1 }]);
  });
});
