import { readMeta, SpoolError, toSpoolError, type ReadMeta } from '@spool/schemas';
import { defaultContext, fromToken, type PositionToken } from '@spool/sdk';
import { carriedEvent, createPatternTrie, type CarriedEvent, type EventPattern } from '@spool/sdk/routed';
import {
  partitionKey,
  partitionOf,
  type ConsumedRecord,
  type Instance,
  type Offset,
  type PartitionOffsets,
  type TopicCatalogue,
} from '@spool/streams';
import type { StoredEvent } from './event-store.js';
import { emitterOf, signalOf, type Signal } from './signals.js';

export interface TailFilter {
  /** @default all */
  readonly types?: readonly string[] | undefined;
  /** Aggregates, services and sagas. @default all */
  readonly aggregateTypes?: readonly string[] | undefined;
  readonly aggregateId?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly context?: string | undefined;
  /** Routed events that fit, instead of those of aggregates, services and sagas: only `correlationId` goes with it. */
  readonly routed?: EventPattern | undefined;
}
export interface TailRequest extends TailFilter {
  /** The beginning of the log, its end, a time (milliseconds since the epoch, approximate), or a position: partitions that it does not name begin at their end. */
  readonly from: 'earliest' | 'now' | { readonly at: number } | { readonly position: PositionToken };
  /** The position of the last item that was received: it goes before `from`, and topics that came since begin at their beginning. */
  readonly resume?: PositionToken | undefined;
  /** Ends the tail. */
  readonly signal: AbortSignal;
}
export interface TailedEvent extends Omit<StoredEvent, 'version'> {
  readonly aggregateType: string;
  readonly aggregateId: string;
  /** Null where the record tells none. */
  readonly version: number | null;
  readonly context: string;
  /** Why there is no payload; null where there is one. */
  readonly unreadable: string | null;
}
/** `position` resumes behind the item. An item without an event or a signal tells how far the tail has come. */
export interface TailItem {
  readonly position: PositionToken;
  readonly event?: TailedEvent;
  /** What a tail of routed events gives. */
  readonly signal?: Signal;
}

/** What a tail gives, and shares: `data` is the event, or the signal, as JSON, made once for all who get it. */
export interface Delivery extends TailItem {
  /** Empty for a position without an event. */
  readonly data: string;
  /** The bytes of one way to write it, made once for all who get it in that way. */
  encoded(way: string, make: (item: Delivery) => Buffer): Buffer;
}
/** Whoever follows a tail. */
export interface Listener {
  /** @returns false when it takes no more: the tail ends */
  deliver(item: Delivery): boolean;
  /** A promise when it cannot take more at present. Asked before the present is reached; from then on whoever is too slow must be told so by `deliver`. */
  ready(): Promise<void> | undefined;
}
export interface Tail {
  /** From where it begins. */
  readonly position: PositionToken;
  /** Resolves when the signal or the listener has ended it. May be called once. @throws SpoolError KAFKA_UNAVAILABLE, OVERLOADED: begin again behind the last item */
  follow(listener: Listener): Promise<void>;
}
/** What tails need of the instance that they are read by. */
export type TailsInstance = Pick<Instance, 'kafka' | 'codec' | 'topics' | 'now' | 'log'>;

export interface Tails {
  /**
   * Events in the order of each partition, from then on and for ever: read from the log itself, so that there is no seam between what was and
   * what comes. The present is read once for all tails, and each event decoded and written out once.
   * @throws SpoolError INVALID_REQUEST, OFFSET_OUT_OF_RANGE for a position beyond the log, OVERLOADED, KAFKA_UNAVAILABLE
   */
  open(request: TailRequest): Promise<Tail>;
}

/** A position goes in a header, and a header has its bounds. */
const maxPartitions = 250;

/** All partitions with events, as the brokers have them now. */
export async function eventPartitions({ kafka, topics }: Pick<Instance, 'kafka' | 'topics'>): Promise<readonly PartitionOffsets[]> {
  const prefixes = [topics.events('').name, topics.signals('').name];
  const names = (await kafka.admin.listTopics()).filter((topic) => prefixes.some((prefix) => topic.startsWith(prefix))).sort();
  return (await Promise.all(names.map((topic) => kafka.admin.offsets(topic)))).flat();
}

