import fc from 'fast-check';
import { NumberLiteral, parseJson, renderJson } from './exact-json.js';

describe('JSON that keeps its numbers', () => {
  it('keeps digits that a double cannot hold, and the form of the number', () => {
    const text = '{"long":9223372036854775807,"double":1.0,"exp":-2.50E+3,"list":[0,-0,1e5]}';
    expect(renderJson(parseJson(text))).toBe(text);
  });

  it('gives numbers as literals and everything else as JSON.parse does', () => {
    expect(parseJson('[1, "1", null, true]')).toEqual([new NumberLiteral('1'), '1', null, true]);
  });

  it('is not deceived by numbers in strings, escapes, or a string that begins with U+0000', () => {
    const value = { '5': 'a 7 \\" 8', '\u0000k': '\u00001', '\u0000\u00002': ['"3"', '\\'], __proto__x: 'é 4' };
    expect(JSON.parse(renderJson(parseJson(JSON.stringify(value))))).toEqual(value);
    expect(parseJson('"\\u00005"')).toBe('\u00005');
  });

  it('keeps a key named __proto__ as data', () => {
    expect(renderJson(parseJson('{"__proto__":{"a":1}}'))).toBe('{"__proto__":{"a":1}}');
  });

  it('renders what it parsed to the same JSON', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.parse(renderJson(parseJson(text)))).toEqual(JSON.parse(text));
        expect(renderJson(parseJson(renderJson(parseJson(text))))).toBe(renderJson(parseJson(text)));
      }),
    );
  });

  it('sorts keys at every level when asked', () => {
    expect(renderJson(parseJson('{"b":{"d":1,"c":[{"z":0,"y":0}]},"a":2}'), true)).toBe('{"a":2,"b":{"c":[{"y":0,"z":0}],"d":1}}');
  });

  it('refuses broken JSON and nesting that would exhaust the stack', () => {
    expect(() => parseJson('{"a":}')).toThrow(SyntaxError);
    expect(() => parseJson('01')).toThrow(SyntaxError);
    expect(() => parseJson('['.repeat(100_000) + ']'.repeat(100_000))).toThrow(/nested more than/);
  });

  it('reads a string of a megabyte', () => {
    const text = JSON.stringify({ doc: 'x\\"'.repeat(400_000) });
    expect(renderJson(parseJson(text))).toBe(text);
  });
});
