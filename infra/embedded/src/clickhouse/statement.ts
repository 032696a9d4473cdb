import { EngineError } from './engine-error.js';
import { isWord, tokensOf, type Token } from './lexer.js';

/** The head of `INSERT INTO t … FORMAT f`, which data follows. Positions count in the text that was given. */
export interface InsertHead {
  /** Where SETTINGS stand, or the statement without data ends: the place for `FROM INFILE`. */
  readonly settingsStart: number;
  /** Where FORMAT or VALUES stands, or the text ends. */
  readonly formatStart: number;
  readonly format: string;
  readonly dataStart: number;
}

/**
 * Finds the head of an INSERT that takes its rows from what follows it; undefined for any other statement, INSERT … SELECT among them.
 * @throws EngineError for INFILE and input(), which would read files of the server or are not served.
 */
export function readInsert(text: string): InsertHead | undefined {
  const tokens = tokensOf(text);
  const next = (): Token | undefined => tokens.next().value;
  // 1. INSERT [INTO] [TABLE|FUNCTION] name[.name]
  if (!isWord(next(), 'INSERT')) return undefined;
  let token = next();
  if (isWord(token, 'INTO')) token = next();
  if (isWord(token, 'TABLE', 'FUNCTION')) token = next();
  for (let wanted = true; token !== undefined && (wanted || token.text === '.'); token = next()) {
    wanted = token.text === '.';
    if (token.text === '{') while (token !== undefined && token.text !== '}') token = next();
  }
  // 2. Columns, partition, settings; then what gives the rows.
  let depth = 0;
  let isFirst = true; // nothing but brackets so far
  let settingsStart: number | undefined;
  for (; token !== undefined; token = next()) {
    if ('([{'.includes(token.text)) depth += 1;
    else if (')]}'.includes(token.text)) depth -= 1;
    else if (isWord(token, 'SELECT', 'WITH') && (depth === 0 || isFirst)) {
      refuseInput(tokens);
      return undefined;
    } else if (depth === 0 && isWord(token, 'FROM')) {
      if (isWord(next(), 'INFILE'))
        throw new EngineError(48, 'NOT_IMPLEMENTED', 'FROM INFILE is not allowed over HTTP; send the rows in the body.');
      return undefined;
    } else if (depth === 0 && isWord(token, 'SETTINGS')) settingsStart = token.start;
    else if (depth === 0 && isWord(token, 'VALUES')) {
      return { settingsStart: settingsStart ?? token.start, formatStart: token.start, format: 'Values', dataStart: token.end };
    } else if (depth === 0 && isWord(token, 'FORMAT')) {
      const format = next();
      if (format === undefined) return undefined;
      const gap = /[ \t\f\r]*\n?/y;
      gap.lastIndex = format.end;
      const dataStart = format.end + gap.exec(text)![0].length;
      return { settingsStart: settingsStart ?? token.start, formatStart: token.start, format: format.text, dataStart };
    }
    isFirst &&= token.text === '(';
  }
  return { settingsStart: settingsStart ?? text.length, formatStart: text.length, format: 'Values', dataStart: text.length };
}

/** `INSERT … SELECT … FROM input(…)`: the engine in process takes such rows without a word and inserts none of them. */
function refuseInput(rest: Iterable<Token>): void {
  let before: Token | undefined;
  for (const token of rest) {
    if (token.text === '(' && isWord(before, 'INPUT')) {
      throw new EngineError(48, 'NOT_IMPLEMENTED', 'The table function input() is not served; insert into a table with the plain columns.');
    }
    before = token;
  }
}

/** The statement that inserts the rows of a file instead of those behind the statement. */
export function insertFromFile(text: string, head: InsertHead, file: string): string {
  const infile = ` FROM INFILE ${literal(file)} COMPRESSION 'none' `;
  return `${text.slice(0, head.settingsStart)}${infile}${text.slice(head.settingsStart, head.formatStart)} FORMAT ${head.format}`;
}

/** The format that a query names for its result, if it does: the last `FORMAT x` that nothing but SETTINGS follows. */
export function outputFormat(text: string): string | undefined {
  const tokens = [...tokensOf(text)];
  const at = tokens.findLastIndex(
    (token, index) => isWord(token, 'FORMAT') && tokens[index + 1]?.kind === 'word' && endsQuery(tokens[index + 2]),
  );
  return at < 0 ? undefined : tokens[at + 1]!.text;
}

const endsQuery = (token: Token | undefined): boolean => token === undefined || token.text === ';' || isWord(token, 'SETTINGS');

/** A string literal of ClickHouse's SQL. */
export const literal = (value: string): string => `'${value.replace(/[\\']/g, '\\$&')}'`;

/** An identifier in quotes. */
export const identifier = (name: string): string => `\`${name.replace(/[\\`]/g, '\\$&')}\``;
