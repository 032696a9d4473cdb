import { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import { route, type Route } from '../http/index.js';
import type { Figures, TraceNode } from '../telemetry/index.js';

export interface TelemetryRoutesOptions {
  readonly figures: Figures;
  readonly now: () => number;
}

const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
const hour = 60 * 60 * 1000;
const maxWindowDays = 90;
const window = {
  from: time.optional().describe('Not before this time. By default an hour before `to`'),
  to: time.optional().describe('Before this time. By default now'),
};
const name = z.string().min(1).max(200);
const filter = {
  ...window,
  component: name.optional(),
  handler: name.optional().describe('Such as Account.Withdraw'),
  bundle: name.optional(),
};

const who = { component: z.string(), handler: z.string() };
const milliseconds = z.number().describe('Milliseconds');
const quantiles = z.object({ p50: milliseconds, p95: milliseconds, p99: milliseconds });
const series = <T extends z.ZodRawShape>(point: T) =>
  z.object({
    step: z.int().describe('Seconds of a point'),
    points: z.array(z.object({ at: z.iso.datetime(), ...who, messageKind: z.string(), ...point })),
  });
const iso = (at: number): string => new Date(at).toISOString();

const traceSpan = z.object({
  depth: z.int().describe('0 for what nothing in the trace caused'),
  spanId: z.string(),
  at: z.iso.datetime().describe('When the handling began'),
  ...{ bundle: z.string(), instance: z.string(), ...who, messageKind: z.string(), payloadType: z.string(), aggregateId: z.string() },
  ...{
    messageId: z.string(),
    causationId: z.string(),
    source: z.string(),
    status: z.string(),
    outcome: z.string(),
    errorClass: z.string(),
  },
  isReplay: z.boolean(),
  startUs: z.int().describe('From the start of the first span, microseconds'),
  ...{ queueUs: z.int(), handleUs: z.int(), commitUs: z.int(), totalUs: z.int() },
});

const rate = z.number().min(0).max(10_000_000);
const capacityBody = z.strictObject({
  from: window.from,
  to: window.to,
  arrivals: z.record(name, rate).describe('Messages a second by the first handler of a flow: {"Account.Withdraw": 500}'),
  servers: z
    .record(name, z.int().min(1).max(10_000))
    .default({})
    .describe('How many messages a component handles at a time. By default its instances'),
});
const capacityView = z.object({
  bottleneck: z.string().nullable().describe('The component that fills first; null without any load'),
  headroom: z.number().nullable().describe('What all arrivals can be multiplied by before it is full'),
  concurrent: z.number().nullable().describe('Messages under way on average; null where they grow without end'),
  components: z.array(
    z.object({
      ...{ component: z.string(), servers: z.int(), perSecond: z.number(), utilisation: z.number(), serviceMs: milliseconds },
      waitingMs: milliseconds.nullable().describe('Mean wait for a server; null where it grows without end'),
      concurrent: z.number().nullable(),
      highestPerSecond: z.number().describe('The most that it can take'),
    }),
  ),
});

/** Ready-made figures for the console; whoever wants others asks ClickHouse. */
export function telemetryRoutes({ figures, now }: TelemetryRoutesOptions): readonly Route[] {
  /** @throws SpoolError INVALID_REQUEST */
  const windowOf = ({ from, to }: { from?: number | undefined; to?: number | undefined }): { from: number; to: number } => {
    const end = to ?? now();
    const begin = from ?? end - hour;
    const most = maxWindowDays * 24 * hour;
    if (begin < end && end - begin <= most) return { from: begin, to: end };
    throw new SpoolError('INVALID_REQUEST', `from must lie before to, and at most ${maxWindowDays} days before it`, {
      violations: [{ pointer: 'from', message: 'does not lie well before to' }],
    });
  };
  const common = { method: 'GET', role: 'analyst', errors: ['INVALID_REQUEST', 'UNAVAILABLE', 'OVERLOADED'] } as const;
  const step = z.coerce.number().int().min(10).max(86_400).multipleOf(10).optional().describe('Seconds of a point, a multiple of 10');
  const seriesQuery = z.object({ ...filter, step });
  return [
    route({
      ...common,
      path: '/api/v1/telemetry/throughput',
      summary: 'Messages handled over time',
      query: seriesQuery,
      responses: { 200: { description: 'By handler', schema: series({ messages: z.int(), perSecond: z.number() }) } },
      async handler({ query }) {
        const found = await figures.series({ ...query, ...windowOf(query) });
        const points = found.points.map(({ at, component, handler, messageKind, messages, perSecond }) => ({
          ...{ at: iso(at), component, handler, messageKind, messages, perSecond },
        }));
        return { status: 200, body: { step: found.step, points } };
      },
    }),
    route({
      ...common,
      path: '/api/v1/telemetry/latency',
      summary: 'How long messages took over time, from the record to the commit',
      query: seriesQuery,
      responses: {
        200: {
          description: 'Percentiles by handler, in milliseconds; replays are left out',
          schema: series({ messages: z.int(), p50: z.number(), p90: z.number(), p95: z.number(), p99: z.number(), mean: z.number() }),
        },
      },
      async handler({ query }) {
        const found = await figures.series({ ...query, ...windowOf(query) });
        const points = found.points.map(({ at, component, handler, messageKind, messages, p50, p90, p95, p99, mean }) => ({
          ...{ at: iso(at), component, handler, messageKind, messages, p50, p90, p95, p99, mean },
        }));
        return { status: 200, body: { step: found.step, points } };
      },
    }),
    route({
      ...common,
      path: '/api/v1/telemetry/errors',
      summary: 'What failed, over time and by class',
      query: seriesQuery,
      responses: {
        200: {
          description: 'A rejection by the domain has its code as class',
          schema: series({ messages: z.int(), errors: z.int(), rate: z.number() }).extend({
            classes: z.array(
              z.object({ ...who, errorClass: z.string(), errors: z.int(), lastAt: z.iso.datetime(), lastTraceId: z.string() }),
            ),
          }),
        },
      },
      async handler({ query }) {
        const request = { ...query, ...windowOf(query) };
        const [found, classes] = await Promise.all([figures.series(request), figures.errors(request)]);
        const points = found.points.map(({ at, component, handler, messageKind, messages, errors }) => ({
          ...{ at: iso(at), component, handler, messageKind, messages, errors, rate: errors / messages },
        }));
        const shown = classes.map((each) => ({ ...each, lastAt: iso(each.lastAt) }));
        return { status: 200, body: { step: found.step, points, classes: shown } };
      },
    }),
    route({
      ...common,
      path: '/api/v1/telemetry/traces',
      summary: 'The traces that took longest',
      query: z.object({ ...filter, limit: z.coerce.number().int().min(1).max(500).default(50) }),
      responses: {
        200: {
          description: 'The slowest first',
          schema: z.object({
            items: z.array(
              z.object({
                traceId: z.string(),
                ...{ startedAt: z.iso.datetime(), durationMs: milliseconds, spans: z.int(), errors: z.int() },
                ...{ firstHandler: z.string(), components: z.array(z.string()) },
              }),
            ),
          }),
        },
      },
      async handler({ query }) {
        const found = await figures.slowest({ ...query, ...windowOf(query) });
        return { status: 200, body: { items: found.map((each) => ({ ...each, startedAt: iso(each.startedAt) })) } };
      },
    }),
    route({
      ...common,
      path: '/api/v1/telemetry/traces/{id}',
      summary: 'One trace as a tree',
      params: z.object({ id: z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits in lower case') }),
      responses: {
        200: {
          description: 'Depth first, in the order of time among siblings',
          schema: z.object({ traceId: z.string(), spans: z.array(traceSpan) }),
        },
      },
      errors: ['NOT_FOUND', 'INVALID_REQUEST', 'UNAVAILABLE', 'OVERLOADED'],
      handler: async ({ params: { id } }) => ({ status: 200, body: { traceId: id, spans: flat(await figures.trace(id)) } }),
    }),
    route({
      ...common,
      path: '/api/v1/telemetry/flow',
      summary: 'What messages set off: paths, probabilities and times',
      description:
        'Measured from the causation of the spans. `unplaced` messages are on no path, since their cause is not among the spans.',
      query: z.object(window),
      responses: {
        200: {
          description: 'The busiest path first',
          schema: z.object({
            share: z.number().describe('Of the traces, that were laid on one another'),
            unplaced: z.number(),
            paths: z.array(
              z.object({
                path: z.array(z.string()).describe('Handlers, from the first of the flow to this one'),
                ...{ bundle: z.string(), component: z.string(), messageKind: z.string(), messages: z.number(), perSecond: z.number() },
                perMessage: z.number().describe('How many came of one message of the path before'),
                probability: z.number().describe('Share of the messages of the path before from which any came'),
                ...{ errorRate: z.number(), queue: quantiles, service: quantiles, commit: quantiles },
              }),
            ),
          }),
        },
      },
      handler: async ({ query }) => ({ status: 200, body: await figures.flow(windowOf(query)) }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/api/v1/telemetry/capacity',
      summary: 'What would come of other arrival rates or other numbers of servers',
      description:
        'Service times and probabilities are those of the time looked at; each component is a queue with some servers, busy while a handler runs.',
      safe: true,
      body: capacityBody,
      responses: { 200: { description: 'The busiest component first', schema: capacityView } },
      async handler({ body }) {
        const { stations, ...rest } = await figures.capacity({ ...body, ...windowOf(body) });
        return { status: 200, body: { ...rest, components: stations.map(({ station, ...load }) => ({ component: station, ...load })) } };
      },
    }),
  ];
}

function flat(nodes: readonly TraceNode[]): z.input<typeof traceSpan>[] {
  const first = Math.min(...nodes.map(({ span }) => span.startedAt));
  const rows: z.input<typeof traceSpan>[] = [];
  const visit = ({ span, children }: TraceNode, depth: number): void => {
    const { traceId: _, parentSpanId: __, weight: ___, startedAt, ...rest } = span;
    rows.push({ depth, at: iso(startedAt / 1000), startUs: startedAt - first, ...rest });
    for (const child of children) visit(child, depth + 1);
  };
  for (const node of nodes) visit(node, 0);
  return rows;
}
