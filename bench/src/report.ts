import { cpus, totalmem } from 'node:os';

export interface Row {
  readonly label: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  /** Against the floor of the same run; null where there is none. */
  readonly ratio: number | null;
}
export interface Table {
  readonly name: string;
  readonly rows: readonly Row[];
}
export interface Report {
  readonly machine: { readonly cores: number; readonly memoryGiB: number; readonly node: string };
  readonly tables: readonly Table[];
}

export const report = (tables: readonly Table[]): Report => ({
  machine: { cores: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), node: process.version },
  tables,
});

/** A table as text, one line a row. */
export function toText({ name, rows }: Table): string {
  const lines = rows.map(({ label, metric, value, unit, ratio }) => [
    label,
    metric,
    `${format(value)} ${unit}`,
    ratio === null ? '' : `${ratio.toFixed(2)} x floor`,
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...lines.map((line) => line[column]!.length)));
  const text = lines.map(([label, metric, value, ratio]) =>
    `  ${label!.padEnd(widths[0]!)}  ${metric!.padEnd(widths[1]!)}  ${value!.padStart(widths[2]!)}  ${ratio!}`.trimEnd(),
  );
  return [name, ...text].join('\n');
}

const format = (value: number): string => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(2));

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}
