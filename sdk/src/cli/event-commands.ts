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
interface Page {
  readonly items: readonly Event[];
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
}

const pageMost = 500;

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
  if (options.follow === true) {
    const query = { from, type, aggregateType, aggregateId, correlationId: correlation };
    for await (const { event, data } of api.follow('/events', query)) if (event === 'event') print(screen, data as Event);
    return;
  }
  const searched = [type, from, to, correlation, contains, where].some((each) => each !== undefined);
  const found =
    aggregateType !== undefined && aggregateId !== undefined && !searched
      ? await pages(api, `/aggregates/${encodeURIComponent(aggregateType)}/${encodeURIComponent(aggregateId)}/events`, {}, limit)
      : await pages(
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

async function pages(api: PlatformApi, path: string, query: Query, most: number): Promise<readonly Event[]> {
  const found: Event[] = [];
  let cursor: string | undefined;
  do {
    const page: Page = await api.get<Page>(path, { ...query, limit: String(Math.min(pageMost, most - found.length)), cursor });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined && found.length < most);
  return found;
}
