import { SpoolError } from '@spool/schemas';
import type { RegisteredComponent } from '@spool/sdk';
import { offset, type Instance, type Offset, type RecordPosition } from '@spool/streams';
import { startsOf, type Place } from '../consumers/index.js';
import type { EventStore } from '../event-store/index.js';
import type { EventQueries } from '../telemetry/index.js';
import type { ReplayRequest } from './requests.js';

/** Where events are found. */
export interface EventPlaces {
  readonly eventStore: Pick<EventStore, 'events'>;
  readonly events: Pick<EventQueries, 'search'>;
}
/** Of a service that keeps no index of events: no replay begins with one. */
export const noEvents: EventPlaces = { eventStore: { events: () => Promise.resolve([]) }, events: { search: () => Promise.resolve([]) } };
/** Where a partition of a replay begins, and which of its records is new again. */
export interface Planned extends Omit<RecordPosition, 'offset'> {
  readonly start: Offset;
  readonly target: Offset;
}
type AtEvent = Exclude<ReplayRequest['from'], Place>;

const lookUpMs = 10_000;

/**
 * Where each partition begins and ends. The end is fixed now: a record that comes later is new, whatever the replay does.
 * @throws SpoolError OFFSET_OUT_OF_RANGE; UNKNOWN_AGGREGATE, NOT_FOUND, INVALID_REQUEST for an event to begin with that is not there, or not read
 */
export async function planOf(
  { kafka, topics, now }: Instance,
  places: EventPlaces,
  { name, sources = [] }: RegisteredComponent,
  { from }: ReplayRequest,
): Promise<readonly Planned[]> {
  const event = isPlace(from) ? undefined : await find(places, (type) => topics.events(type).name, from, now() + lookUpMs);
  if (event !== undefined && !sources.includes(event.topic)) throw refused('INVALID_REQUEST', `${name} does not read ${event.topic}`);
  const plan: Planned[] = [];
  for (const topic of sources) {
    const ends = await kafka.admin.offsets(topic);
    const starting = (place: Place): Promise<ReadonlyMap<number, Offset>> => startsOf(kafka, topic, place, ends, '/from');
    const starts = new Map(await starting(isPlace(from) ? from : { timestamp: new Date(event!.at).toISOString() }));
    if (topic === event?.topic)
      for (const [partition, at] of await starting({ offsets: { [event.partition]: String(event.offset) } })) starts.set(partition, at);
    for (const { partition, latest } of ends) plan.push({ topic, partition, start: starts.get(partition) ?? latest, target: latest });
  }
  return plan;
}

const isPlace = (from: ReplayRequest['from']): from is Place & ReplayRequest['from'] =>
  typeof from === 'string' || 'timestamp' in from || 'offsets' in from;

async function find(
  { eventStore, events }: EventPlaces,
  topicOf: (aggregateType: string) => string,
  from: AtEvent,
  deadline: number,
): Promise<RecordPosition & { readonly at: number }> {
  if ('eventId' in from) {
    const [found] = await events.search({ eventId: from.eventId, newestFirst: false, limit: 1 });
    if (found === undefined) throw refused('NOT_FOUND', `no event ${from.eventId} is known to the search`);
    return { topic: found.topic, partition: found.partition, offset: offset(found.offset), at: found.at };
  }
  const { type, id } = from.aggregate;
  const [found] = await eventStore.events({ aggregateType: type, aggregateId: id, from: from.version, limit: 1, deadline });
  if (found?.version !== from.version) throw refused('NOT_FOUND', `${type} ${id} has no event of version ${from.version}`);
  return { topic: topicOf(type), partition: found.partition, offset: offset(found.offset), at: found.at };
}

const refused = (code: 'NOT_FOUND' | 'INVALID_REQUEST', message: string): SpoolError =>
  new SpoolError(code, message, { violations: [{ pointer: '/from', message }] });