/** Those that may hold what is wanted. `counts` tells how many partitions a topic has. */
export function mayHold(filter: TailFilter, topics: TopicCatalogue): (at: { topic: string; partition: number }, count: number) => boolean {
  const { aggregateTypes, aggregateId, routed } = filter;
  const prefix = (routed === undefined ? topics.events('') : topics.signals('')).name;
  const root = routed === undefined ? undefined : rootOf(routed);
  const names = routed === undefined ? aggregateTypes : root === undefined ? undefined : [root];
  const wanted = names === undefined ? undefined : new Set(names.map((name) => `${prefix}${name}`));
  const key = aggregateId === undefined ? undefined : Buffer.from(aggregateId);
  return ({ topic, partition }, count) =>
    (wanted?.has(topic) ?? topic.startsWith(prefix)) && (key === undefined || partitionOf(key, count) === partition);
}

/** Undefined when a pattern leaves it open. */
export const rootOf = ({ routing }: EventPattern): string | undefined => {
  const [root] = routing.split('.', 1);
  return root === '*' || root === '#' ? undefined : root;
};

/** Where a tail begins in each partition that may hold what it wants. */
export async function startsOf(
  { kafka, topics }: Pick<Instance, 'kafka' | 'topics'>,
  request: TailRequest,
  all: readonly PartitionOffsets[],
): Promise<Map<string, Offset>> {
  const { from, resume } = request;
  const named =
    resume !== undefined ? fromToken(resume) : typeof from === 'object' && 'position' in from ? fromToken(from.position) : undefined;
  const holds = mayHold(request, topics);
  const counts = countsOf(all);
  const found = all.filter((at) => holds(at, counts.get(at.topic)!));
  if (found.length > maxPartitions) {
    throw new SpoolError(
      'INVALID_REQUEST',
      `these are ${found.length} partitions, ${maxPartitions} is the most of one tail; name aggregateType, or the first word of the routing`,
    );
  }
  const times = new Map<string, Offset>();
  if (resume === undefined && typeof from === 'object' && 'at' in from) {
    for (const topic of new Set(found.map((each) => each.topic))) {
      for (const at of await kafka.admin.offsetsAt(topic, from.at)) times.set(partitionKey(at), at.offset);
    }
  }
  const starts = new Map<string, Offset>();
  for (const at of found) {
    const key = partitionKey(at);
    const start = named?.get(key) ?? times.get(key) ?? (resume !== undefined || from === 'earliest' ? at.earliest : at.latest);
    if (start > at.latest || start < at.earliest) {
      throw new SpoolError('OFFSET_OUT_OF_RANGE', `${key} has offsets ${at.earliest} to ${at.latest}, and the position is at ${start}`);
    }
    starts.set(key, start);
  }
  return starts;
}

export function countsOf(all: readonly PartitionOffsets[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { topic } of all) counts.set(topic, (counts.get(topic) ?? 0) + 1);
  return counts;
}

/** One record of a topic of events, kept apart from the answer that it came in; decoded once, when somebody wants it. */
export interface Seen {
  readonly partition: string;
  readonly offset: Offset;
  readonly aggregateType: string;
  readonly aggregateId: string;
  readonly meta: ReadMeta;
  /** Of a topic of routed events: what it is there; the rest is of aggregates. */
  readonly signal: CarriedEvent | undefined;
  readonly bytes: number;
  /** @throws SpoolError what cannot be read at present */
  read(): Shown | Promise<Shown>;
}
export interface Shown {
  readonly item: Pick<TailItem, 'event' | 'signal'>;
  readonly data: string;
}

