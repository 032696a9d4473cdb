import { SpoolError } from '@spool/schemas';
import type { Graph, InternalTopic, Node } from './graph.js';
import { nullable, untyped, type AnySerde } from './serde.js';

export interface AnyKeyValue {
  readonly key: AnySerde;
  readonly value: AnySerde;
}

/** Decodes the records of a topic. What is not of the declared types is parked by what is thrown here. */
export function addSource(graph: Graph, topic: string, serdes: AnyKeyValue, name?: string, internal?: InternalTopic): Node {
  return graph.add({
    kind: 'source',
    name,
    topic,
    ...(internal === undefined ? {} : { internal }),
    async open(scope, out, node) {
      const actual = scope.topicName(node);
      const key = reader(await scope.open(serdes.key, actual), 'key', actual);
      const value = reader(await scope.open(serdes.value, actual), 'value', actual);
      scope.addSource(actual, (record) => {
        const k = key(record.key);
        const v = value(record.value);
        if (k instanceof Promise || v instanceof Promise) return Promise.all([k, v]).then(([of, to]) => out(of, to, record));
        return out(k, v, record);
      });
      return [];
    },
  });
}

function reader(serde: AnySerde, part: string, topic: string): (bytes: Buffer | null) => unknown {
  return (bytes) => {
    if (bytes !== null) return serde.decode(bytes);
    if (serde.nullable === true) return null;
    throw new SpoolError('RECORD_UNREADABLE', `a record of ${topic} has no ${part}; declare its serde as nullable(…) to take it`);
  };
}

interface SinkOptions {
  readonly name?: string | undefined;
  readonly internal?: InternalTopic;
  /** State by key has no use for them. */
  readonly dropNullKeys?: boolean;
}

export function addSink(graph: Graph, parent: Node, topic: string, serdes: AnyKeyValue, options: SinkOptions = {}): Node {
  const { name, internal, dropNullKeys = false } = options;
  return graph.add({
    kind: 'sink',
    name,
    topic,
    parents: [parent],
    ...(internal === undefined ? {} : { internal }),
    async open(scope, _out, node) {
      const actual = scope.topicName(node);
      const key = await scope.open(serdes.key, actual);
      const value = await scope.open(serdes.value, actual);
      return [
        (k, v, { timestamp, headers }) => {
          if (k === null && dropNullKeys) return scope.skip();
          scope.context.emit({
            topic: actual,
            key: k === null ? null : key.encode(k),
            value: v === null || v === undefined ? null : value.encode(v),
            headers,
            timestamp,
          });
        },
      ];
    },
  });
}

/** Writes to a topic of the topology's own and reads it again, so that equal keys meet. */
export function addRepartition(
  graph: Graph,
  parent: Node,
  name: string,
  { key, value }: AnyKeyValue,
  options: { readonly partitions?: number | undefined; readonly dropNullKeys?: boolean } = {},
): Node {
  const topic = `${graph.name}.${name}.repartition`;
  const internal = { partitions: options.partitions };
  const dropNullKeys = options.dropNullKeys ?? false;
  addSink(graph, parent, topic, { key, value }, { name: `${name}.to`, internal, dropNullKeys });
  return addSource(graph, topic, { key: untyped(nullable(key)), value: untyped(nullable(value)) }, `${name}.from`, internal);
}
