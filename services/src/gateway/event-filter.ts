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

/** @throws SpoolError INVALID_REQUEST for a topic that holds no events */
export function tailFilter({ topic, type, aggregateType, ...rest }: EventFilter, topics: TopicCatalogue): TailFilter {
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
