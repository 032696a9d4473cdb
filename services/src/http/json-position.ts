/** Where a JSON text breaks. */
export interface JsonBreak {
  /** Counted in UTF-16 units from 0. */
  readonly offset: number;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** The character there; undefined at the end of the text. */
  readonly found: string | undefined;
}

const scalar = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
const blank = /[\t\n\r ]*/y;
const plain = /[^"\\\u0000-\u001f]*/y;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * The first place at which `text` cannot go on as JSON; undefined if it is JSON. V8's own messages leave the place out for some errors
 * and quote the text around it, which may be a secret.
 */
export function findJsonBreak(text: string): JsonBreak | undefined {
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const length = pattern.exec(text)?.[0].length;
    at += length ?? 0;
    return length !== undefined;
  };
  const string = (): boolean => {
    at += 1;
    for (;;) {
      skip(plain);
      if (text[at] === '"') {
        at += 1;
        return true;
      }
      if (text[at] !== '\\' || !skip(escape)) return false;
    }
  };
  /** The brackets that are open, and what may come next. */
  const open: ('{' | '[')[] = [];
  let next: 'value' | 'value or ]' | 'key' | 'key or }' | 'after' = 'value';
  for (;;) {
    skip(blank);
    const character = text[at];
    if (next === 'after') {
      const inside = open.at(-1);
      if (inside === undefined) return character === undefined ? undefined : place(text, at);
      if (character === ',') next = inside === '{' ? 'key' : 'value';
      else if (character === (inside === '{' ? '}' : ']')) open.pop();
      else return place(text, at);
      at += 1;
    } else if (next === 'key or }' && character === '}') {
      open.pop();
      at += 1;
      next = 'after';
    } else if (next === 'key' || next === 'key or }') {
      if (character !== '"' || !string()) return place(text, at);
      skip(blank);
      if (text[at] !== ':') return place(text, at);
      at += 1;
      next = 'value';
    } else if (next === 'value or ]' && character === ']') {
      open.pop();
      at += 1;
      next = 'after';
    } else if (character === '{' || character === '[') {
      open.push(character);
      at += 1;
      next = character === '{' ? 'key or }' : 'value or ]';
    } else {
      if (character === '"' ? !string() : !skip(scalar)) return place(text, at);
      next = 'after';
    }
  }
}

function place(text: string, offset: number): JsonBreak {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { offset, line: before.split('\n').length, column: offset - lineStart + 1, found: text[offset] };
}
