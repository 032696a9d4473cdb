import { createMemoryStore, topicCatalogue, type Kafka, type Producer, type Store } from '@spool/streams';
import { createEndpoint, type Endpoint } from '../endpoint/endpoint.js';
import type { Peer } from './lane.js';
import { openNodeOf, type Node, type NodeOptions } from './nodes.js';

/** Nodes of one test: the cluster as they see it is a map. */
export interface TestCluster extends AsyncDisposable {
  way: 'kafka' | 'http';
  readonly peers: Map<string, Peer>;
  /** @param store what a former run has left */
  start(node: string, options?: NodeOptions & { readonly run?: string; readonly store?: Store }): Promise<TestNode>;
}
export interface TestNode {
  readonly node: Node;
  /** As kill -9 would: it is gone, and nobody has been told. */
  kill(): Promise<void>;
}

const key = 'k'.repeat(32);
let runs = 0;

export function testCluster(kafka: Kafka, namespace = ''): TestCluster {
  const topics = topicCatalogue({ namespace });
  const peers = new Map<string, Peer>();
  const opened = new Set<{ readonly node: Node; readonly endpoint: Endpoint; readonly producer: Producer }>();
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  const cluster: TestCluster = {
    way: 'kafka',
    peers,
    async start(name, { run = `run-${runs++}`, store = createMemoryStore(), ...options } = {}) {
      const producer = await kafka.producer();
      peers.set(name, { up: true, run, location: undefined });
      const log = (): void => undefined;
      const onLocation = (url: string | null): void => void peers.set(name, { up: url !== null, run, location: url ?? undefined });
      const self = { instance: name, bundle: 'shop', payloads: [] };
      const endpoint = createEndpoint({ key, self, dataDir: '', now: Date.now, log, onLocation });
      const watched = {
        get: (id: string) => peers.get(id),
        onChange: (listener: () => void) => (listeners.add(listener), () => listeners.delete(listener)),
      };
      const direct = (): boolean => cluster.way === 'http';
      const parts = { node: name, run, kafka, topics, producer, store, peers: watched, direct, endpoint, now: Date.now, log };
      const node = await openNodeOf(parts, { lookEveryMs: 20, ...options });
      const each = { node, endpoint, producer };
      opened.add(each);
      changed();
      return {
        node,
        async kill() {
          opened.delete(each);
          await endpoint.close();
          await node.close();
          await producer.close();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const { endpoint } of opened) await endpoint.close();
      for (const { node, producer } of opened) {
        await node.close();
        await producer.close();
      }
    },
  };
  return cluster;
}
