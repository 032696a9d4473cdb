import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { openInstance, type Instance } from '../../instance/instance.js';
import { connectKafka } from '../../kafka/kafkajs/connect.js';
import type { ConsumedRecord, Kafka, ProducerRecord } from '../../kafka/port.js';
import { topicCatalogue } from '../../topics/topics.js';
import { runTopology, type RunningTopology, type RunTopologyOptions } from '../run.js';
import type { KeyValue } from '../serde.js';
import type { Topology } from '../topology.js';

export { until } from '@spool/schemas/testing';

/** `[topic, key, value, timestamp]`; null stands for no key and for a tombstone. */
export type Feed = readonly [topic: string, key: string | null, value: string | null, timestamp?: number];

/** A broker with two instances that scenarios share; each has topics and a topology of its own. */
export interface Stage extends AsyncDisposable {
  readonly kafka: Kafka;
  readonly folder: string;
  /** A fresh name for a topology, and the front of its topics' names. */
  name(): string;
  topics(partitions: number, ...names: readonly string[]): Promise<void>;
  /** In this order. */
  send(feeds: readonly Feed[]): Promise<void>;
  /** @param on the number of the instance @default 0 */
  run<Q>(topology: Topology<Q>, options?: RunTopologyOptions & { readonly on?: 0 | 1 }): Promise<RunningTopology<Q>>;
  /** What is committed in a topic, as `key:value@timestamp`, partition by partition. */
  shown<K, V>(topic: string, serdes: KeyValue<K, V>): Promise<string[]>;
  /** The last value of each key. */
  latest<K, V>(topic: string, serdes: KeyValue<K, V>): Promise<Record<string, V | null>>;
  /** @param isolation @default 'read_committed' */
  records(topic: string, isolation?: 'read_uncommitted'): Promise<readonly ConsumedRecord[]>;
  /** Where an instance keeps the stores of a consumer. */
  storesOf(consumer: string, on?: 0 | 1): string;
  /** Closes what scenarios have run; the instances stay. */
  clear(): Promise<void>;
}

export async function openStage(brokers: readonly string[]): Promise<Stage> {
  const kafka = await connectKafka({ brokers, clientId: 'conformance' });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ namespace: '' });
  const folder = mkdtempSync(join(tmpdir(), 'spool-conformance-'));
  const producer = await kafka.producer();
  const id = randomUUID().slice(0, 8);
  const instances: (Promise<Instance> | undefined)[] = [];
  const running: RunningTopology<unknown>[] = [];
  let scenarios = 0;
  const instance = (on: 0 | 1): Promise<Instance> =>
    (instances[on] ??= openInstance({
      kafka,
      codec,
      topics,
      bundle: 'conformance',
      version: '1',
      instance: `conformance-${id}-${on}`,
      dataDir: folder,
      log: () => undefined,
      now: Date.now,
    }));
  const records = async (topic: string, isolation: 'read_committed' | 'read_uncommitted' = 'read_committed'): Promise<ConsumedRecord[]> => {
    const found: ConsumedRecord[] = [];
    await using reader = await kafka.reader({ isolation });
    const partitions = (await kafka.admin.offsets(topic)).map(({ partition }) => partition);
    for (const partition of partitions) {
      reader.assign({ topic, partition }, 'earliest');
      // To the high watermark: a transaction that has been committed is open to readers a moment later.
      for (let done = false; !done;) {
        for (const { records: read, nextOffset, highWatermark } of await reader.fetch()) {
          found.push(...read);
          done = nextOffset >= highWatermark;
        }
      }
      reader.unassign({ topic, partition });
    }
    return found;
  };
  const decoded = async <K, V>(topic: string, { key, value }: KeyValue<K, V>) =>
    Promise.all(
      (await records(topic)).map(async (record) => ({
        key: record.key === null ? null : await key.decode(record.key),
        value: record.value === null ? null : await value.decode(record.value),
        timestamp: record.timestamp,
      })),
    );
  const clear = async (): Promise<void> => {
    await Promise.all(running.splice(0).map((each) => each.close()));
  };
  return {
    kafka,
    folder,
    name: () => `c${id}.${scenarios++}`,
    topics: (partitions, ...names) =>
      kafka.admin.ensureTopics(names.map((name) => ({ name, partitions, cleanup: 'delete', retentionMs: -1 }))),
    async send(feeds) {
      await producer.sendAll(
        feeds.map(([topic, key, value, timestamp]): ProducerRecord => ({
          topic,
          key,
          value: value === null ? null : Buffer.from(value),
          ...(timestamp === undefined ? {} : { timestamp }),
        })),
      );
    },
    async run(topology, { on = 0, ...options } = {}) {
      const made = await runTopology(await instance(on), topology, options);
      running.push(made);
      return made;
    },
    shown: async (topic, serdes) =>
      (await decoded(topic, serdes)).map(({ key, value, timestamp }) => `${text(key)}:${text(value)}@${timestamp}`),
    latest: async (topic, serdes) => Object.fromEntries((await decoded(topic, serdes)).map(({ key, value }) => [text(key), value])),
    records,
    storesOf: (consumer, on = 0) => join(folder, `conformance-${id}-${on}`, consumer),
    clear,
    async [Symbol.asyncDispose]() {
      await clear();
      for (const each of instances) await (await each)?.close();
      await producer.close();
      await kafka.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export const text = (value: unknown): string => (value === null ? '-' : typeof value === 'string' ? value : JSON.stringify(value));
