import { EngineError, toEngineError } from './engine-error.js';

describe('the error of the engine', () => {
  it('is read from its message', () => {
    const error = toEngineError(new Error('Code: 60. DB::Exception: Table default.nope does not exist. (UNKNOWN_TABLE)'));
    expect(error).toMatchObject({ code: 60, type: 'UNKNOWN_TABLE', message: 'Table default.nope does not exist.', status: 404 });
    expect(error.toText('26.7')).toBe('Code: 60. DB::Exception: Table default.nope does not exist. (UNKNOWN_TABLE) (version 26.7)\n');
  });

  it('is unwrapped where the engine nests it, and names no file of ours', () => {
    const nested =
      "Code: 27. DB::Exception: Code: 27. DB::Exception: Cannot parse input: expected '\"': (at row 2)\n" +
      ': (in file/uri /data/uploads/x): While executing File. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.7.2.1). (CANNOT_PARSE_INPUT_ASSERTION_FAILED)';
    expect(toEngineError(new Error(nested))).toMatchObject({
      code: 27,
      type: 'CANNOT_PARSE_INPUT_ASSERTION_FAILED',
      message: "Cannot parse input: expected '\"': (at row 2)\n: While executing File.",
      status: 400,
    });
  });

  it('keeps a closing bracket that is not its symbolic name', () => {
    const error = toEngineError(new Error('Code: 43. DB::Exception: Bad types (UInt8, String). (ILLEGAL_TYPE_OF_ARGUMENT)'));
    expect(error.message).toBe('Bad types (UInt8, String).');
  });

  it('gives 500 for codes that ClickHouse does not map, and for what is not an engine error at all', () => {
    expect(new EngineError(164, 'READONLY', 'x').status).toBe(500);
    expect(toEngineError('odd')).toMatchObject({ code: 1002, type: 'UNKNOWN_EXCEPTION', message: 'odd', status: 500 });
  });
});
