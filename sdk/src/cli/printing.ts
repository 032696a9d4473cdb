/** Where a command prints. */
export interface Screen {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether a person is looking at stderr. */
  readonly isTerminal: boolean;
  readonly json: boolean;
}

/** Rows under their headings, in columns as wide as they have to be; numbers on the right. */
export function table(headings: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [headings, ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? cell.toLocaleString('en') : cell)))];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const isNumber = headings.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (isNumber[column] === true ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  return `${cells.map(line).join('\n')}\n`;
}

const barWidth = 30;
/** @param progress from 0 to 1 */
export function bar(progress: number): string {
  const done = Math.round(barWidth * Math.min(1, Math.max(0, progress)));
  return `[${'#'.repeat(done)}${'.'.repeat(barWidth - done)}] ${String(Math.floor(progress * 100)).padStart(3)} %`;
}

/** Back to the start of the line, which is written anew. */
export const again = (text: string): string => `\r\x1b[K${text}`;

export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
export const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`;
