import type { Graph, Node } from './graph.js';
import type { KeySerde, ValueSerde } from './serde.js';

export interface RepartitionPlace<K, V> {
  readonly graph: Graph;
  readonly node: Node;
  readonly key: KeySerde<K>;
  readonly value: ValueSerde<V>;
  readonly name: string | undefined;
}

/**
 * Sends records through a topic of the topology's own, so that equal keys meet in one partition; what follows runs in other tasks. A record
 * without a key goes to none of them and is dropped.
 */
export function repartitioned<K, V>({ graph, node, key, value, name = `repartition-${graph.nodes.length}` }: RepartitionPlace<K, V>): Node {
  const topic = `${name}.repartition`;
  const sink = graph.add<K | null, V | undefined, never, never>(
    { kind: 'repartition', name: `${name}-sink`, parents: [node] },
    async (_, workshop) => {
      const target = workshop.ownTopic(topic);
      const values = await workshop.open(value, target);
      return (of, row, run) => {
        if (of === null || row === undefined) workshop.dropped.nulls += 1;
        else
          run.task.emit({ topic: target, key: key.encode(of), value: values.encode(row), timestamp: run.timestamp, headers: run.headers });
      };
    },
  );
  const source = {
    topic,
    key: key as KeySerde<unknown>,
    value: value as ValueSerde<unknown>,
    nulls: 'skip' as const,
    repartitions: sink.part,
  };
  return graph.addSource(source, `${name}-source`, 'repartition');
}
