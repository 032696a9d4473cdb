import { SpoolError } from '@spool/schemas';
import type { Node } from './graph.js';
import type { Part } from './parts.js';

/** A topic of the topology's own carries the namespace; others are named as they are. */
export const actualTopic = ({ topic, internal }: Node, namespace: string): string => (internal === undefined ? '' : namespace) + topic!;

/**
 * How many partitions each topic that is read has. Those of the topology's own have as many as what they are joined with, else as they declare, else
 * as the largest source of who writes them.
 * @param counts of the topics from outside
 * @throws SpoolError INVALID_CONFIG with every join of topics that are not partitioned alike
 */
export function planPartitions(parts: readonly Part[], counts: ReadonlyMap<string, number>, namespace = ''): ReadonlyMap<string, number> {
  const planned = new Map(counts);
  const problems: string[] = [];
  const nameOf = (node: Node): string => actualTopic(node, namespace);
  const of = (node: Node): number | undefined => planned.get(nameOf(node));
  const known = (of: readonly (number | undefined)[]): number[] => [...new Set(of.filter((count) => count !== undefined))];

  // 1. What is joined has one count: that of the topics from outside, else the declared one.
  const apart = parts.flatMap(({ sources, together }) => {
    const grouped = new Set(together.flat());
    return [...together, ...sources.filter((source) => !grouped.has(source)).map((source) => [source])];
  });
  for (const group of apart) {
    const declared = group.map(({ internal }) => internal?.partitions);
    const found = known([...group.map(of), ...declared]);
    if (found.length > 1) {
      const each = group.map((node) => `${nameOf(node)} (${node.internal === undefined ? of(node) : (node.internal.partitions ?? 'any')})`);
      problems.push(
        `${[...new Set(each)].join(' and ')} meet by key and need the same number of partitions; put a repartition before the join`,
      );
    }
    if (found[0] !== undefined) for (const node of group) planned.set(nameOf(node), of(node) ?? found[0]);
  }
  if (problems.length > 0) throw new SpoolError('INVALID_CONFIG', problems.join('; '));

  // 2. The rest goes by who writes it; a part that writes to itself goes by its other sources.
  const writers = (topic: string): readonly Part[] => parts.filter(({ sinks }) => sinks.some((sink) => nameOf(sink) === topic));
  for (let round = 0; round <= apart.length; round++) {
    for (const group of apart.filter(([first]) => of(first!) === undefined)) {
      const sources = group.flatMap((node) => writers(nameOf(node))).flatMap((part) => part.sources);
      const upstream = sources.map(of);
      // Later rounds take what is known by then, so that a loop ends.
      if (upstream.includes(undefined) && round < apart.length) continue;
      for (const node of group) planned.set(nameOf(node), Math.max(1, ...known(upstream)));
    }
  }
  return planned;
}

/** The number of tasks of a part. */
export const tasksOf = ({ sources }: Part, planned: ReadonlyMap<string, number>, namespace = ''): number =>
  Math.max(...sources.map((source) => planned.get(actualTopic(source, namespace))!));