export function seen(record: ConsumedRecord, { topics, codec }: Pick<TailsInstance, 'topics' | 'codec'>): Seen {
  const { topic, partition, offset, timestamp, headers } = record;
  const prefix = topics.events('').name;
  const value = record.value === null ? null : Buffer.from(record.value);
  const signal = topic.startsWith(prefix) ? undefined : carriedEvent({ value, headers, timestamp });
  const kept = {
    ...{ partition, offset, timestamp, aggregateType: topic.slice(prefix.length), aggregateId: record.key?.toString() ?? '' },
    ...{ meta: readMeta(headers), value, signal },
  };
  const show = async (): Promise<Shown> => {
    const [name, of] =
      signal === undefined ? (['event', await eventOf(kept, codec)] as const) : (['signal', await signalOf(signal, kept, codec)] as const);
    return { item: { [name]: of }, data: JSON.stringify({ ...of, at: new Date(of.at).toISOString() }) };
  };
  let shown: Shown | Promise<Shown> | undefined;
  return {
    ...kept,
    partition: partitionKey(record),
    bytes: 500 + (record.value?.length ?? 0),
    read() {
      return (shown ??= show().then(
        (made) => (shown = made),
        (error: unknown) => {
          shown = undefined;
          throw error;
        },
      ));
    },
  };
}

/** Whether a record is one of those that a filter is for. @throws SpoolError INVALID_REQUEST for a pattern that can never match */
export function wantedBy(filter: TailFilter): (record: Seen) => boolean {
  const { routed, correlationId } = filter;
  if (routed === undefined) return (record) => isWanted(record, filter);
  const pattern = createPatternTrie<true>();
  pattern.add(routed, true);
  return ({ signal }) =>
    signal !== undefined &&
    (correlationId === undefined || signal.correlationId === correlationId) &&
    pattern.match(signal.routing, emitterOf(signal)).size > 0;
}

function isWanted({ aggregateType, aggregateId, meta }: Seen, filter: TailFilter): boolean {
  return (
    (filter.types === undefined || (meta.type !== undefined && filter.types.includes(meta.type))) &&
    (filter.aggregateTypes?.includes(aggregateType) ?? true) &&
    (filter.aggregateId === undefined || aggregateId === filter.aggregateId) &&
    (filter.correlationId === undefined || meta.correlationId === filter.correlationId) &&
    (filter.context === undefined || (meta.context ?? defaultContext) === filter.context)
  );
}

interface Kept extends Pick<Seen, 'aggregateType' | 'aggregateId' | 'meta' | 'offset'> {
  readonly partition: number;
  readonly timestamp: number;
  readonly value: Buffer | null;
}

async function eventOf({ meta, value, ...record }: Kept, codec: Instance['codec']): Promise<TailedEvent> {
  let payload: unknown = null;
  let unreadable: string | null = null;
  try {
    if (value === null) throw new SpoolError('RECORD_UNREADABLE', 'the record has no value');
    payload = (await codec.decodeAny(value)).json();
  } catch (thrown) {
    const error = toSpoolError(thrown);
    // What cannot be read at present must not be passed over as if it could never be.
    if (error.entry.retryable === 'backoff') throw error;
    unreadable = `${error.code}: ${error.message}`;
  }
  return {
    id: meta.id ?? '',
    type: meta.type ?? '',
    aggregateType: record.aggregateType,
    aggregateId: record.aggregateId,
    version: meta.aggregateVersion ?? null,
    at: meta.time ?? record.timestamp,
    partition: record.partition,
    offset: record.offset.toString(),
    payload,
    unreadable,
    context: meta.context ?? defaultContext,
    correlationId: meta.correlationId,
    causationId: meta.causationId,
    commandId: meta.commandId,
    actor: meta.actor,
  };
}

/** An item for all who are to get it. */
export function delivery(position: PositionToken, shown?: Shown): Delivery {
  const made = new Map<string, Buffer>();
  const item: Delivery = {
    position,
    ...shown?.item,
    data: shown?.data ?? '',
    encoded(way, make) {
      const known = made.get(way);
      if (known !== undefined) return known;
      const bytes = make(item);
      made.set(way, bytes);
      return bytes;
    },
  };
  return item;
}
