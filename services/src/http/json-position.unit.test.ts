import fc from 'fast-check';
import { findJsonBreak } from './json-position.js';

describe('the place at which JSON breaks', () => {
  it.each([
    ['{"a":1,}', 7, '}'],
    ['{"a":x}', 5, 'x'],
    ['{"a" 1}', 5, '1'],
    ['{a:1}', 1, 'a'],
    ['[1 2]', 3, '2'],
    ['[1,]', 3, ']'],
    ['{"a":1}x', 7, 'x'],
    ['{"a":"b\nc"}', 7, '\n'],
    ['{"a":"\\x"}', 6, '\\'],
    ['01', 1, '1'],
    ['', 0, undefined],
    ['{"a":', 5, undefined],
    ['["abc', 5, undefined],
    ['[}', 1, '}'],
  ])('of %j is %i', (text, offset, found) => {
    expect(() => JSON.parse(text) as unknown).toThrow();
    expect(findJsonBreak(text)).toMatchObject({ offset, found });
  });

  it('counts lines and columns from one', () => {
    expect(findJsonBreak('{\n  "a": 1,\n  "b": tru\n}')).toMatchObject({ line: 3, column: 8, found: 't' });
  });

  it('finds none in whatever JSON.parse takes, and one in whatever it refuses', () => {
    const tokens = fc.array(
      fc.constantFrom('{', '}', '[', ']', ',', ':', '"a"', '"', '1', '-', '0', '1e5', '1.', 'null', 'tru', ' ', '\\', '\\u12'),
      { maxLength: 12 },
    );
    const texts = fc.oneof(
      fc.json(),
      tokens.map((parts) => parts.join('')),
      fc.string(),
    );
    fc.assert(
      fc.property(texts, (text) => {
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        expect(findJsonBreak(text) === undefined).toBe(valid);
      }),
      { numRuns: 3_000 },
    );
  });

  it('gets through ten megabytes of text and of brackets', () => {
    expect(findJsonBreak(`["${'x'.repeat(10_000_000)}`)).toMatchObject({ offset: 10_000_002, found: undefined });
    expect(findJsonBreak('['.repeat(1_000_000))).toMatchObject({ offset: 1_000_000 });
  });
});
