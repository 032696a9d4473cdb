import { EngineError } from './engine-error.js';
import { tokensOf } from './lexer.js';

/** How results look, and bounds that one may lower. Not `output_format_schema`, which writes a file. */
const allowed =
  /^(?:output_format_(?!schema$)\w+|format_(?:csv|tsv)_\w+|date_time_(?:in|out)put_format|session_timezone|extremes|limit|offset|final|join_use_nulls|max_(?:threads|block_size|rows_to_read|bytes_to_read)|(?:result|timeout|read)_overflow_mode|log_comment|param_\w+)$/;

/** What clients send about the transport. It has no effect here, and the engine would not let a read-only user set it. */
const ignored = /^(?:http_\w+|send_progress_in_http_headers|add_http_cors_header|cancel_http_readonly_queries_on_client_close)$/;

/**
 * The settings that a read-only request gets, set before the engine locks them: the bounds, lowered where the request asks for less, and the
 * harmless ones of what it asks for. ClickHouse's own read-only users may set nothing; clients cope with it, people do not.
 * @throws EngineError 164 for any other setting.
 */
export function readerSettings(asked: ReadonlyMap<string, string>, bounds: Readonly<Record<string, number>>): ReadonlyMap<string, string> {
  const granted = new Map(Object.entries(bounds).map(([name, bound]) => [name, String(bound)]));
  for (const [name, value] of asked) {
    const bound = bounds[name];
    if (bound !== undefined) {
      const wanted = Number(value);
      if (wanted > 0 && wanted < bound) granted.set(name, value);
    } else if (allowed.test(name)) granted.set(name, value);
    else if (!ignored.test(name) && !(name === 'readonly' && value !== '0')) {
      throw new EngineError(164, 'READONLY', `Cannot modify '${name}' setting in readonly mode.`);
    }
  }
  return granted;
}

/**
 * `file()` as a function reads any file of this machine, whatever the role: the engine in process has no check for it. So its name may not
 * appear, not as a higher-order argument either (`arrayMap(file, …)`). A column of that name is reached through its table (`t.file`).
 * @param canonical the statement as the engine itself formats it, so that quotes and escapes cannot hide the name.
 */
export function refuseFileFunction(canonical: string, settings: ReadonlyMap<string, string>): void {
  const tokens = [...tokensOf(canonical)];
  const named = tokens.some(({ kind, text }, at) => {
    if (text === 'Identifier' && tokens[at - 1]?.text === ':')
      return mayNameFile(settings.get(`param_${tokens[at - 2]?.text ?? ''}`) ?? '');
    return (kind === 'word' || kind === 'name') && text.replaceAll('`', '') === 'file' && tokens[at - 1]?.text !== '.';
  });
  if (named) {
    throw new EngineError(
      164,
      'READONLY',
      'The function file() is not allowed in readonly mode. Write table.file for a column of that name.',
    );
  }
}

/** Whether a text could name `file` at all; if not, it need not be formatted first. An escape could spell it. */
export const mayNameFile = (text: string): boolean => /file|\\/.test(text);
