import { SpoolError } from '@spool/schemas';
import type { PlatformApi } from './platform-api.js';
import { json, jsonLine, plain, table, type Screen } from './printing.js';

interface Event {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly at: string;
  readonly aggregateType?: string;
  readonly aggregateId?: string;
  readonly payload: unknown;
}
/** A message with what it did to the state of its aggregate; of a flow also commands, and then `event` says which version an event is. */
interface Step extends Omit<Event, 'type' | 'version'> {
  readonly type: string | null;
  readonly version?: number;
  readonly component?: string | null;
  readonly event?: { readonly aggregateType: string; readonly version: number } | null;
  readonly changes: readonly { readonly op: string; readonly path: string; readonly before?: unknown; readonly after?: unknown }[];
}

export interface EventOptions {
  readonly id?: string;
  readonly type?: readonly string[];
  readonly from?: string;
  readonly to?: string;
  readonly limit?: string;
  readonly follow?: true;
  readonly steps?: true;
  readonly correlation?: string;
  readonly contains?: string;
  readonly where?: readonly string[];
}

const mostByDefault = 50;

/** The events of one aggregate; those that a search finds; what each has changed; or, followed, those that come. */
export async function showEvents(
  api: PlatformApi,
  screen: Screen,
  [aggregateType, aggregateId]: readonly [string | undefined, string | undefined],
  options: EventOptions,
): Promise<void> {
  const { id, type, from, to, correlation, contains, where } = options;
  const limit = options.limit === undefined ? undefined : Number(options.limit);
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 1))
    throw new SpoolError('INVALID_REQUEST', `--limit ${options.limit}: expected a whole number above 0`);
  const most = limit ?? mostByDefault;
  if (options.follow === true) {
    refuse('--follow', { id, to, contains, where, steps: options.steps });
    return follow(api, screen, { from, type, aggregateType, aggregateId, correlationId: correlation }, limit ?? Infinity);
  }
  const history =
    aggregateType === undefined || aggregateId === undefined
      ? undefined
      : `/aggregates/${encodeURIComponent(aggregateType)}/${encodeURIComponent(aggregateId)}`;
  const filters = { id, type, to, contains, where };
  if (options.steps === true) {
    const flow = correlation === undefined ? undefined : `/correlations/${encodeURIComponent(correlation)}`;
    if ((history === undefined) === (flow === undefined))
      throw new SpoolError('INVALID_REQUEST', '--steps goes through one aggregate, by type and id, or with --correlation through one flow');
    refuse('--steps', flow === undefined ? filters : { from, ...filters });
    const steps = await api.pages<Step>(`${history ?? flow}/steps`, { from }, most);
    showSteps(screen, steps, `${aggregateType}/${aggregateId}`);
    return;
  }
  const isSearch = history === undefined || Object.values({ ...filters, from, correlation }).some((each) => each !== undefined);
  const search = { aggregateType, aggregateId, eventId: id, correlationId: correlation, type, from, to, contains, where };
  const found = await (isSearch ? api.pages<Event>('/events/search', search, most) : api.pages<Event>(`${history}/events`, {}, most));
  const rows = found.map((each) => [
    ...[each.at, each.aggregateId === undefined ? `${aggregateType}/${aggregateId}` : `${each.aggregateType}/${each.aggregateId}`],
    ...[each.version, each.type, JSON.stringify(each.payload)],
  ]);
  screen.out(screen.json ? json(found) : table(['at', 'aggregate', 'version', 'type', 'payload'], rows));
}

async function follow(api: PlatformApi, screen: Screen, query: Parameters<PlatformApi['follow']>[1], most: number): Promise<void> {
  let left = most;
  for await (const { event, data } of api.follow('/events', query)) {
    if (event !== 'event') continue;
    const { at, aggregateType, aggregateId, version, type, payload } = data as Event;
    const line = `${at}  ${aggregateType}/${aggregateId} ${version}  ${type}  ${JSON.stringify(payload)}`;
    screen.out(screen.json ? jsonLine(data) : `${plain(line)}\n`);
    if (--left === 0) return;
  }
}

/** Each message, and under it what it changed. */
function showSteps(screen: Screen, steps: readonly Step[], aggregate: string): void {
  if (screen.json) return screen.out(json(steps));
  for (const { at, type, id, version, event, component, aggregateId, changes } of steps) {
    const whose = version === undefined ? `${event?.aggregateType ?? component}/${aggregateId}` : aggregate;
    screen.out(`${plain(`${at}  ${whose} ${version ?? event?.version ?? '-'}  ${type ?? id}`)}\n`);
    for (const { op, path, before, after } of changes) {
      const [was, is] = [before, after].map((value) => JSON.stringify(value));
      screen.out(`    ${plain(`${path}  ${op === 'add' ? `+ ${is}` : op === 'remove' ? `- ${was}` : `${was} -> ${is}`}`)}\n`);
    }
  }
}

/** @throws SpoolError INVALID_REQUEST if one of the options is given, which would go unheard */
function refuse(by: string, options: object): void {
  const given = Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`]));
  if (given.length > 0) throw new SpoolError('INVALID_REQUEST', `${by} does not go with ${given.join(', ')}`);
}
