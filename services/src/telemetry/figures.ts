import { SpoolError } from '@spool/schemas';
import { boundedAsk } from './ask.js';
import { capacityOf, type Capacity, type Demand } from './capacity.js';
import type { ClickHouse } from './clickhouse.js';
import { flowOf, type Flow, type FlowPath } from './flow.js';
import { treesOf, type TraceNode, type TraceSpan } from './trace-tree.js';

/** Milliseconds since the epoch: from, inclusive, to, exclusive. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

export interface SeriesRequest extends Window {
  readonly component?: string | undefined;
  readonly handler?: string | undefined;
  readonly bundle?: string | undefined;
  /** Seconds of one point; a multiple of 10. @default so that there are 300 points at the most */
  readonly step?: number | undefined;
}

export interface Point {
  /** Start of the step, milliseconds since the epoch. */
  readonly at: number;
  readonly component: string;
  readonly handler: string;
  readonly messageKind: string;
  readonly messages: number;
  readonly perSecond: number;
  readonly errors: number;
  /** In milliseconds, of the whole time; replays are left out. */
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly mean: number;
}

export interface Series {
  readonly step: number;
  readonly points: readonly Point[];
}

export interface ErrorClass {
  readonly component: string;
  readonly handler: string;
  readonly errorClass: string;
  readonly errors: number;
  /** Milliseconds since the epoch. */
  readonly lastAt: number;
  readonly lastTraceId: string;
}

export interface TraceSummary {
  readonly traceId: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly spans: number;
  readonly errors: number;
  readonly firstHandler: string;
  readonly components: readonly string[];
}

export interface CapacityRequest extends Window {
  /** Messages a second by the first handler of a flow; the others arrive as they did in the window. */
  readonly arrivals: Readonly<Record<string, number>>;
  /** By component. @default the instances seen in the window */
  readonly servers: Readonly<Record<string, number>>;
}

export interface Figures {
  /** How much each handler did, how long it took and how much of it failed, over time. */
  series(request: SeriesRequest): Promise<Series>;
  errors(request: Omit<SeriesRequest, 'step'>): Promise<readonly ErrorClass[]>;
  slowest(request: Omit<SeriesRequest, 'step'> & { readonly limit: number }): Promise<readonly TraceSummary[]>;
  /** @throws SpoolError NOT_FOUND */
  trace(traceId: string): Promise<readonly TraceNode[]>;
  flow(window: Window): Promise<Flow & { readonly share: number }>;
  /** @throws SpoolError INVALID_REQUEST for an arrival at a handler that begins no flow in the window */
  capacity(request: CapacityRequest): Promise<Capacity>;
}

const maxPoints = 300;
const maxRows = 20_000;
const maxTraceSpans = 5000;
const maxFlowSpans = 40_000;

