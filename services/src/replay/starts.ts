import { SpoolError } from '@spool/schemas';
import type { RegisteredComponent } from '@spool/sdk';
import {
  offset,
  partitionKey,
  type Instance,
  type Offset,
  type PartitionOffsets,
  type RecordPosition,
  type ReplayFilter,
} from '@spool/streams';
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
/** What is replayed: a component, or a consumer of the platform itself. */
export interface Target extends Pick<RegisteredComponent, 'name' | 'bundle' | 'consumer' | 'readModel' | 'replayable' | 'copyable'> {
  readonly kind: RegisteredComponent['kind'] | 'sink';
  readonly sources?: readonly string[] | undefined;
  /** Why its rows are neither emptied nor passed over: what a rewind of it does instead. */
  readonly restores?: string;
}
/** Where a partition of a replay begins, and which of its records is new again. */
export interface Planned extends Omit<RecordPosition, 'offset'> {
  readonly start: Offset;
  readonly target: Offset;
}
type Wanted = ReplayRequest['from'];
type AtEvent = Exclude<Wanted, Place>;
/** First offsets by partition. */
type Located = (topic: string, ends: readonly PartitionOffsets[]) => Promise<ReadonlyMap<number, Offset>>;

const lookUpMs = 10_000;

export interface Plan {
  readonly partitions: readonly Planned[];
  /** Which of the records are handled again; undefined: all. */
  readonly filter: ReplayFilter | undefined;
}

/** Earliest and last stable offsets of a topic; those who are replayed together are given the same. */
export type EndsOf = (topic: string) => Promise<readonly PartitionOffsets[]>;
/** Each topic is asked for once. */
export function endsAtOnce({ admin }: Pick<Instance['kafka'], 'admin'>): EndsOf {
  const asked = new Map<string, Promise<readonly PartitionOffsets[]>>();
  return (topic) => {
    const ends = asked.get(topic) ?? admin.offsets(topic);
    asked.set(topic, ends);
    return ends;
  };
}

/**
 * Where each partition begins and ends, and what is passed over. The end is fixed now: a record that comes later is new, whatever the replay does.
 * @throws SpoolError OFFSET_OUT_OF_RANGE; UNKNOWN_AGGREGATE, NOT_FOUND, INVALID_REQUEST for an event to begin with that is not there, or not read
 */
export async function planOf(
  { kafka, topics, now }: Instance,
  places: EventPlaces,
  { name, sources = [] }: Target,
  { from, to, eventTypes, keys }: ReplayRequest,
  endsOf: EndsOf,
): Promise<Plan> {
  const located = async (at: Wanted, pointer: string): Promise<Located> => {
    const event = isPlace(at) ? undefined : await find(places, (type) => topics.events(type).name, at, now() + lookUpMs, pointer);
    if (event !== undefined && !sources.includes(event.topic))
      throw refused('INVALID_REQUEST', `${name} does not read ${event.topic}`, pointer);
    return async (topic, ends) => {
      const starting = (place: Place): Promise<ReadonlyMap<number, Offset>> => startsOf(kafka, topic, place, ends, pointer);
      const starts = new Map(await starting(isPlace(at) ? at : { timestamp: new Date(event!.at).toISOString() }));
      if (topic === event?.topic)
        for (const [partition, place] of await starting({ offsets: { [event.partition]: String(event.offset) } }))
          starts.set(partition, place);
      return starts;
    };
  };
  const first = await located(from, '/from');
  const last = to === undefined ? undefined : await located(to, '/to');
  const partitions: Planned[] = [];
  const until: Record<string, string> = {};
  for (const topic of sources) {
    const ends = await endsOf(topic);
    const starts = await first(topic, ends);
    for (const { partition, latest } of ends) partitions.push({ topic, partition, start: starts.get(partition) ?? latest, target: latest });
    for (const [partition, at] of (await last?.(topic, ends)) ?? []) until[partitionKey({ topic, partition })] = String(at);
  }
  if (last !== undefined && partitions.every((at) => BigInt(until[partitionKey(at)] ?? at.target) <= at.start))
    throw refused('INVALID_REQUEST', 'nothing lies between `from` and `to`', '/to');
  if (to === undefined && eventTypes === undefined && keys === undefined) return { partitions, filter: undefined };
  const [byType, byKey] = [chosen(eventTypes), chosen(keys)];
  return { partitions, filter: { types: byType.names, skipTypes: byType.skip, keys: byKey.names, skipKeys: byKey.skip, ends: until } };
}

const chosen = (choice: ReplayRequest['keys']): { readonly names: string[]; readonly skip: boolean } =>
  choice === undefined
    ? { names: [], skip: false }
    : 'skip' in choice
      ? { names: choice.skip, skip: true }
      : { names: choice.include, skip: false };

const isPlace = (from: Wanted): from is Place & Wanted => typeof from === 'string' || 'timestamp' in from || 'offsets' in from;

async function find(
  { eventStore, events }: EventPlaces,
  topicOf: (aggregateType: string) => string,
  from: AtEvent,
  deadline: number,
  pointer: string,
): Promise<RecordPosition & { readonly at: number }> {
  if ('eventId' in from) {
    const [found] = await events.search({ eventId: from.eventId, newestFirst: false, limit: 1 });
    if (found === undefined) throw refused('NOT_FOUND', `no event ${from.eventId} is known to the search`, pointer);
    return { topic: found.topic, partition: found.partition, offset: offset(found.offset), at: found.at };
  }
  const { type, id } = from.aggregate;
  const [found] = await eventStore.events({ aggregateType: type, aggregateId: id, from: from.version, limit: 1, deadline });
  if (found?.version !== from.version) throw refused('NOT_FOUND', `${type} ${id} has no event of version ${from.version}`, pointer);
  return { topic: topicOf(type), partition: found.partition, offset: offset(found.offset), at: found.at };
}

const refused = (code: 'NOT_FOUND' | 'INVALID_REQUEST', message: string, pointer: string): SpoolError =>
  new SpoolError(code, message, { violations: [{ pointer, message }] });
