import type { FlowNode } from './causation.js';
import type { EventStore, Step } from './event-store.js';

/**
 * The messages of a flow one behind the other: by time, each behind the one that caused it and behind the earlier events of its aggregate, whatever
 * the clocks of their owners said.
 */
export function inCausalOrder(nodes: readonly FlowNode[]): readonly FlowNode[] {
  const causes = new Map<FlowNode, FlowNode[]>();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const last = new Map<string, FlowNode>();
  for (const node of [...nodes].sort((a, b) => (a.event?.version ?? 0) - (b.event?.version ?? 0))) {
    const before = node.event === null ? undefined : last.get(streamOf(node));
    if (node.event !== null) last.set(streamOf(node), node);
    causes.set(
      node,
      [byId.get(node.causationId ?? ''), before].filter((cause) => cause !== undefined),
    );
  }
  const seen = new Set<FlowNode>();
  const ordered: FlowNode[] = [];
  for (const node of [...nodes].sort((a, b) => a.at - b.at)) {
    // By hand and not by recursion, as the tree. What claims to cause itself, over whatever way, is met on the way and passed over.
    const open = seen.has(node) ? [] : [node];
    for (let next = open.at(-1); next !== undefined; next = open.at(-1)) {
      seen.add(next);
      const missing = causes.get(next)!.find((cause) => !seen.has(cause));
      if (missing === undefined) ordered.push(open.pop()!);
      else open.push(missing);
    }
  }
  return ordered;
}
const streamOf = ({ event, aggregateId }: FlowNode): string => `${event!.aggregateType}/${aggregateId ?? ''}`;

/** A message of a flow, and what it did to the state of its aggregate; null for what is no event of an aggregate. */
export interface FlowStep {
  readonly node: FlowNode;
  readonly step: Step | null;
}

/**
 * The steps of messages that are in causal order: one fold for each of their aggregates. The first ones alone when states are large, at least one.
 * @param ofAggregate whether there is such an aggregate: services and sagas have no state that their events are folded into
 */
export async function flowSteps(
  nodes: readonly FlowNode[],
  store: Pick<EventStore, 'walk'>,
  ofAggregate: (type: string) => boolean,
  deadline: number,
): Promise<readonly FlowStep[]> {
  const changing = nodes.filter(({ event }) => event !== null && ofAggregate(event.aggregateType));
  const streams = new Map<string, FlowNode[]>();
  for (const node of changing) streams.set(streamOf(node), [...(streams.get(streamOf(node)) ?? []), node]);
  const steps = new Map<FlowNode, Step>();
  await Promise.all(
    [...streams.values()].map(async (events) => {
      const { event, aggregateId } = events[0]!;
      const versions = events.map((each) => each.event!.version);
      const walked = await store.walk({ aggregateType: event!.aggregateType, aggregateId: aggregateId!, versions, deadline });
      for (const step of walked) steps.set(events[versions.indexOf(step.version)]!, step);
    }),
  );
  const untold = changing.find((node) => !steps.has(node));
  return nodes.slice(0, untold === undefined ? undefined : nodes.indexOf(untold)).map((node) => ({ node, step: steps.get(node) ?? null }));
}
