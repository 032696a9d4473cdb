/** An error as ClickHouse reports it: number, symbolic name and text. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    readonly code: number,
    readonly type: string,
    message: string,
    /** HTTP status. @default the one that ClickHouse has for the code */
    readonly status: number = statusOf(code),
  ) {
    super(message);
  }

  /** The body of the answer, which clients parse. */
  toText(version: string): string {
    return `Code: ${this.code}. DB::Exception: ${this.message} (${this.type}) (version ${version})\n`;
  }
}

const prefix = /^(?:Code: (\d+)\. DB::Exception: )+/;
const suffix = /(?:\s*\(version [^)]*\)\.?)?\s*\(([A-Z][A-Z0-9_]*)\)\s*$/;

/** Reads the engine's message: it nests (`Code: 73. DB::Exception: Code: 73. …`, a suffix for each level) and names our upload files. */
export function toEngineError(thrown: unknown): EngineError {
  if (thrown instanceof EngineError) return thrown;
  const raw = thrown instanceof Error ? thrown.message : String(thrown);
  const start = prefix.exec(raw);
  if (start === null) return new EngineError(1002, 'UNKNOWN_EXCEPTION', raw);
  let text = raw.slice(start[0].length);
  let type = 'UNKNOWN_EXCEPTION';
  for (let end = suffix.exec(text); end !== null; end = suffix.exec(text)) {
    type = end[1]!;
    text = text.slice(0, end.index);
  }
  return new EngineError(Number(start[1]), type, text.replace(/\(in file\/uri [^)]*\): /g, ''));
}

/** ClickHouse's mapping; whatever is not listed is 500. Code 202 is 500 there, but clients retry on 503 alone. */
const codesByStatus: readonly (readonly [status: number, codes: readonly number[]])[] = [
  [400, [6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676]],
  [401, [194]],
  [403, [192, 193, 497, 512, 516]],
  [404, [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511]],
  [408, [159]],
  [411, [381]],
  [413, [229]],
  [415, [779]],
  [501, [48]],
  [503, [76, 202, 209, 439]],
];

function statusOf(code: number): number {
  return codesByStatus.find(([, codes]) => codes.includes(code))?.[0] ?? 500;
}
