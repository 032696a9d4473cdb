import { readMeta, SpoolError, toSpoolError, type ReadMeta } from '@spool/schemas';
import { defaultContext, fromToken, toToken, type PositionToken, type Registry } from '@spool/sdk';
import {
  offset,
  partitionKey,
  partitionOf,
  splitPartitionKey,
  type ConsumedRecord,
  type Instance,
  type Offset,
  type PartitionOffsets,
  type Reader,
} from '@spool/streams';
import type { StoredEvent } from './event-store.js';

export interface TailFilter {
  /** @default all */
  readonly types?: readonly string[] | undefined;
  /** Aggregates, services and sagas. @default all */
  readonly aggregateTypes?: readonly string[] | undefined;
  readonly aggregateId?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly context?: string | undefined;
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
/** `position` resumes behind the item. An item without an event tells how far the tail has come. */
export interface TailItem {
  readonly position: PositionToken;
  readonly event?: TailedEvent;
}

/** A position is told after so many records that were passed over, or so many milliseconds. */
const tellAfterRecords = 1000;
const tellAfterMs = 5000;
/** A position goes in a header, and a header has its bounds. */
const maxPartitions = 250;
/** Each has a connection of its own to the brokers. */
const maxTails = 200;

export interface Tails {
  /**
   * Events in the order of each partition, from then on and for ever: read from the log itself, so that there is no seam between what was and
   * what comes. Nothing is read ahead of whoever takes the items, but the answer to one fetch.
   * @throws SpoolError INVALID_REQUEST, OFFSET_OUT_OF_RANGE for a position beyond the log, OVERLOADED, KAFKA_UNAVAILABLE
   */
  open(request: TailRequest): Promise<AsyncIterable<TailItem>>;
}

export function eventTails(instance: Pick<Instance, 'kafka' | 'codec' | 'topics' | 'now'>, registry: Pick<Registry, 'onChange'>): Tails {
  let open = 0;
  return {
    async open(request) {
      if (open >= maxTails) throw new SpoolError('OVERLOADED', `${maxTails} tails are open already`, { retryAfterMs: 5000 });
      open += 1;
      let reader: Reader | undefined;
      let begun = false;
      try {
        const positions = await startsOf(instance, request);
        reader = await instance.kafka.reader({ maxWaitMs: 1000 });
        begun = true;
        return follow(instance, registry, request, reader, positions, () => (open -= 1));
      } finally {
        if (!begun) open -= 1;
      }
    },
  };
}

async function* follow(
  instance: Parameters<typeof eventTails>[0],
  registry: Pick<Registry, 'onChange'>,
  request: TailRequest,
  reader: Reader,
  positions: Map<string, Offset>,
  closed: () => void,
): AsyncGenerator<TailItem, void, undefined> {
  const { codec, topics, now } = instance;
  const { signal } = request;
  const prefix = topics.events('').name;
  const item = (event?: TailedEvent): TailItem => ({ position: toToken(positions), ...(event === undefined ? {} : { event }) });
  // What came between the look at the topics and now is looked for at once.
  let changed = true;
  const forget = registry.onChange(() => (changed = true));
  const ended = (): boolean => signal.aborted;
  const stop = (): void => void reader.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for (const [key, at] of positions) reader.assign(splitPartitionKey(key), at);
    // 1. Whoever is cut off before the first event knows where to go on.
    yield item();
    let told = now();
    let passed = 0;
    while (!ended()) {
      // 2. A topic that is new has nothing that was missed.
      if (changed) {
        changed = false;
        for (const at of await partitionsOf(instance, request)) {
          if (positions.has(partitionKey(at))) continue;
          positions.set(partitionKey(at), at.earliest);
          reader.assign(at, at.earliest);
        }
      }
      // 3. What there is, in its order.
      for (const slice of await reader.fetch()) {
        const key = partitionKey(slice);
        for (const record of slice.records) {
          positions.set(key, offset(record.offset + 1n));
          const meta = readMeta(record.headers);
          passed += 1;
          if (!isWanted(record, meta, request)) continue;
          yield item(await eventOf(record, meta, slice.topic.slice(prefix.length), codec));
          if (ended()) return;
          passed = 0;
          told = now();
        }
        positions.set(key, slice.nextOffset);
      }
      // 4. Whoever resumes need not pass over the same again.
      if (passed >= tellAfterRecords || (passed > 0 && now() - told >= tellAfterMs)) {
        yield item();
        passed = 0;
        told = now();
      }
    }
  } finally {
    forget();
    signal.removeEventListener('abort', stop);
    closed();
    await reader.close();
  }
}

/** Those that may hold what is wanted. */
async function partitionsOf(
  { kafka, topics }: Pick<Instance, 'kafka' | 'topics'>,
  filter: TailFilter,
): Promise<readonly PartitionOffsets[]> {
  const prefix = topics.events('').name;
  const wanted = (await kafka.admin.listTopics()).filter(
    (topic) => topic.startsWith(prefix) && (filter.aggregateTypes?.includes(topic.slice(prefix.length)) ?? true),
  );
  const found: PartitionOffsets[] = [];
  for (const topic of wanted.sort()) {
    const partitions = await kafka.admin.offsets(topic);
    const only = filter.aggregateId === undefined ? undefined : partitionOf(Buffer.from(filter.aggregateId), partitions.length);
    found.push(...partitions.filter(({ partition }) => only === undefined || partition === only));
  }
  if (found.length > maxPartitions) {
    throw new SpoolError(
      'INVALID_REQUEST',
      `these are ${found.length} partitions, ${maxPartitions} is the most of one tail; name aggregateType`,
    );
  }
  return found;
}

async function startsOf(instance: Pick<Instance, 'kafka' | 'topics'>, request: TailRequest): Promise<Map<string, Offset>> {
  const { from, resume } = request;
  const named =
    resume !== undefined ? fromToken(resume) : typeof from === 'object' && 'position' in from ? fromToken(from.position) : undefined;
  const starts = new Map<string, Offset>();
  const found = await partitionsOf(instance, request);
  const times = new Map<string, Offset>();
  if (resume === undefined && typeof from === 'object' && 'at' in from) {
    for (const topic of new Set(found.map((each) => each.topic))) {
      for (const at of await instance.kafka.admin.offsetsAt(topic, from.at)) times.set(partitionKey(at), at.offset);
    }
  }
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

function isWanted({ key }: ConsumedRecord, meta: ReadMeta, filter: TailFilter): boolean {
  return (
    (filter.types === undefined || (meta.type !== undefined && filter.types.includes(meta.type))) &&
    (filter.aggregateId === undefined || key?.toString() === filter.aggregateId) &&
    (filter.correlationId === undefined || meta.correlationId === filter.correlationId) &&
    (filter.context === undefined || (meta.context ?? defaultContext) === filter.context)
  );
}

async function eventOf(record: ConsumedRecord, meta: ReadMeta, aggregateType: string, codec: Instance['codec']): Promise<TailedEvent> {
  let payload: unknown = null;
  let unreadable: string | null = null;
  try {
    if (record.value === null) throw new SpoolError('RECORD_UNREADABLE', 'the record has no value');
    payload = (await codec.decodeAny(record.value)).json();
  } catch (thrown) {
    const error = toSpoolError(thrown);
    // What cannot be read at present must not be passed over as if it could never be.
    if (error.entry.retryable === 'backoff') throw error;
    unreadable = `${error.code}: ${error.message}`;
  }
  return {
    id: meta.id ?? '',
    type: meta.type ?? '',
    aggregateType,
    aggregateId: record.key?.toString() ?? '',
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
