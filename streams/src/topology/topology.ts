import { SpoolError } from '@spool/schemas';
import { Graph, type Part, type Source } from './graph.js';
import type { KeySerde, ValueSerde } from './serde.js';
import { streamOf, type Stream } from './stream.js';
import { materialize, storedRow, tableOf, type Change, type Table } from './table.js';

export interface SourceOptions<K, V> {
  readonly key: KeySerde<K>;
  readonly value: ValueSerde<V>;
  /** Of the node, and of a table's store. @default from its place in the declaration */
  readonly name?: string;
}

export interface TopologyBuilder {
  /** Records as they come; those with a null value are passed over. Records without a key have the key null. */
  stream<K, V>(topic: string, options: SourceOptions<K, V>): Stream<K, V>;
  /** The last value of each key; a null value deletes. */
  table<K, V>(topic: string, options: SourceOptions<K, V>): Table<K, V>;
}

/** What is declared: it holds nothing and runs nothing. */
export interface Topology {
  /** Begins the names of its consumers and of its own topics. */
  readonly name: string;
  readonly graph: Graph;
  /** Nodes by the tasks that they run in, as text: for people, and for tests that names stay as they are. */
  describe(): string;
}

/**
 * Declares a topology of streams and tables.
 * @example topology('words', ({ stream }) => stream('lines', { key: string, value: string }).flatMapValues((line) => line.split(' ')) …)
 */
export function topology(name: string, declare: (builder: TopologyBuilder) => void): Topology {
  const graph = new Graph(name);
  const source = <K, V>(topic: string, { key, value, name: given }: SourceOptions<K, V>, nulls: Source['nulls'], kind: string) =>
    graph.addSource({ topic, key: key, value: value, nulls, repartitions: undefined }, given, kind);
  declare({
    stream: (topic, options) => streamOf({ graph, node: source(topic, options, 'skip', 'stream'), ...options, rekeyed: false }),
    table<K, V>(topic: string, options: SourceOptions<K, V>) {
      const { key, value, name: given = `table-${graph.nodes.length}` } = options;
      const node = source(topic, { ...options, name: `${given}-source` }, 'delete', 'table');
      const store = { name: given, value: value as ValueSerde<unknown> };
      const rows = graph.add<K | null, V | undefined, K, Change<V>>(
        { kind: 'table', name: given, parents: [node], stores: [store] },
        (next, { dropped }) => {
          const put = materialize<K, V>(store, key, next);
          return (of, row, run) => {
            if (of !== null) return put(of, row, run);
            dropped.nulls += 1;
          };
        },
      );
      return tableOf<K, V>({ graph, node: rows, key, value, get: storedRow(store, key) });
    },
  });
  return { name, graph, describe: () => describe(graph) };
}

/** The parts that run in tasks of their own, in the order of their first sources. */
export function partsOf(graph: Graph): readonly Part[] {
  return [...new Set(graph.sources.map(({ node }) => node.part.root))];
}

/** The consumer whose tasks hold a store. @throws SpoolError INVALID_REQUEST where the topology declares no such store */
export function consumerOf({ name, graph }: Topology, store: string, namespace: string): string {
  const part = graph.nodes.find(({ stores }) => stores.some((one) => one.name === store))?.part.root;
  if (part === undefined) throw new SpoolError('INVALID_REQUEST', `topology ${name} has no store ${store}`);
  return `${namespace}${name}.${partsOf(graph).indexOf(part)}`;
}

function describe(graph: Graph): string {
  return partsOf(graph)
    .map((part, index) => {
      const lines = graph.nodes
        .filter((node) => node.part.root === part)
        .map(({ name, kind, children, stores }) => {
          const source = graph.sources.find(({ node }) => node.name === name);
          const sink = graph.sinks.find(({ node }) => node.name === name);
          const topic = source === undefined ? (sink === undefined ? '' : ` > ${sink.topic}`) : ` < ${source.topic}`;
          const kept = stores.length === 0 ? '' : ` [${stores.map((store) => store.name).join(', ')}]`;
          const to = children.length === 0 ? '' : ` -> ${children.map((child) => child.name).join(', ')}`;
          return `  ${name === kind || name.startsWith(`${kind}-`) ? name : `${name} (${kind})`}${topic}${kept}${to}`;
        });
      return [`part ${index}`, ...lines].join('\n');
    })
    .join('\n');
}
