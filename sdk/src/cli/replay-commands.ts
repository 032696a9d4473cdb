import { SpoolError } from '@spool/schemas';
import type { PlatformApi } from './platform-api.js';
import { again, bar, json, jsonLine, plain, table, type Screen } from './printing.js';

/** What is printed of a replay; with `--json` all that the platform says is. */
interface Replay {
  readonly id: string;
  readonly target: string;
  readonly mode: string;
  readonly state: string;
  readonly progress: number;
  readonly records: number;
  readonly skipped: number;
  readonly recordsPerSecond: number;
  readonly secondsLeft: number | null;
  readonly createdAt: string;
  readonly actor: string;
  readonly reason: string;
  readonly error: string | null;
  readonly partitions: readonly { topic: string; partition: number; start: string; current: string; target: string }[];
  readonly instances: readonly { instance: string; state: string; records: number; error: string | null }[];
  readonly preview?: {
    exact: boolean;
    records: number;
    types: readonly { type: string; records: number }[];
    seconds: number | null;
  };
}
interface Report {
  readonly equal: boolean;
  readonly tables: readonly { table: string; rows: number; copyRows: number; added: number; removed: number; changed: number }[];
  readonly samples: readonly { table: string; key: string; live: unknown; copy: unknown }[];
}

export interface ReplayOptions {
  readonly with?: string;
  readonly mode: string;
  readonly from: string;
  readonly to?: string;
  readonly types?: string;
  readonly skipTypes?: string;
  readonly keys?: string;
  readonly skipKeys?: string;
  readonly rate?: string;
  readonly reset?: true;
  readonly dryRun?: true;
  readonly reason: string;
  readonly wait?: true;
}

/** Orders a replay, and waits for it where that is wanted. @returns whether what was waited for has come right */
export async function startReplay(api: PlatformApi, screen: Screen, target: string, options: ReplayOptions): Promise<boolean> {
  const { mode, reason, rate, types, skipTypes, keys, skipKeys, to } = options;
  const body = {
    target,
    mode,
    reason,
    from: placeOf('--from', options.from),
    ...(options.with === undefined ? {} : { with: listOf(options.with) }),
    ...(to === undefined ? {} : { to: placeOf('--to', to) }),
    ...choiceOf('eventTypes', types, skipTypes),
    ...choiceOf('keys', keys, skipKeys),
    ...(rate === undefined ? {} : { rate: numberOf('--rate', rate) }),
    ...(options.reset === true ? { resetState: true } : {}),
    ...(options.dryRun === true ? { dryRun: true } : {}),
  };
  const replay = await api.post<Replay>('/replays', body);
  if (options.dryRun !== true && options.wait === true) return waitFor(api, screen, replay.id);
  show(screen, replay);
  return true;
}

/** A shadow that is ready waits for its promote. */
const settled: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'ready', 'rolledBack']);

/** Shows how far it is until it has come to something. @returns as `startReplay` does */
export async function waitFor(api: PlatformApi, screen: Screen, id: string): Promise<boolean> {
  let last: Replay | undefined;
  for await (const { event, data } of api.follow(`/replays/${encodeURIComponent(id)}/events`)) {
    if (event !== 'replay') continue;
    last = data as Replay;
    if (screen.json) screen.out(jsonLine(last));
    else if (screen.columns !== undefined) screen.err(again(`${bar(last.progress)}  ${paceOf(last)}`, screen.columns));
    if (settled.has(last.state)) break;
  }
  if (!screen.json && screen.columns !== undefined) screen.err(again('', screen.columns));
  if (last === undefined || !settled.has(last.state)) {
    screen.err(`replay ${id} goes on: spool replays ${id} --wait\n`);
    return false;
  }
  if (!screen.json) show(screen, last);
  return last.state !== 'failed' && last.state !== 'cancelled';
}

const paceOf = ({ state, records, recordsPerSecond, secondsLeft }: Replay): string => {
  const left = secondsLeft === null ? '' : `, ${secondsLeft} s left`;
  return `${state}, ${records.toLocaleString('en')} records, ${recordsPerSecond.toLocaleString('en')} per second${left}`;
};

export function showReplays(screen: Screen, items: readonly Replay[]): void {
  if (screen.json) return screen.out(json(items));
  screen.out(
    table(
      ['id', 'target', 'mode', 'state', 'progress', 'records', 'ordered', 'by', 'reason'],
      items.map((each) => [
        ...[each.id, each.target, each.mode, each.state, `${Math.floor(each.progress * 100)} %`, each.records],
        ...[each.createdAt, each.actor, each.reason],
      ]),
    ),
  );
}

