import { checkIfMatch, etagOf, isNotModified, parseEntityTags, versionOfIfMatch } from './etag.js';

const code = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return (error as { code: unknown }).code;
  }
  return undefined;
};

describe('entity tags', () => {
  it('are lists of quoted texts, or a star', () => {
    expect(parseEntityTags(' "1", W/"2" ,"a,b"', 'if-match')).toEqual(['"1"', 'W/"2"', '"a,b"']);
    expect(parseEntityTags(' * ', 'if-match')).toBe('*');
    for (const wrong of ['', '1', '"1', '"1" "2"', '*,"1"', 'w/"1"'])
      expect(code(() => parseEntityTags(wrong, 'if-match'))).toBe('INVALID_REQUEST');
  });

  it('If-Match lets the named version through and no other', () => {
    expect(code(() => checkIfMatch(undefined, undefined))).toBeUndefined();
    expect(code(() => checkIfMatch(etagOf(7n), 7))).toBeUndefined();
    expect(code(() => checkIfMatch('"6","7"', 7n))).toBeUndefined();
    expect(code(() => checkIfMatch('*', 7))).toBeUndefined();
    expect(code(() => checkIfMatch('*', undefined))).toBe('PRECONDITION_FAILED');
    expect(code(() => checkIfMatch('"6"', 7))).toBe('PRECONDITION_FAILED');
    expect(code(() => checkIfMatch('W/"7"', 7))).toBe('PRECONDITION_FAILED');
    expect(() => checkIfMatch('"6"', 7)).toThrow(expect.objectContaining({ facts: { actualVersion: '7' } }) as Error);
  });

  it('If-Match can be passed on as one version', () => {
    expect(versionOfIfMatch(undefined)).toBeUndefined();
    expect(versionOfIfMatch('*')).toBe('any');
    expect(versionOfIfMatch('"9007199254740993"')).toBe(9007199254740993n);
    for (const wrong of ['"1","2"', 'W/"1"', '"x"', '"-1"']) expect(code(() => versionOfIfMatch(wrong))).toBe('INVALID_REQUEST');
  });

  it('If-None-Match compares weakly', () => {
    expect(isNotModified(undefined, 7)).toBe(false);
    expect(isNotModified('W/"7"', 7)).toBe(true);
    expect(isNotModified('"6", "7"', 7n)).toBe(true);
    expect(isNotModified('*', 7)).toBe(true);
    expect(isNotModified('"6"', 7)).toBe(false);
  });
});
