/**
 * JSON whose numbers keep the digits they were written with. `JSON.parse` turns the default `9223372036854775807` of a long into
 * `9223372036854775808` and `1.0` into `1`; a registry that stored that would change its users' schemas.
 */
export class NumberLiteral {
  constructor(readonly text: string) {}
}
export type Json = null | boolean | string | NumberLiteral | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isObject = (json: Json | undefined): json is JsonObject =>
  typeof json === 'object' && json !== null && !Array.isArray(json) && !(json instanceof NumberLiteral);

/** A string cannot hold a raw U+0000 in valid JSON, and the escaped one is told apart by doubling it. */
const mark = '\u0000';
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/** @throws SyntaxError that names the place. */
export function parseJson(text: string): Json {
  JSON.parse(text);
  // Valid JSON from here on, so the two kinds of token cannot be confused.
  const marked = text.replace(token, (found) => {
    if (!found.startsWith('"')) return `"\\u0000${found}"`;
    return found.startsWith('"\\u0000') ? `"\\u0000${found.slice(1)}` : found;
  });
  return revive(JSON.parse(marked) as unknown, 0);
}

/** `JSON.parse` takes any nesting; what walks the value afterwards would run out of stack. */
const maxNesting = 500;

function revive(value: unknown, depth: number): Json {
  if (depth > maxNesting) throw new SyntaxError(`nested more than ${maxNesting} deep`);
  if (typeof value === 'string') {
    if (!value.startsWith(mark)) return value;
    return value.startsWith(mark + mark) ? value.slice(1) : new NumberLiteral(value.slice(1));
  }
  if (Array.isArray(value)) return value.map((item) => revive(item, depth + 1));
  if (typeof value === 'object' && value !== null) {
    // Object.entries and fromEntries define own properties, so a key named __proto__ is data like any other.
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key.startsWith(mark) ? key.slice(1) : key, revive(item, depth + 1)]),
    );
  }
  return value as null | boolean;
}

/** Minified; with `sorted`, the keys of every object are in order. */
export function renderJson(json: Json, sorted = false): string {
  if (json instanceof NumberLiteral) return json.text;
  if (Array.isArray(json)) return `[${json.map((item: Json) => renderJson(item, sorted)).join(',')}]`;
  if (isObject(json)) {
    const keys = sorted ? Object.keys(json).sort() : Object.keys(json);
    return `{${keys.map((key) => `${JSON.stringify(key)}:${renderJson(json[key]!, sorted)}`).join(',')}}`;
  }
  return JSON.stringify(json);
}
