/** Where a command prints. */
export interface Screen {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** How wide the terminal is on which a person looks at stderr; undefined: there is none. */
  readonly columns: number | undefined;
  readonly json: boolean;
}

/** Rows under their headings, in columns as wide as they have to be; numbers on the right. */
export function table(headings: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [headings, ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? cell.toLocaleString('en') : plain(cell))))];
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

/** Back to the start of the line, which is written anew; what is too wide for one line is cut. */
export const again = (text: string, columns: number): string => `\r\x1b[K${text.slice(0, columns - 1)}`;

/** A text of the platform, on one line: what others have written must not steer the terminal. */
export const plain = (text: string): string => text.replace(/\p{Cc}+/gu, ' ');

export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
export const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`;
