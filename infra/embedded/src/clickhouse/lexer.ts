/** A token of ClickHouse's SQL. Comments and white space are left out. */
export interface Token {
  /** `word`: an identifier or keyword without quotes; `name`: one in quotes; `literal`: a string; `mark`: anything else, mostly one character. */
  readonly kind: 'word' | 'name' | 'literal' | 'mark';
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

const skipped = /(?:\s+|--[^\n]*|#[ !][^\n]*|\/\*[^]*?(?:\*\/|$))+/y;
const token =
  /(?<word>[A-Za-z_]\w*)|(?<name>`(?:[^`\\]+|\\[^]|``)*`?|"(?:[^"\\]+|\\[^]|"")*"?)|(?<literal>'(?:[^'\\]+|\\[^]|'')*'?|\$(?<tag>\w*)\$[^]*?(?:\$\k<tag>\$|$))|(?<mark>\d[\w.]*|[^])/y;

/** Splits a statement into tokens, one at a time, so that a caller can stop before data that is no SQL. */
export function* tokensOf(text: string): Generator<Token, undefined> {
  for (let at = 0; at < text.length;) {
    skipped.lastIndex = at;
    at += skipped.exec(text)?.[0].length ?? 0;
    if (at >= text.length) return;
    token.lastIndex = at;
    const { 0: found, groups } = token.exec(text)!;
    const kind =
      groups!.word !== undefined ? 'word' : groups!.name !== undefined ? 'name' : groups!.literal !== undefined ? 'literal' : 'mark';
    yield { kind, text: found, start: at, end: at + found.length };
    at += found.length;
  }
}

export function isWord(token: Token | undefined, ...words: readonly string[]): boolean {
  return token?.kind === 'word' && words.includes(token.text.toUpperCase());
}
