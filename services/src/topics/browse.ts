import { isUtf8 } from 'node:buffer';
import { isFramed, readMeta, SpoolError, toSpoolError, type Codec } from '@spool/schemas';
import { offset, type ConsumedRecord, type Kafka, type Offset, type PartitionOffsets } from '@spool/streams';

export interface BrowseRequest {
  readonly topic: string;
  /** @default all */
  readonly partition?: number | undefined;
  readonly key?: string | undefined;
  /** `ce_type`, else the full name of the writer's schema. */
  readonly type?: string | undefined;
  readonly from: 'oldest' | 'newest' | { readonly at: number } | { readonly offset: bigint };
  /** Of the page before: the offset for each partition, where it goes on. */
  readonly places?: BrowsePlaces | undefined;
  readonly limit: number;
  readonly signal: AbortSignal;
}
export type BrowsePlaces = Readonly<Record<string, string>>;

export interface BrowsedRecord {
  readonly partition: number;
  readonly offset: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly key: string | null;
  /** The bytes of a key that is no text. */
  readonly keyBase64: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly type: string | null;
  readonly value: unknown;
  /** The bytes of a value that could not be decoded. */
  readonly base64: string | null;
  /** Why there is no value where the bytes claim a schema. */
  readonly unreadable: string | null;
}
export interface BrowsePage {
  readonly items: readonly BrowsedRecord[];
  readonly scanned: number;
  /** Absent at the end of the log (`newest`: at its beginning). */
  readonly next: BrowsePlaces | undefined;
}

export interface TopicBrowser {
  /**
   * Committed records, of all partitions by time, in the order of each partition (`newest`: the latest first). A page reads so many records at the most and
   * then ends, full or not.
   * @throws SpoolError UNKNOWN_TOPIC, OFFSET_OUT_OF_RANGE, OVERLOADED, KAFKA_UNAVAILABLE
   */
  page(request: BrowseRequest): Promise<BrowsePage>;
}

/** Each has a connection of its own to the brokers. */
const maxPages = 16;
/** The place in each of them goes into a cursor, which has its bounds. */
const maxPartitions = 64;
/** A page ends after so much: records read, bytes kept, milliseconds. */
const bounds = { records: 50_000, bytes: 4 * 1024 * 1024, ms: 5_000 };

/** The part of a partition that is yet to be read; the end is not in it. */
interface Span {
  readonly partition: number;
  from: Offset;
  end: Offset;
}
export function topicBrowser({ kafka, codec }: { readonly kafka: Kafka; readonly codec: Codec }): TopicBrowser {
  let open = 0;
  return {
    async page(request) {
      if (open >= maxPages) throw new SpoolError('OVERLOADED', `${maxPages} pages are being read already`, { retryAfterMs: 1000 });
      open += 1;
      try {
        const spans = await spansOf(kafka, request);
        return await (request.from === 'newest' ? backwards : forwards)(kafka, codec, request, spans);
      } finally {
        open -= 1;
      }
    },
  };
}

async function spansOf(kafka: Kafka, { topic, partition: only, from, places }: BrowseRequest): Promise<Span[]> {
  const all = await kafka.admin.offsets(topic);
  const wanted = all.filter(({ partition }) => only === undefined || partition === only);
  if (wanted.length === 0) throw new SpoolError('OFFSET_OUT_OF_RANGE', `${topic} has partitions 0 to ${all.length - 1}`);
  if (wanted.length > maxPartitions) {
    throw new SpoolError('INVALID_REQUEST', `${topic} has ${wanted.length} partitions, more than ${maxPartitions}: name one`, {
      violations: [{ pointer: 'query:partition', message: 'Missing; the topic has too many' }],
    });
  }
  const times = typeof from === 'object' && 'at' in from ? await kafka.admin.offsetsAt(topic, from.at) : [];
  const startOf = ({ partition, earliest, latest }: PartitionOffsets): Offset => {
    if (typeof from === 'string') return earliest;
    if ('at' in from) return times.find((at) => at.partition === partition)?.offset ?? latest;
    if (from.offset >= earliest && from.offset <= latest) return offset(from.offset);
    throw new SpoolError('OFFSET_OUT_OF_RANGE', `${topic}-${partition} has offsets ${earliest} to ${latest}`);
  };
  return wanted.map((at) => {
    const { partition, earliest, latest } = at;
    const place = places?.[partition];
    if (place === undefined) return { partition, from: startOf(at), end: latest };
    // What was deleted meanwhile is passed over.
    const went = offset(BigInt(place) < earliest ? earliest : BigInt(place) > latest ? latest : BigInt(place));
    return from === 'newest' ? { partition, from: earliest, end: went } : { partition, from: went, end: latest };
  });
}

