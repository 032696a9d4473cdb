import type { Interaction } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import { z } from 'zod';

const node = z.object({
  id: z.string(),
  kind: z.enum(['bundle', 'component', 'payload', 'outside']).describe('outside: what no bundle declares, such as the gateway'),
  name: z.string(),
  type: z.string().optional().describe('Kind of the component or of the payload'),
  bundle: z.string().optional().describe('Of a component: the bundle that holds it'),
});
const edge = z.object({
  from: z.string(),
  to: z.string(),
  kind: z.enum(['sends', 'handles']),
  declared: z.boolean(),
  lastSeenAt: z.iso.datetime().nullable().describe('null: never'),
  drift: z.enum(['never-seen', 'undeclared']).nullable().describe('Where what was declared and what was seen differ'),
});
/** Who sends and handles what. */
export const graphView = z.object({ nodes: z.array(node), edges: z.array(edge) });
export type Graph = z.infer<typeof graphView>;
type Edge = z.infer<typeof edge>;

const componentId = (bundle: string, name: string): string => `component:${bundle}/${name}`;
const payloadId = (type: string): string => `payload:${type}`;

/** Joins what descriptors declare with what was seen. That something is sent shows only where somebody handles it. */
export function graphOf(registry: Pick<Registry, 'bundles' | 'components' | 'payloads'>, seen: Iterable<Interaction>): Graph {
  const nodes = new Map<string, Graph['nodes'][number]>();
  const edges = new Map<string, Edge>();
  const edgeOf = (from: string, to: string, kind: Edge['kind'], rest: Pick<Edge, 'declared'>): void => {
    edges.set(`${kind} ${from} ${to}`, { from, to, kind, lastSeenAt: null, drift: null, ...rest });
  };
  const payloadNode = (type: string, kind?: string): string => {
    const id = payloadId(type);
    if (!nodes.has(id)) nodes.set(id, { id, kind: 'payload', name: type, ...(kind === undefined ? {} : { type: kind }) });
    return id;
  };

  // 1. What is declared.
  for (const { id } of registry.bundles()) nodes.set(`bundle:${id}`, { id: `bundle:${id}`, kind: 'bundle', name: id });
  for (const { type, kind } of registry.payloads()) payloadNode(type, kind);
  const handled = new Set(registry.components().flatMap(({ handles }) => handles));
  for (const { bundle, name, kind, handles, sends } of registry.components()) {
    const id = componentId(bundle, name);
    nodes.set(id, { id, kind: 'component', name, type: kind, bundle });
    for (const type of handles) edgeOf(payloadNode(type), id, 'handles', { declared: true });
    for (const type of sends) edgeOf(id, payloadNode(type), 'sends', { declared: true });
  }

  // 2. What was seen.
  const see = (from: string, to: string, kind: Edge['kind'], at: number): void => {
    const key = `${kind} ${from} ${to}`;
    const known = edges.get(key);
    if (known === undefined) edgeOf(from, to, kind, { declared: false });
    const before = known?.lastSeenAt ?? null;
    const lastSeenAt = before === null || Date.parse(before) < at ? new Date(at).toISOString() : before;
    edges.set(key, { ...edges.get(key)!, lastSeenAt });
  };
  const senderNode = (source: string): string => {
    const [bundle, name] = source.split('/', 2) as [string, string?];
    for (const id of [...(name === undefined ? [] : [componentId(bundle, name)]), `bundle:${source}`]) if (nodes.has(id)) return id;
    const id = `outside:${source}`;
    nodes.set(id, { id, kind: 'outside', name: source });
    return id;
  };
  for (const { source, payloadType, messageKind, bundle, component, lastSeenAt } of seen) {
    const id = componentId(bundle, component);
    if (!nodes.has(id)) nodes.set(id, { id, kind: 'component', name: component, bundle });
    const payload = payloadNode(payloadType, messageKind);
    see(payload, id, 'handles', lastSeenAt);
    if (source !== '') see(senderNode(source), payload, 'sends', lastSeenAt);
  }

  // 3. Where they differ. Whoever is outside, or a whole bundle, has declared nothing that could be kept.
  const drift = ({ from, to, kind, declared, lastSeenAt }: Edge): Edge['drift'] => {
    const visible = kind === 'handles' || handled.has(nodes.get(to)?.name ?? '');
    if (declared) return lastSeenAt === null && visible ? 'never-seen' : null;
    return kind === 'handles' || nodes.get(from)?.kind === 'component' ? 'undeclared' : null;
  };
  return { nodes: [...nodes.values()], edges: [...edges.values()].map((each) => ({ ...each, drift: drift(each) })) };
}
