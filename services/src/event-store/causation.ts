import type { Flow, HandledMessage, IndexedEvent } from '../telemetry/index.js';

/** A message of a flow. */
export interface FlowNode {
  readonly kind: string;
  readonly id: string;
  /** Null for a message that is known from what it caused alone. */
  readonly type: string | null;
  /** The message that caused it; null for the first. It may lie outside of the flow. */
  readonly causationId: string | null;
  /** 0 for those that nothing of the flow caused. */
  readonly depth: number;
  /** Of an event when it was decided, else when its handling began; milliseconds since the epoch. */
  readonly at: number;
  /** Who wrote the event, or handled the message. */
  readonly bundle: string | null;
  readonly component: string | null;
  readonly aggregateId: string | null;
  /** Of an event. */
  readonly event: Pick<IndexedEvent, 'aggregateType' | 'version' | 'topic' | 'partition' | 'offset' | 'payload'> | null;
  /** In the order of time. */
  readonly handledBy: readonly Handling[];
}
export type Handling = Omit<HandledMessage, 'messageKind' | 'messageId' | 'causationId' | 'type' | 'aggregateId'>;

type Loose = Omit<FlowNode, 'depth' | 'handledBy'>;

/** The messages of a flow as a tree, written down so that each stands behind its cause: depth first, and in the order of time among siblings. */
export function causationTree({ events, messages }: Pick<Flow, 'events' | 'messages'>): readonly FlowNode[] {
  const nodes = new Map<string, Loose>();
  const handled = new Map<string, Handling[]>();
  for (const event of events) nodes.set(event.id, nodeOfEvent(event));
  for (const { messageKind, messageId, causationId, type, aggregateId, ...handling } of messages) {
    if (messageId === '') continue;
    const known = handled.get(messageId);
    if (known === undefined) handled.set(messageId, [handling]);
    else known.push(handling);
    if (nodes.has(messageId)) continue;
    const { at, bundle, component } = handling;
    nodes.set(messageId, {
      kind: messageKind,
      id: messageId,
      type,
      causationId: nullable(causationId),
      at,
      bundle,
      component,
      aggregateId: nullable(aggregateId),
      event: null,
    });
  }
  // A command whose span was left out, or has been dropped by age, is known from its events.
  for (const { commandId, at, source, aggregateId } of events) {
    if (commandId === '' || nodes.has(commandId)) continue;
    nodes.set(commandId, {
      kind: 'command',
      id: commandId,
      type: null,
      causationId: null,
      at,
      ...writerOf(source),
      aggregateId,
      event: null,
    });
  }
  return flattened(nodes, handled);
}

function flattened(nodes: ReadonlyMap<string, Loose>, handled: ReadonlyMap<string, readonly Handling[]>): readonly FlowNode[] {
  const children = new Map<string, Loose[]>();
  const roots: Loose[] = [];
  for (const node of [...nodes.values()].sort((a, b) => a.at - b.at)) {
    const cause = node.causationId !== null && nodes.has(node.causationId) ? node.causationId : undefined;
    const siblings = cause === undefined ? roots : (children.get(cause) ?? []);
    if (cause !== undefined) children.set(cause, siblings);
    siblings.push(node);
  }
  const placed = new Set<string>();
  const tree: FlowNode[] = [];
  // By hand and not by recursion: a saga that goes on for long makes a deep tree.
  const walk = (root: Loose): void => {
    const open = [{ node: root, depth: 0 }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { node, depth } = next;
      if (placed.has(node.id)) continue;
      placed.add(node.id);
      tree.push({ ...node, depth, handledBy: handled.get(node.id) ?? [] });
      for (const child of (children.get(node.id) ?? []).toReversed()) open.push({ node: child, depth: depth + 1 });
    }
  };
  roots.forEach(walk);
  // What claims to cause itself, over whatever way, is under no root.
  for (const node of nodes.values()) if (!placed.has(node.id)) walk(node);
  return tree;
}

const nodeOfEvent = (event: IndexedEvent): Loose => {
  const { id, type, at, aggregateId, aggregateType, version, topic, partition, offset, payload } = event;
  return {
    kind: 'event',
    id,
    type,
    causationId: nullable(event.causationId),
    at,
    ...writerOf(event.source),
    aggregateId,
    event: { aggregateType, version, topic, partition, offset, payload },
  };
};

/** `<bundle>/<component>`; a part of the platform has a name alone. */
function writerOf(source: string): { readonly bundle: string | null; readonly component: string | null } {
  const [bundle = '', component = ''] = source.split('/');
  return { bundle: nullable(bundle), component: nullable(component) };
}
const nullable = (text: string): string | null => (text === '' ? null : text);