type Page = (kafka: Kafka, codec: Codec, request: BrowseRequest, spans: readonly Span[]) => Promise<BrowsePage>;

const forwards: Page = async (kafka, codec, request, spans) => {
  const found = new Map<number, BrowsedRecord[]>(spans.map(({ partition }) => [partition, []]));
  const budget = newBudget();
  const reached = await scan(kafka, request, spans, budget, budget.spent, async (record) => {
    const own = found.get(record.partition)!;
    const view = await shown(codec, record, request.type);
    if (view !== undefined) own.push(view);
    return own.length >= request.limit;
  });
  const taken = merged([...found.values()], request.limit, (a, b) => a.at - b.at);
  const places = spans.map(({ partition, from, end }) => {
    const left = found.get(partition)!.find((each) => !taken.has(each));
    const at = left === undefined ? (reached.get(partition) ?? from) : BigInt(left.offset);
    return { partition, at, more: at < end };
  });
  return pageOf(taken, budget, places);
};

/** Windows before the end of each partition, wider each time, until there is enough. A window is always read whole, so that each page gets on. */
const backwards: Page = async (kafka, codec, request, spans) => {
  const found = new Map<number, BrowsedRecord[]>(spans.map(({ partition }) => [partition, []]));
  const budget = newBudget();
  let count = 0;
  for (let width = 16n; count < request.limit && !budget.spent() && spans.some(({ from, end }) => from < end); width *= 4n) {
    const windows = spans
      .filter(({ from, end }) => from < end)
      .map((span) => ({ ...span, from: offset(span.end - width > span.from ? span.end - width : span.from) }));
    const latest = new Map<number, BrowsedRecord[]>(windows.map(({ partition }) => [partition, []]));
    await scan(
      kafka,
      request,
      windows,
      budget,
      () => false,
      async (record) => {
        const view = await shown(codec, record, request.type);
        if (view !== undefined) latest.get(record.partition)!.push(view);
        return false;
      },
    );
    for (const { partition, from } of windows) {
      spans.find((span) => span.partition === partition)!.end = from;
      const own = latest.get(partition)!.reverse();
      found.get(partition)!.push(...own);
      count += own.length;
    }
  }
  const taken = merged([...found.values()], request.limit, (a, b) => b.at - a.at);
  const places = spans.map(({ partition, from, end }) => {
    const left = found.get(partition)!.find((each) => !taken.has(each));
    const at = left === undefined ? end : BigInt(left.offset) + 1n;
    return { partition, at, more: at > from };
  });
  return pageOf(taken, budget, places);
};

function pageOf(
  taken: ReadonlySet<BrowsedRecord>,
  { records }: Budget,
  places: readonly { readonly partition: number; readonly at: bigint; readonly more: boolean }[],
): BrowsePage {
  const next = Object.fromEntries(places.map(({ partition, at }) => [partition, at.toString()]));
  return { items: [...taken], scanned: records, next: places.some(({ more }) => more) ? next : undefined };
}

