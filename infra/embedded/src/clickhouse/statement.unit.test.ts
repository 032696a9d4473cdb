import { insertFromFile, literal, outputFormat, readInsert } from './statement.js';

const split = (text: string): readonly string[] | undefined => {
  const head = readInsert(text);
  return (
    head && [text.slice(0, head.settingsStart), text.slice(head.settingsStart, head.formatStart), head.format, text.slice(head.dataStart)]
  );
};

describe('the head of an INSERT', () => {
  it.each([
    ['INSERT INTO t FORMAT JSONEachRow\n{"a":1}', ['INSERT INTO t ', '', 'JSONEachRow', '{"a":1}']],
    ['insert into db.`t.x` (a, b) format CSV 1,2\n3,4', ['insert into db.`t.x` (a, b) ', '', 'CSV', '1,2\n3,4']],
    [
      "INSERT INTO t (a) SETTINGS async_insert=0, x='FORMAT Y' FORMAT Native\r\n\n\x01",
      ['INSERT INTO t (a) ', "SETTINGS async_insert=0, x='FORMAT Y' ", 'Native', '\n\x01'],
    ],
    ["INSERT INTO t VALUES (1, 'a'), (2, 'b')", ['INSERT INTO t ', '', 'Values', " (1, 'a'), (2, 'b')"]],
    ['INSERT INTO TABLE FUNCTION', ['INSERT INTO TABLE FUNCTION', '', 'Values', '']],
    ['/* FORMAT X */ INSERT -- FORMAT Z\n INTO t (a)', ['/* FORMAT X */ INSERT -- FORMAT Z\n INTO t (a)', '', 'Values', '']],
    ['INSERT INTO format FORMAT TSV\n1', ['INSERT INTO format ', '', 'TSV', '1']],
    ['INSERT INTO {t:Identifier} (a) FORMAT TSV\n1', ['INSERT INTO {t:Identifier} (a) ', '', 'TSV', '1']],
    ["INSERT INTO FUNCTION remote('h', db.t) (a) VALUES (1)", ["INSERT INTO FUNCTION remote('h', db.t) (a) ", '', 'Values', ' (1)']],
    ['INSERT INTO t (* EXCEPT(select)) FORMAT TSV\n1', ['INSERT INTO t (* EXCEPT(select)) ', '', 'TSV', '1']],
  ])('of %j is found', (text, parts) => {
    expect(split(text)).toEqual(parts);
  });

  it.each([
    'SELECT 1 FORMAT CSV',
    'INSERT INTO t SELECT 1',
    'INSERT INTO t (a) WITH 1 AS x SELECT x',
    'INSERT INTO t (SELECT 1)',
    'INSERT INTO t FROM u SELECT a',
    '',
  ])('is not there in %j', (text) => {
    expect(readInsert(text)).toBeUndefined();
  });

  it('refuses what would read files of the server, or lose rows without a word', () => {
    expect(() => readInsert("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV")).toThrow('FROM INFILE is not allowed');
    expect(() => readInsert("INSERT INTO t SELECT a FROM input('a UInt8') FORMAT CSV 1")).toThrow('input() is not served');
  });

  it('takes its rows from a file instead', () => {
    const text = 'INSERT INTO t (a) SETTINGS x=1 FORMAT CSV\n1';
    expect(insertFromFile(text, readInsert(text)!, "/tmp/it's")).toBe(
      "INSERT INTO t (a)  FROM INFILE '/tmp/it\\'s' COMPRESSION 'none' SETTINGS x=1  FORMAT CSV",
    );
  });
});

describe('the format of a result', () => {
  it.each([
    ['SELECT 1 FORMAT JSON', 'JSON'],
    ['SELECT 1 FORMAT CSVWithNames;', 'CSVWithNames'],
    ['SELECT 1 format Parquet SETTINGS a=1', 'Parquet'],
    ['SELECT 1\n\n FORMAT Native', 'Native'],
    ['SELECT 1', undefined],
    ["SELECT 'x FORMAT JSON'", undefined],
    ['SELECT 1 AS format FROM t', undefined],
    ['SELECT format SETTINGS a=1', undefined],
    ['SELECT * FROM (SELECT 1 AS x) -- FORMAT JSON', undefined],
    ['', undefined],
  ])('of %j is %j', (text, format) => {
    expect(outputFormat(text)).toBe(format);
  });
});

it('quotes a literal so that nothing gets out of it', () => {
  expect(literal("a\\'b")).toBe("'a\\\\\\'b'");
});
