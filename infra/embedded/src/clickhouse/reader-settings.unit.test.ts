import { mayNameFile, readerSettings, refuseFileFunction } from './reader-settings.js';

const bounds = { max_execution_time: 60, max_result_rows: 1000 };
const settingsFor = (asked: Record<string, string>): Record<string, string> =>
  Object.fromEntries(readerSettings(new Map(Object.entries(asked)), bounds));

describe('the settings of a read-only request', () => {
  it('always hold the bounds', () => {
    expect(settingsFor({})).toEqual({ max_execution_time: '60', max_result_rows: '1000' });
  });

  it.each(['0', '61', '-1', 'x'])('cannot raise a bound to %s', (value) => {
    expect(settingsFor({ max_execution_time: value })).toMatchObject({ max_execution_time: '60' });
  });

  it('may lower a bound and change how a result looks', () => {
    const asked = { max_execution_time: '5', output_format_json_quote_64bit_integers: '1', param_x: '1', session_timezone: 'UTC' };
    expect(settingsFor(asked)).toEqual({ ...asked, max_result_rows: '1000' });
  });

  it('drop what concerns the transport alone, and a lock that is there anyway', () => {
    expect(settingsFor({ http_write_exception_in_output_format: '0', send_progress_in_http_headers: '1', readonly: '1' })).toEqual({
      max_execution_time: '60',
      max_result_rows: '1000',
    });
  });

  it.each([
    'readonly',
    'output_format_schema',
    'format_schema',
    'format_template_row',
    'format_avro_schema_registry_url',
    'allow_ddl',
    'max_memory_usage_for_user',
  ])('refuse %s', (name) => {
    expect(() => settingsFor({ [name]: '0' })).toThrow(`Cannot modify '${name}' setting in readonly mode.`);
  });
});

describe('the function file()', () => {
  it.each([
    "SELECT file('/etc/passwd')",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT `file`('/etc/passwd')",
    "SELECT '\\'', file('/etc/passwd')",
    "SELECT 1 AS `a'`, file('/etc/passwd') AS `b'`",
  ])('is refused in %s', (sql) => {
    expect(() => refuseFileFunction(sql, new Map())).toThrow('file() is not allowed');
  });

  it('is refused as the value of an identifier parameter', () => {
    const sql = "SELECT arrayMap({f:Identifier}, ['/etc/passwd'])";
    expect(() => refuseFileFunction(sql, new Map([['param_f', 'file']]))).toThrow('file() is not allowed');
    expect(() => refuseFileFunction(sql, new Map([['param_f', '\\x66ile']]))).toThrow('file() is not allowed');
    refuseFileFunction(
      sql,
      new Map([
        ['param_f', 'upper'],
        ['param_other', 'a\\tfile'],
      ]),
    );
  });

  it.each(["SELECT 'file'", 'SELECT t.file FROM t', 'SELECT profile, files, file_name FROM t', "SELECT 'it\\'s a file'"])(
    'is not seen in %s',
    (sql) => {
      refuseFileFunction(sql, new Map());
    },
  );

  it('cannot be named without its letters or an escape', () => {
    expect(['SELECT 1', 'SELECT FILE()'].map(mayNameFile)).toEqual([false, false]);
    expect(["SELECT file('x')", 'SELECT `\\x66ile`()'].map(mayNameFile)).toEqual([true, true]);
  });
});
