import { contentKey, RegistryState } from './state.js';
import type { Change, SchemaReference } from './records.js';

const put = (
  subject: string,
  version: number,
  id: number,
  schema = `"${id}"`,
  more: { deleted?: boolean; references?: readonly SchemaReference[] } = {},
): Change => ({
  type: 'SCHEMA',
  subject,
  version,
  value: { subject, version, id, schema, deleted: false, ...more },
});
const drop = (subject: string, version: number): Change => ({ type: 'SCHEMA', subject, version, value: null });
const stateOf = (...changes: Change[]) => {
  const state = new RegistryState();
  for (const change of changes) state.apply(change);
  return state;
};

describe('registry state', () => {
  it('knows subjects, versions in order, ids and where they are used', () => {
    const state = stateOf(put('b', 2, 2), put('b', 1, 1), put('a', 1, 1));
    expect(state.subjectNames()).toEqual(['a', 'b']);
    expect(state.versions('b').map(({ version }) => version)).toEqual([1, 2]);
    expect(state.places(1).map(({ subject, version }) => `${subject} ${version}`)).toEqual(['b 1', 'a 1']);
    expect(state.maxId).toBe(2);
  });

  it('finds an id by content, references included, until the last place is gone', () => {
    const reference = { name: 'A', subject: 'a', version: 1 };
    const state = stateOf(put('a', 1, 1), put('b', 1, 1), put('c', 1, 3, '"1"', { references: [reference] }));
    const content = contentKey({ schema: '"1"', references: [] });
    expect(state.idOf(content)).toBe(1);
    expect(state.idOf(contentKey({ schema: '"1"', references: [reference] }))).toBe(3);
    state.apply(drop('a', 1));
    expect(state.idOf(content)).toBe(1);
    state.apply(drop('b', 1));
    expect(state.idOf(content)).toBeUndefined();
    expect(state.places(1)).toEqual([]);
  });

  it('never gives an id to a second schema, whatever the log says', () => {
    const state = stateOf(put('a', 1, 1));
    expect(state.apply(put('a', 2, 1, '"other"'))).toBe(false);
    expect(state.version('a', 2)).toBeUndefined();
  });

  it('remembers the highest id after its schema is gone', () => {
    const state = stateOf(put('a', 1, 9), drop('a', 1));
    expect(state.maxId).toBe(9);
    expect(stateOf({ type: 'NOOP', maxId: 9 }, { type: 'NOOP', maxId: 2 }).maxId).toBe(9);
  });

  it('soft-deletes the versions of a subject up to the one named', () => {
    const state = stateOf(put('a', 1, 1), put('a', 2, 2), { type: 'DELETE_SUBJECT', subject: 'a', version: 1 });
    expect(state.liveVersions('a').map(({ version }) => version)).toEqual([2]);
    expect(state.places(1)).toMatchObject([{ deleted: true }]);
  });

  it('knows the live schemas that refer to a version', () => {
    const references = [{ name: 'A', subject: 'a', version: 1 }];
    const state = stateOf(put('a', 1, 1), put('b', 1, 2, '"b"', { references }), put('c', 1, 3, '"c"', { references, deleted: true }));
    expect(state.referrers('a', 1)).toEqual([2]);
    expect(state.referrers('a')).toEqual([2]);
    expect(state.referrers('a', 2)).toEqual([]);
  });

  it('takes the mode of the subject before that of the registry, unless the latter overrides', () => {
    const state = stateOf(
      { type: 'MODE', subject: null, value: { mode: 'READONLY' } },
      { type: 'MODE', subject: 'a', value: { mode: 'IMPORT' } },
    );
    expect([state.modeInScope('a'), state.modeInScope('b')]).toEqual(['IMPORT', 'READONLY']);
    state.apply({ type: 'MODE', subject: null, value: { mode: 'READONLY_OVERRIDE' } });
    expect(state.modeInScope('a')).toBe('READONLY_OVERRIDE');
    state.apply({ type: 'MODE', subject: null, value: null });
    expect(state.modeInScope('b')).toBe('READWRITE');
  });

  it('forks: a change to one is not seen by the other', () => {
    const state = stateOf(put('a', 1, 1), put('a', 2, 2));
    const fork = state.fork();
    fork.apply({ type: 'DELETE_SUBJECT', subject: 'a', version: 2 });
    fork.apply(put('b', 1, 3));
    expect([state.liveVersions('a').length, state.subjectNames(), state.maxId]).toEqual([2, ['a'], 2]);
    expect([fork.liveVersions('a').length, fork.subjectNames(), fork.maxId]).toEqual([0, ['a', 'b'], 3]);
  });
});