/** What the console asks. Nothing that a caller says becomes part of a statement: it goes along as a parameter. */
export function figures({ database, rows }: Pick<ClickHouse, 'database' | 'rows'>): Figures {
  const ask = boundedAsk({ rows });
  const filter = ['component', 'handler', 'bundle'].map((name) => `({${name}:String} = '' OR ${name} = {${name}:String})`).join(' AND ');
  const filterOf = ({ component = '', handler = '', bundle = '' }: Partial<SeriesRequest>) => ({ component, handler, bundle });
  const within = 'time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})';

  const flowSpans = async ({ from, to }: Window): Promise<{ spans: readonly TraceSpan[]; share: number }> => {
    const live = `${within} AND replay_id = ''`;
    const [counted] = await ask<{ n: string }>(`SELECT count() AS n FROM ${database}.spans WHERE ${live}`, { from, to });
    // Whole traces, chosen by their ids: as many as can be laid on one another at once.
    const every = Math.max(1, Math.ceil(Number(counted?.n ?? 0) / maxFlowSpans));
    const found = await ask<StoredSpan>(
      `SELECT ${spanColumns} FROM ${database}.spans WHERE ${live} AND cityHash64(trace_id) % {every:UInt32} = 0 LIMIT {most:UInt32}`,
      { from, to, every, most: maxFlowSpans * 2 },
    );
    return { spans: found.map(toSpan), share: 1 / every };
  };
  const flow = async (window: Window): Promise<Flow & { readonly share: number }> => {
    const { spans, share } = await flowSpans(window);
    return { ...flowOf(spans, (window.to - window.from) / 1000, share), share };
  };

  return {
    async series(request) {
      const { from, to } = request;
      const step = request.step ?? Math.max(10, Math.ceil((to - from) / 1000 / maxPoints / 10) * 10);
      const table = step % 3600 === 0 ? 'spans_1h' : step % 60 === 0 ? 'spans_1m' : 'spans_10s';
      const found = await ask<StoredPoint>(
        `SELECT bucket, component, handler, message_kind, messages, errors, total_us, sum_us FROM
         (SELECT intDiv(toUnixTimestamp(time), {step:UInt32}) * {step:UInt32} AS bucket, component, handler, message_kind,
            sum(s.messages) AS messages, sum(s.errors) AS errors, sum(s.total_us_sum) AS sum_us,
            quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.total_us) AS total_us
          FROM ${database}.${table} AS s
          WHERE ${within} AND NOT is_replay AND ${filter}
          GROUP BY bucket, component, handler, message_kind)
         ORDER BY bucket, component, handler, message_kind LIMIT {most:UInt32}`,
        { from: from - (from % (step * 1000)), to, step, most: maxRows, ...filterOf(request) },
      );
      return { step, points: found.map((row) => toPoint(row, step)) };
    },
    async errors(request) {
      const { from, to } = request;
      const found = await ask<Record<'component' | 'handler' | 'errorClass' | 'errors' | 'lastAt' | 'lastTraceId', string>>(
        `SELECT component, handler, error_class AS errorClass, sum(toUInt64(weight)) AS errors,
           toUnixTimestamp64Milli(max(s.time)) AS lastAt, argMax(trace_id, s.time) AS lastTraceId
         FROM ${database}.spans AS s WHERE ${within} AND status = 'error' AND ${filter}
         GROUP BY component, handler, error_class ORDER BY errors DESC LIMIT 200`,
        { from, to, ...filterOf(request) },
      );
      return found.map((row) => ({ ...row, errors: Number(row.errors), lastAt: Number(row.lastAt) }));
    },
    async slowest(request) {
      const { from, to, limit } = request;
      const found = await ask<StoredSummary>(
        `SELECT trace_id AS traceId, toUnixTimestamp64Milli(min(s.time)) AS startedAt,
           (max(toUnixTimestamp64Micro(s.time) + handle_us + commit_us) - min(toUnixTimestamp64Micro(s.time))) / 1000 AS durationMs,
           toUInt32(count()) AS spans, toUInt32(countIf(status = 'error')) AS errors, argMin(handler, s.time) AS firstHandler,
           groupUniqArray(component) AS components
         FROM ${database}.spans AS s WHERE ${within} AND replay_id = ''
         GROUP BY trace_id HAVING countIf(${filter}) > 0 ORDER BY durationMs DESC LIMIT {limit:UInt32}`,
        { from, to, limit, ...filterOf(request) },
      );
      return found.map((row) => ({ ...row, startedAt: Number(row.startedAt) }));
    },
    async trace(traceId) {
      const found = await ask<StoredSpan>(
        `SELECT ${spanColumns} FROM ${database}.spans WHERE trace_id = {traceId:String} ORDER BY time LIMIT {most:UInt32}`,
        { traceId, most: maxTraceSpans },
      );
      if (found.length === 0) throw new SpoolError('NOT_FOUND', `No span of the trace ${traceId} is stored`);
      return treesOf(found.map(toSpan));
    },
    flow,
    async capacity({ arrivals, servers, ...window }) {
      const { paths } = await flow(window);
      const seen = await ask<{ component: string; instances: number }>(
        `SELECT component, toUInt32(uniqExact(instance)) AS instances FROM ${database}.spans WHERE ${within} GROUP BY component`,
        { ...window },
      );
      const known = Object.fromEntries(seen.map(({ component, instances }) => [component, instances]));
      return capacityOf(demandsOf(paths, arrivals), { ...known, ...servers });
    },
  };
}

