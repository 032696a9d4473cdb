import { SpoolError } from '@spool/schemas';
import type { Node } from './graph.js';

/** What runs as one processor: nodes that are joined by edges or share a store. Topics of the topology lie between the parts. */
export interface Part {
  /** `<topology>.<n>`, counted in the order of declaration. */
  readonly consumer: string;
  readonly nodes: readonly Node[];
  /** Without the namespace for internal ones. */
  readonly sources: readonly Node[];
  readonly sinks: readonly Node[];
  /** Sources that need the same number of partitions, since state by key stands behind them. */
  readonly together: readonly (readonly Node[])[];
}

/** Sets that grow together. */
function unions<T>(): { join(a: T, b: T): void; find(of: T): T } {
  const above = new Map<T, T>();
  const find = (of: T): T => {
    let at = of;
    for (let next = above.get(at); next !== undefined; next = above.get(at)) at = next;
    return at;
  };
  return {
    find,
    join(a, b) {
      const [first, second] = [find(a), find(b)];
      if (first !== second) above.set(second, first);
    },
  };
}

function grouped<T>(items: readonly T[], find: (of: T) => T): T[][] {
  const groups = new Map<T, T[]>();
  for (const item of items) {
    const group = groups.get(find(item));
    if (group === undefined) groups.set(find(item), [item]);
    else group.push(item);
  }
  return [...groups.values()];
}

/** @throws SpoolError INVALID_CONFIG when nothing is read */
export function partsOf(name: string, nodes: readonly Node[]): readonly Part[] {
  const sets = unions<Node>();
  const owners = new Map<string, Node>();
  for (const node of nodes) {
    for (const parent of node.parents) sets.join(parent, node);
    for (const store of node.stores) {
      const owner = owners.get(store.name);
      if (owner === undefined) owners.set(store.name, node);
      else sets.join(owner, node);
    }
  }
  if (nodes.length === 0) throw new SpoolError('INVALID_CONFIG', `${name}: a topology needs a source`);
  return grouped(nodes, (node) => sets.find(node)).map((members, index) => ({
    consumer: `${name}.${index}`,
    nodes: members,
    sources: members.filter(({ kind }) => kind === 'source'),
    sinks: members.filter(({ kind }) => kind === 'sink'),
    together: coPartitioned(members),
  }));
}

function coPartitioned(members: readonly Node[]): readonly (readonly Node[])[] {
  const sets = unions<Node>();
  const above = new Map<Node, ReadonlySet<Node>>();
  const byStore = new Map<string, Node>();
  const keyed = new Set<Node>();
  for (const node of members) {
    const sources = new Set(node.kind === 'source' ? [node] : node.parents.flatMap((parent) => [...above.get(parent)!]));
    above.set(node, sources);
    if (!node.keyed) continue;
    const [first] = sources;
    if (first === undefined) continue;
    for (const source of sources) {
      keyed.add(source);
      sets.join(first, source);
    }
    for (const { name } of node.stores) {
      const other = byStore.get(name);
      if (other === undefined) byStore.set(name, first);
      else sets.join(other, first);
    }
  }
  return grouped([...keyed], (node) => sets.find(node));
}

export interface Description {
  readonly name: string;
  readonly parts: readonly {
    readonly consumer: string;
    readonly sources: readonly string[];
    readonly stores: readonly string[];
    readonly sinks: readonly string[];
    readonly nodes: readonly {
      readonly name: string;
      readonly kind: string;
      readonly topic?: string;
      readonly parents: readonly string[];
    }[];
  }[];
}

export const describeParts = (name: string, parts: readonly Part[]): Description => ({
  name,
  parts: parts.map(({ consumer, nodes, sources, sinks }) => ({
    consumer,
    sources: [...new Set(sources.map(({ topic }) => topic!))],
    stores: [...new Set(nodes.flatMap(({ stores }) => stores.map((store) => store.name)))],
    sinks: [...new Set(sinks.map(({ topic }) => topic!))],
    nodes: nodes.map((node) => ({
      name: node.name,
      kind: node.kind,
      ...(node.topic === undefined ? {} : { topic: node.topic }),
      parents: node.parents.map((parent) => parent.name),
    })),
  })),
});

/** One line for each node, with what it reads from. */
export const describeText = ({ name, parts }: Description): string =>
  [
    `topology ${name}`,
    ...parts.flatMap(({ consumer, stores, nodes }) => [
      `  ${consumer}${stores.length === 0 ? '' : ` (stores: ${stores.join(', ')})`}`,
      ...nodes.map((node) => {
        const from = node.parents.length === 0 ? '' : ` <- ${node.parents.join(', ')}`;
        return `    ${node.name}${node.kind === node.name ? '' : ` [${node.kind}]`}${node.topic === undefined ? '' : ` ${node.topic}`}${from}`;
      }),
    ]),
  ].join('\n');