export function show(screen: Screen, replay: Replay): void {
  if (screen.json) return screen.out(json(replay));
  const { out } = screen;
  out(`${replay.id}  ${replay.mode} of ${replay.target}: ${paceOf(replay)}\n`);
  if (replay.error !== null) out(`error: ${plain(replay.error)}\n`);
  out(
    `\n${table(
      ['partition', 'start', 'now', 'end'],
      replay.partitions.map((at) => [`${at.topic}-${at.partition}`, Number(at.start), Number(at.current), Number(at.target)]),
    )}`,
  );
  if (replay.instances.length > 0)
    out(
      `\n${table(
        ['instance', 'state', 'records', 'error'],
        replay.instances.map((at) => [at.instance, at.state, at.records, at.error ?? '']),
      )}`,
    );
  if (replay.preview === undefined) return;
  const { exact, records, types, seconds } = replay.preview;
  out(
    `\n${exact ? '' : 'about '}${records.toLocaleString('en')} records, ${seconds === null ? 'nobody knows how long' : `about ${seconds} s`}\n`,
  );
  out(
    `\n${table(
      ['type', 'records'],
      types.map((each) => [each.type === '' ? '(none)' : each.type, each.records]),
    )}`,
  );
}

function showReport(screen: Screen, report: Report): void {
  if (screen.json) return screen.out(json(report));
  screen.out(`${report.equal ? 'the copy is equal' : 'the copy differs'}\n\n`);
  screen.out(
    table(
      ['table', 'rows', 'in the copy', 'added', 'removed', 'changed'],
      report.tables.map((each) => [each.table, each.rows, each.copyRows, each.added, each.removed, each.changed]),
    ),
  );
  if (report.samples.length === 0) return;
  const text = (row: unknown): string => (row === null ? '-' : JSON.stringify(row));
  screen.out(
    `\n${table(
      ['table', 'key', 'live', 'copy'],
      report.samples.map((each) => [each.table, each.key, text(each.live), text(each.copy)]),
    )}`,
  );
}

/** The orders that a replay takes as `spool replays <id> <order>`. */
const replayOrders = ['pause', 'resume', 'cancel', 'promote', 'rollback', 'drop', 'throttle'] as const;

/** @param quiet when what comes of it is shown by `waitFor` */
export async function orderReplay(
  api: PlatformApi,
  screen: Screen,
  id: string,
  order: string,
  value: string | undefined,
  quiet: boolean,
): Promise<void> {
  const path = `/replays/${encodeURIComponent(id)}`;
  if (order === 'report') {
    showReport(screen, await api.get<Report>(`${path}/report`));
    return;
  }
  if (order === 'differences') {
    for await (const line of api.lines(`${path}/differences`)) screen.out(`${line}\n`);
    return;
  }
  if (!(replayOrders as readonly string[]).includes(order))
    throw new SpoolError('INVALID_REQUEST', `${order}: expected report, differences or one of ${replayOrders.join(', ')}`);
  const replay = await api.post<Replay>(`${path}/${order}`, order === 'throttle' ? { recordsPerSecond: limitOf(order, value) } : {});
  if (!quiet) show(screen, replay);
}

/** `earliest`, a time, or JSON as the API takes it. */
export function placeOf(option: string, text: string): unknown {
  if (text === 'earliest' || text === 'latest') return text;
  if (/^\d{4}-\d\d-\d\dT/.test(text)) return { timestamp: text };
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SpoolError('INVALID_REQUEST', `${option} ${text}: expected earliest, a time such as 2026-01-31T12:00:00Z, or JSON`, {
      cause,
    });
  }
}
export function numberOf(option: string, text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw new SpoolError('INVALID_REQUEST', `${option} ${text}: expected a number above 0`);
}
/** `none` lifts a limit. */
export const limitOf = (order: string, text = ''): number | null => (text === 'none' ? null : numberOf(order, text));
const listOf = (text: string): string[] => text.split(',').map((each) => each.trim());
function choiceOf(name: 'eventTypes' | 'keys', include: string | undefined, skip: string | undefined): object {
  if (include !== undefined) return { [name]: { include: listOf(include) } };
  return skip === undefined ? {} : { [name]: { skip: listOf(skip) } };
}
