import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** A row of `flights-20k.json` in npm's vega-datasets: flights in the United States, January to March 2001. */
export interface TimetableRow {
  /** Such as `2001/01/01 00:47`, ascending over the file. */
  readonly date: string;
  /** Minutes at the destination; negative when it was early. */
  readonly delay: number;
  /** Miles. */
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

let rows: readonly TimetableRow[] | undefined;

/** All 20,000 flights, read once. */
export const timetable = (): readonly TimetableRow[] => (rows ??= read());

/** The package exports its code alone; the data lies beside it. */
function read(): readonly TimetableRow[] {
  const require = createRequire(import.meta.url);
  const data = new URL('../data/flights-20k.json', pathToFileURL(require.resolve('vega-datasets')));
  return JSON.parse(readFileSync(data, 'utf8')) as readonly TimetableRow[];
}

/** `<yyyymmddHHMM>-<origin>-<destination>-<row>`: unique, since the row is. */
export const flightId = ({ date, origin, destination }: TimetableRow, row: number): string =>
  `${date.replace(/\D/g, '')}-${origin}-${destination}-${row}`;

/** Milliseconds since the epoch. The file names no time zone: its times are taken as UTC. */
export const scheduledAt = ({ date }: TimetableRow): number => Date.parse(`${date.replaceAll('/', '-').replace(' ', 'T')}Z`);
