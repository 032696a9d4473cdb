import { SpoolError } from '@spool/schemas';
import type { PlatformApi, Query } from './platform-api.js';
import { json, jsonLine, table, type Screen } from './printing.js';

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
interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextCursor?: string;
}

export interface EventOptions {
  readonly type?: readonly string[];
  readonly from?: string;
  readonly to?: string;
  readonly limit: string;
  readonly follow?: true;
  readonly correlation?: string;
  readonly contains?: string;
  readonly where?: readonly string[];
  readonly steps?: true;
}

const flowPageMost = 200;

/** The events of one aggregate; those that a search finds; or, followed, those that come. */
export async function showEvents(
  api: PlatformApi,
  screen: Screen,
  [aggregateType, aggregateId]: readonly [string | undefined, string | undefined],
  options: EventOptions,
): Promise<void> {
  const { type, from, to, correlation, contains, where } = options;
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new SpoolError('INVALID_REQUEST', `--limit ${options.limit}: expected a whole number above 0`);
  if (options.steps === true) {
    const flow = aggregateType === undefined && correlation !== undefined;
    const others = [type, to, contains, where, options.follow, flow ? from : correlation];
    if ((!flow && aggregateId === undefined) || others.some((each) => each !== undefined)) {
      const message =
        '--steps goes through one aggregate, --from one of its versions, or with --correlation through one flow, and takes nothing else';
      throw new SpoolError('INVALID_REQUEST', message);
    }
    const path = flow ? `/correlations/${encodeURIComponent(correlation)}/steps` : `${pathOf(aggregateType!, aggregateId!)}/steps`;
    showSteps(screen, await pages<Step>(api, path, { from }, limit, flow ? flowPageMost : undefined), `${aggregateType}/${aggregateId}`);
    return;
  }
  if (options.follow === true) {
    const query = { from, type, aggregateType, aggregateId, correlationId: correlation };
    for await (const { event, data } of api.follow('/events', query)) if (event === 'event') print(screen, data as Event);
    return;
  }
  const searched = [type, from, to, correlation, contains, where].some((each) => each !== undefined);
  const found =
    aggregateType !== undefined && aggregateId !== undefined && !searched
      ? await pages<Event>(api, `${pathOf(aggregateType, aggregateId)}/events`, {}, limit)
      : await pages<Event>(
          api,
          '/events/search',
          { type, aggregateType, aggregateId, from, to, correlationId: correlation, contains, where },
          limit,
        );
  const rows = found.map((each) => [
    ...[each.at, each.aggregateId === undefined ? `${aggregateType}/${aggregateId}` : `${each.aggregateType}/${each.aggregateId}`],
    ...[each.version, each.type, JSON.stringify(each.payload)],
  ]);
  screen.out(screen.json ? json(found) : table(['at', 'aggregate', 'version', 'type', 'payload'], rows));
}

function print(screen: Screen, event: Event): void {
  if (screen.json) return screen.out(jsonLine(event));
  screen.out(
    `${event.at}  ${event.aggregateType}/${event.aggregateId} ${event.version}  ${event.type}  ${JSON.stringify(event.payload)}\n`,
  );
}

const pathOf = (type: string, id: string): string => `/aggregates/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;

/** Each message, and under it what it changed. */
function showSteps(screen: Screen, steps: readonly Step[], aggregate: string): void {
  if (screen.json) return screen.out(json(steps));
  for (const { at, type, id, version, event, component, aggregateId, changes } of steps) {
    const whose = version === undefined ? `${event?.aggregateType ?? component}/${aggregateId}` : aggregate;
    screen.out(`${at}  ${whose} ${version ?? event?.version ?? '-'}  ${type ?? id}\n`);
    for (const { op, path, before, after } of changes) {
      const [was, is] = [before, after].map((value) => JSON.stringify(value));
      screen.out(`    ${path}  ${op === 'add' ? `+ ${is}` : op === 'remove' ? `- ${was}` : `${was} -> ${is}`}\n`);
    }
  }
}

async function pages<Item>(api: PlatformApi, path: string, query: Query, most: number, pageMost = 500): Promise<readonly Item[]> {
  const found: Item[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<Item> = await api.get<Page<Item>>(path, { ...query, limit: String(Math.min(pageMost, most - found.length)), cursor });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined && found.length < most);
  return found;
}
