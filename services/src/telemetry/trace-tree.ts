/** A handled message as the figures need it; times in microseconds. */
export interface TraceSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly messageId: string;
  readonly causationId: string;
  /** Who sent the message: `<bundle>/<component>`, or a part of the platform; empty where unknown. */
  readonly source: string;
  readonly bundle: string;
  readonly instance: string;
  readonly component: string;
  readonly handler: string;
  readonly messageKind: string;
  readonly payloadType: string;
  readonly aggregateId: string;
  readonly startedAt: number;
  readonly queueUs: number;
  readonly handleUs: number;
  readonly commitUs: number;
  readonly totalUs: number;
  readonly status: string;
  readonly outcome: string;
  readonly errorClass: string;
  readonly isReplay: boolean;
  readonly weight: number;
}

export interface TraceNode {
  readonly span: TraceSpan;
  readonly children: readonly TraceNode[];
}

/**
 * The messages of one trace as a tree: below the handling of a message stands what was caused by it. Where several handled the same message, the one
 * that the effect names as its source is its parent. What has no known cause is a root, and so is the first span of a circle.
 */
export function treesOf(spans: readonly TraceSpan[]): readonly TraceNode[] {
  const ordered = spans.toSorted((a, b) => a.startedAt - b.startedAt);
  const byMessage = new Map<string, TraceSpan[]>();
  const bySpan = new Map<string, TraceSpan>();
  for (const span of ordered) {
    const known = byMessage.get(span.messageId);
    if (known === undefined) byMessage.set(span.messageId, [span]);
    else known.push(span);
    bySpan.set(span.spanId, span);
  }
  const parentOf = (span: TraceSpan): TraceSpan | undefined => {
    if (span.causationId === '') return bySpan.get(span.parentSpanId);
    const candidates = (byMessage.get(span.causationId) ?? []).filter((each) => each !== span);
    return (
      candidates.find((each) => isFrom(each, span) && !each.isReplay) ??
      candidates.find((each) => isFrom(each, span)) ??
      candidates.find((each) => !each.isReplay) ??
      candidates[0]
    );
  };
  const children = new Map<TraceSpan, TraceSpan[]>();
  const parents = new Map<TraceSpan, TraceSpan>();
  const roots: TraceSpan[] = [];
  for (const span of ordered) {
    const parent = parentOf(span);
    if (parent === undefined || descends(parent, span, parents)) {
      roots.push(span);
      continue;
    }
    parents.set(span, parent);
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [span]);
    else siblings.push(span);
  }
  const nodeOf = (span: TraceSpan): TraceNode => ({ span, children: (children.get(span) ?? []).map(nodeOf) });
  return roots.map(nodeOf);
}

const isFrom = ({ bundle, component }: TraceSpan, { source }: TraceSpan): boolean => source === `${bundle}/${component}`;

function descends(from: TraceSpan, ancestor: TraceSpan, parents: ReadonlyMap<TraceSpan, TraceSpan>): boolean {
  for (let at: TraceSpan | undefined = from; at !== undefined; at = parents.get(at)) if (at === ancestor) return true;
  return false;
}
