import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createMemoryRegistry, FoldRequestSchema } from '@spool/schemas';
import { bundle, foldQuery, startBundle, takeSnapshot, type Gateway, type RegisteredComponent, type RunningBundle } from '@spool/sdk';
import { openEventStore } from '@spool/services/event-store';
import { connectKafka, openInstance, topicCatalogue } from '@spool/streams';
import { median, quantile, type Row, type Table } from '../report.js';
import { Thing } from './thing.js';

export interface SnapshotOptions {
  readonly brokers: readonly string[];
  readonly id: string;
  readonly dataDir: string;
  readonly sizes: readonly number[];
  readonly reads: number;
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

/** What it takes to load one aggregate, by the number of its events: its state for a reader, and the whole partition for an owner that begins with an empty disk. */
export async function snapshots(options: SnapshotOptions): Promise<readonly Table[]> {
  const state: Row[] = [];
  const owner: Row[] = [];
  for (const events of options.sizes) {
    for (const snapshot of [true, false]) {
      if (!snapshot && events !== options.sizes.at(-1)) continue;
      const label = `${events.toLocaleString('en')} events, ${snapshot ? 'through a snapshot' : 'without a snapshot'}`;
      const { reads, folded, starts } = await load(options, events, snapshot);
      options.progress(`${label}: state ${quantile(reads, 0.5).toFixed(1)} ms, owner ${Math.round(median(starts))} ms`);
      state.push({ label, metric: 'first read folds', value: folded, unit: 'events', ratio: null });
      state.push({ label, metric: 'p50', value: quantile(reads, 0.5), unit: 'ms', ratio: null });
      state.push({ label, metric: 'p99', value: quantile(reads, 0.99), unit: 'ms', ratio: null });
      owner.push({ label, metric: 'p50', value: median(starts), unit: 'ms', ratio: null });
    }
  }
  return [
    { name: 'Reading the state of one aggregate', rows: state },
    { name: 'An owner with an empty disk, from its start to its first answer', rows: owner },
  ];
}

async function load({ brokers, id, reads, rounds, ...options }: SnapshotOptions, events: number, snapshot: boolean) {
  const name = `${id}-${events}-${snapshot ? 's' : 'n'}`;
  const dataDir = join(options.dataDir, name);
  const kafka = await connectKafka({ brokers, clientId: 'bench' });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ namespace: `${name}.`, partitions: 1 });
  const shared = { kafka, codec, topics, dataDir, log: () => undefined };
  const start = (): Promise<RunningBundle> =>
    startBundle(bundle({ id: 'bench', version: '1.0.0', components: [Thing] }), { ...shared, instance: 'owner-0' });
  let running = await start();
  try {
    // 1. What is to be loaded.
    for (let left = events; left > 0; left -= 1000) await running.gateway.send(Thing, 'Add', 'a', { count: Math.min(left, 1000) });
    if (snapshot) {
      const message = { topic: topics.commands(Thing.name).name, key: 'a', type: takeSnapshot, id: randomUUID(), value: Buffer.alloc(0) };
      await running.gateway.request(message);
    }
    // 2. Its state, as the gateway reads it.
    const decoder = codec.decoder(FoldRequestSchema);
    let folds = 0;
    const counting: Pick<Gateway, 'request'> = {
      async request(message) {
        if (message.type === foldQuery) folds += (await decoder.decode(message.value)).events.length;
        return running.gateway.request(message);
      },
    };
    const components = [{ kind: 'aggregate', name: Thing.name }] as unknown as readonly RegisteredComponent[];
    const registry = { components: () => components, component: () => components[0], onChange: () => () => undefined };
    const taken: number[] = [];
    let folded = 0;
    {
      await using reader = await openInstance({ ...shared, bundle: 'reader', version: '1.0.0', instance: 'reader-0', now: Date.now });
      await using store = openEventStore({ instance: reader, registry, gateway: counting });
      const read = async (): Promise<number> => {
        const began = performance.now();
        await store.state({ aggregateType: Thing.name, aggregateId: 'a', deadline: Date.now() + 30_000 });
        return performance.now() - began;
      };
      // The index is there before the first read is counted.
      await store.version(Thing.name, 'a', Date.now() + 30_000);
      const topic = topics.snapshots(Thing.name).name;
      const [end] = await kafka.admin.offsets(topic);
      const caughtUp = (): boolean =>
        reader.status().some(({ partitions }) => partitions.some((at) => at.topic === topic && at.position >= end!.latest));
      while (!caughtUp()) await sleep(5);
      await read();
      folded = folds;
      for (let n = 0; n < reads; n++) taken.push(await read());
    }
    // 3. An owner that has lost its disk.
    const starts: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await running.close();
      await rm(join(dataDir, 'owner-0'), { recursive: true, force: true });
      const began = performance.now();
      running = await start();
      await running.gateway.send(Thing, 'Add', 'b', { count: 1 });
      starts.push(performance.now() - began);
    }
    return { reads: taken.sort((a, b) => a - b), folded, starts };
  } finally {
    await running.close();
    await kafka.close();
  }
}