/** The first of all lists together, the order of each list kept. */
function merged(
  lists: readonly (readonly BrowsedRecord[])[],
  limit: number,
  compare: (a: BrowsedRecord, b: BrowsedRecord) => number,
): ReadonlySet<BrowsedRecord> {
  const taken = new Set<BrowsedRecord>();
  const queues = lists.map((list) => ({ list, at: 0 }));
  while (taken.size < limit) {
    const waiting = queues.filter(({ list, at }) => at < list.length);
    if (waiting.length === 0) break;
    const first = waiting.reduce((best, each) => (compare(each.list[each.at]!, best.list[best.at]!) < 0 ? each : best));
    taken.add(first.list[first.at++]!);
  }
  return taken;
}

interface Budget {
  records: number;
  bytes: number;
  spent(): boolean;
}
function newBudget(): Budget {
  const until = performance.now() + bounds.ms;
  const budget: Budget = {
    records: 0,
    bytes: 0,
    spent: () => budget.records >= bounds.records || budget.bytes >= bounds.bytes || performance.now() >= until,
  };
  return budget;
}

/**
 * Reads each span until its end, until `take` has enough of its partition, or until `spent`.
 * @returns how far each was read
 */
async function scan(
  kafka: Kafka,
  { topic, key, signal }: BrowseRequest,
  spans: readonly Span[],
  budget: Budget,
  spent: () => boolean,
  take: (record: ConsumedRecord) => Promise<boolean>,
): Promise<ReadonlyMap<number, Offset>> {
  const reached = new Map<number, Offset>();
  const open = new Map(spans.filter(({ from, end }) => from < end).map((span) => [span.partition, span]));
  if (open.size === 0) return reached;
  const wanted = key === undefined ? undefined : Buffer.from(key);
  await using reader = await kafka.reader({ maxBytesPerPartition: 256 * 1024 });
  for (const { partition, from } of open.values()) reader.assign({ topic, partition }, from);
  while (open.size > 0 && !spent()) {
    if (signal.aborted) throw signal.reason as Error;
    for (const { partition, records, nextOffset } of await reader.fetch()) {
      const span = open.get(partition);
      if (span === undefined) continue;
      let at = nextOffset;
      let enough = false;
      for (const record of records) {
        if (record.offset >= span.end || enough || spent()) {
          at = record.offset;
          break;
        }
        budget.records += 1;
        if (wanted !== undefined && record.key?.equals(wanted) !== true) continue;
        budget.bytes += record.value?.length ?? 0;
        enough = await take(record);
      }
      reached.set(partition, at < span.end ? at : span.end);
      if (at < span.end && !enough) continue;
      open.delete(partition);
      reader.unassign({ topic, partition });
    }
  }
  return reached;
}

/** Undefined for one of another type. */
async function shown(codec: Codec, record: ConsumedRecord, wanted: string | undefined): Promise<BrowsedRecord | undefined> {
  const meta = readMeta(record.headers);
  if (wanted !== undefined && meta.type !== undefined && meta.type !== wanted) return undefined;
  const { key, value } = record;
  let type = meta.type ?? null;
  let decoded: unknown = null;
  let unreadable: string | null = null;
  if (value !== null && isFramed(value)) {
    try {
      const read = await codec.decodeAny(value);
      type ??= read.type;
      decoded = read.json();
    } catch (thrown) {
      const error = toSpoolError(thrown);
      // What cannot be read at present must not be shown as if it could never be.
      if (error.entry.retryable === 'backoff') throw error;
      unreadable = `${error.code}: ${error.message}`;
    }
  } else if (value !== null && /[/+]json\b/.test(meta.contentType ?? '')) decoded = jsonOf(value);
  if (wanted !== undefined && type !== wanted) return undefined;
  const isText = key !== null && isUtf8(key);
  return {
    partition: record.partition,
    offset: record.offset.toString(),
    at: record.timestamp,
    key: isText ? key.toString() : null,
    keyBase64: key === null || isText ? null : key.toString('base64'),
    headers: Object.fromEntries(Object.entries(record.headers).map(([name, bytes]) => [name, bytes.toString()])),
    type,
    value: decoded,
    base64: value === null || decoded !== null ? null : value.toString('base64'),
    unreadable,
  };
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return null;
  }
}
