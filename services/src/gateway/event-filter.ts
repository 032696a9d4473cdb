import { SpoolError } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { z } from 'zod';
import type { TailFilter } from '../event-store/index.js';
import { aggregateId, messageType } from './messages.js';

/** A parameter that may come several times. */
export const several = <T extends z.ZodType<string>>(item: T, most = 50) =>
  z.union([item.transform((one) => [one]), z.array(item).min(1).max(most)]).optional();
const anyOf = 'May come several times: any of them';
const id = z.string().min(1).max(500);

/** Which events are wanted; all of what is named must fit. */
export const eventFilter = {
  topic: several(z.string().min(1).max(249)).describe(`Such as evt.Account. ${anyOf}`),
  type: several(messageType).describe(anyOf),
  aggregateType: several(messageType).describe(anyOf),
  aggregateId: aggregateId.optional(),
  correlationId: id.optional(),
  context: id.optional(),
  routing: id
    .optional()
    .describe(
      'Routed events that fit this pattern, instead of those of aggregates: words, * for one, # for any number, such as shop.exception.#',
    ),
  emitter: id.optional().describe('Routed events of those who fit this pattern: host.kind.id, such as *.gateway.*'),
};
type EventFilter = z.output<z.ZodObject<typeof eventFilter>>;

/** Where a tail begins. */
export const tailFrom = z
  .string()
  .max(100_000)
  .default('now')
  .transform((text) => {
    if (text === 'now' || text === 'earliest') return text;
    return /^\d{4}-\d\d-\d\dT/.test(text) && Number.isFinite(Date.parse(text)) ? { at: Date.parse(text) } : { position: text };
  });

/** @throws SpoolError INVALID_REQUEST for a topic that holds no events, or parameters that cannot both fit */
export function tailFilter({ routing, emitter, ...filter }: EventFilter, topics: TopicCatalogue): TailFilter {
  if (routing === undefined && emitter === undefined) return aggregateFilter(filter, topics);
  const { correlationId, ...others } = filter;
  const odd = Object.entries(others).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (odd.length > 0)
    throw new SpoolError('INVALID_REQUEST', `routed events have no ${odd.join(', ')}: routing and emitter go with correlationId alone`);
  return { correlationId, routed: { routing: routing ?? '#', ...(emitter === undefined ? {} : { emitter }) } };
}

function aggregateFilter(
  { topic, type, aggregateType, ...rest }: Omit<EventFilter, 'routing' | 'emitter'>,
  topics: TopicCatalogue,
): TailFilter {
  const prefix = topics.events('').name;
  const named = topic?.map((name) => {
    if (name.startsWith(prefix)) return name.slice(prefix.length);
    throw new SpoolError('INVALID_REQUEST', `${name} is no topic of events: they begin with ${prefix}`);
  });
  const aggregateTypes = named === undefined ? aggregateType : named.filter((name) => aggregateType?.includes(name) ?? true);
  if (aggregateTypes?.length === 0)
    throw new SpoolError('INVALID_REQUEST', 'no topic that is named holds the events of an aggregateType that is named');
  return { ...rest, types: type, aggregateTypes };
}
