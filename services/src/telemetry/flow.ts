import { treesOf, type TraceNode, type TraceSpan } from './trace-tree.js';

/** In milliseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** One way that messages took: the handlers from the first of the flow to this one. */
export interface FlowPath {
  /** Such as `Account.Withdraw`, `Ledger.Withdrawn`. */
  readonly path: readonly string[];
  readonly bundle: string;
  readonly component: string;
  readonly messageKind: string;
  /** By weight. */
  readonly messages: number;
  readonly perSecond: number;
  /** How many came of one message of the path before, on average; 1 for the first of a path. */
  readonly perMessage: number;
  /** Share of the messages of the path before from which any came, 0 to 1. */
  readonly probability: number;
  /** Share that failed, 0 to 1. */
  readonly errorRate: number;
  /** Waiting in the topic. */
  readonly queue: Quantiles;
  /** In the handler. */
  readonly service: Quantiles;
  /** From the handler's end to the commit. */
  readonly commit: Quantiles;
}

export interface Flow {
  /** The busiest first. */
  readonly paths: readonly FlowPath[];
  /** Messages whose cause is not among the spans, by weight: they are on no path. */
  readonly unplaced: number;
}

/** A loop of messages is followed so far. */
const maxDepth = 12;
const maxPaths = 500;

interface Taken {
  readonly path: readonly string[];
  readonly spans: TraceSpan[];
  readonly parent: Taken | undefined;
  /** Weight of the parents from which any came. */
  causing: number;
}

/**
 * What messages set off, measured: the paths of all traces, laid on one another. Replayed messages are left out.
 * @param seconds over which the spans were taken @param share of the traces that are among them, 0 to 1
 */
export function flowOf(spans: readonly TraceSpan[], seconds: number, share = 1): Flow {
  const paths = new Map<string, Taken>();
  let unplaced = 0;
  const visit = (node: TraceNode, parent: Taken | undefined): void => {
    const { span } = node;
    const path = [...(parent?.path ?? []), span.handler];
    const key = JSON.stringify(path);
    const taken = paths.get(key) ?? { path, spans: [], parent, causing: 0 };
    paths.set(key, taken);
    taken.spans.push(span);
    if (path.length >= maxDepth) return;
    const seen = new Set<Taken>();
    for (const child of node.children) {
      visit(child, taken);
      seen.add(paths.get(JSON.stringify([...path, child.span.handler]))!);
    }
    for (const each of seen) each.causing += span.weight;
  };
  const live = spans.filter(({ isReplay }) => !isReplay);
  for (const trace of grouped(live)) {
    for (const root of treesOf(trace)) {
      if (root.span.causationId === '') visit(root, undefined);
      else unplaced += weightOf([root.span]);
    }
  }
  const rows = [...paths.values()].map((taken): FlowPath => {
    const { path, parent } = taken;
    const { bundle, component, messageKind } = taken.spans[0]!;
    const messages = weightOf(taken.spans);
    const before = parent === undefined ? messages : weightOf(parent.spans);
    const failed = weightOf(taken.spans.filter(({ status }) => status === 'error'));
    return {
      ...{ path, bundle, component, messageKind },
      messages: messages / share,
      perSecond: messages / share / seconds,
      perMessage: messages / before,
      probability: parent === undefined ? 1 : Math.min(1, taken.causing / before),
      errorRate: failed / messages,
      queue: quantilesOf(taken.spans, ({ queueUs }) => queueUs),
      service: quantilesOf(taken.spans, ({ handleUs }) => handleUs),
      commit: quantilesOf(taken.spans, ({ commitUs }) => commitUs),
    };
  });
  return { paths: rows.sort((a, b) => b.messages - a.messages).slice(0, maxPaths), unplaced: unplaced / share };
}

const weightOf = (spans: readonly TraceSpan[]): number => spans.reduce((sum, { weight }) => sum + weight, 0);

function grouped(spans: readonly TraceSpan[]): Iterable<readonly TraceSpan[]> {
  const traces = new Map<string, TraceSpan[]>();
  for (const span of spans) {
    const known = traces.get(span.traceId);
    if (known === undefined) traces.set(span.traceId, [span]);
    else known.push(span);
  }
  return traces.values();
}

function quantilesOf(spans: readonly TraceSpan[], of: (span: TraceSpan) => number): Quantiles {
  const sorted = spans.map((span) => ({ value: of(span) / 1000, weight: span.weight })).sort((a, b) => a.value - b.value);
  const total = sorted.reduce((sum, { weight }) => sum + weight, 0);
  const at = (level: number): number => {
    let below = 0;
    for (const { value, weight } of sorted) {
      below += weight;
      if (below >= level * total) return value;
    }
    return sorted.at(-1)?.value ?? 0;
  };
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}