/** What comes to each component when so much comes to the first handlers. @throws SpoolError INVALID_REQUEST */
function demandsOf(paths: readonly FlowPath[], arrivals: Readonly<Record<string, number>>): readonly Demand[] {
  const firsts = new Map(paths.filter(({ path }) => path.length === 1).map((each) => [each.path[0]!, each]));
  const unknown = Object.keys(arrivals).filter((handler) => !firsts.has(handler));
  if (unknown.length > 0) {
    const message = `No flow of the time looked at begins with ${unknown.join(', ')}; it begins with ${[...firsts.keys()].join(', ') || 'nothing'}`;
    throw new SpoolError('INVALID_REQUEST', message, {
      violations: unknown.map((handler) => ({ pointer: `/arrivals/${handler}`, message })),
    });
  }
  return paths.flatMap(({ path, component, messages, service }) => {
    const rate = arrivals[path[0]!];
    return rate === undefined ? [] : [{ station: component, perSecond: (rate * messages) / firsts.get(path[0]!)!.messages, service }];
  });
}

const spanColumns = `trace_id, span_id, parent_span_id, message_id, causation_id, source, bundle, instance, component, handler, message_kind,
  payload_type, aggregate_id, toUnixTimestamp64Micro(time) AS started_at, queue_us, handle_us, commit_us, total_us, status, outcome,
  error_class, replay_id, weight`;

type Text =
  | ('trace_id' | 'span_id' | 'parent_span_id' | 'message_id' | 'causation_id' | 'source' | 'bundle' | 'instance' | 'component' | 'handler')
  | ('message_kind' | 'payload_type' | 'aggregate_id' | 'started_at' | 'queue_us' | 'handle_us' | 'commit_us' | 'total_us' | 'status')
  | ('outcome' | 'error_class' | 'replay_id');
/** Integers of 64 bits are text. */
type StoredSpan = Readonly<Record<Text, string>> & { readonly weight: number };
type StoredSummary = Omit<TraceSummary, 'startedAt'> & { readonly startedAt: string };
interface StoredPoint {
  readonly bucket: string;
  readonly component: string;
  readonly handler: string;
  readonly message_kind: string;
  readonly messages: string;
  readonly errors: string;
  readonly sum_us: string;
  readonly total_us: readonly [number, number, number, number];
}

const toSpan = (row: StoredSpan): TraceSpan => ({
  traceId: row.trace_id,
  spanId: row.span_id,
  parentSpanId: row.parent_span_id,
  messageId: row.message_id,
  causationId: row.causation_id,
  source: row.source,
  bundle: row.bundle,
  instance: row.instance,
  component: row.component,
  handler: row.handler,
  messageKind: row.message_kind,
  payloadType: row.payload_type,
  aggregateId: row.aggregate_id,
  startedAt: Number(row.started_at),
  queueUs: Number(row.queue_us),
  handleUs: Number(row.handle_us),
  commitUs: Number(row.commit_us),
  totalUs: Number(row.total_us),
  status: row.status,
  outcome: row.outcome,
  errorClass: row.error_class,
  isReplay: row.replay_id !== '',
  weight: row.weight,
});

function toPoint(row: StoredPoint, step: number): Point {
  const { component, handler, message_kind: messageKind, total_us } = row;
  const messages = Number(row.messages);
  const [p50, p90, p95, p99] = total_us.map((us) => us / 1000) as [number, number, number, number];
  const mean = Number(row.sum_us) / messages / 1000;
  return {
    ...{ at: Number(row.bucket) * 1000, component, handler, messageKind, messages, perSecond: messages / step, errors: Number(row.errors) },
    ...{ p50, p90, p95, p99, mean },
  };
}
