import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  openLmdbStore,
  openRows,
  partOf,
  partitionKey,
  readToEnd,
  rowBytes,
  topicCatalogue,
  type ConsumedRecord,
  type Kafka,
} from '@spool/streams';
import { countOf } from '../engine/workload.js';
import { chaosTopics, chaosTopology } from './instance/instance.js';
import type { Evidence, RowChange, StoreEvidence, TaskEvidence } from './check.js';

export interface CollectOptions {
  readonly kafka: Kafka;
  readonly namespace: string;
  readonly partitions: number;
  readonly instances: readonly string[];
  readonly dataDir: string;
}

/** Reads what the instances have left behind; they have stopped. */
export async function collect(options: CollectOptions): Promise<Omit<Evidence, 'sent'>> {
  const outputs = new Map<string, number[]>();
  const tasks: TaskEvidence[] = [];
  for (let partition = 0; partition < options.partitions; partition++) {
    await eachRecord(options.kafka, { topic: chaosTopics(options).output, partition }, ({ key, value }) => {
      const mine = outputs.get(key!.toString());
      if (mine === undefined) outputs.set(key!.toString(), [countOf(value!)]);
      else mine.push(countOf(value!));
    });
    tasks.push(await collectTask(options, partition));
  }
  return { outputs, tasks };
}

const storeName = 'counts';
/** As the engine names the rows of a declared store in the changelog. */
const rowPrefix = `s/${storeName}/`;

/** The consumer that counts, and where its changes go. */
export function counterOf(namespace: string): { readonly consumer: string; readonly changelog: string } {
  const { consumer } = partOf(chaosTopology({ namespace }), storeName);
  return { consumer: namespace + consumer, changelog: topicCatalogue({ namespace }).changelog(consumer, 1).name };
}

async function collectTask({ kafka, namespace, dataDir, instances }: CollectOptions, partition: number): Promise<TaskEvidence> {
  const { consumer, changelog: topic } = counterOf(namespace);
  const stored = chaosTopology({ namespace }).queried.get(storeName)!;
  const { decode } = await openRows<string, number>(stored, (serde) => Promise.resolve(serde));
  const changes: RowChange[] = [];
  await eachRecord(kafka, { topic, partition }, async ({ key, value, offset }) => {
    const name = key!.toString();
    if (!name.startsWith(rowPrefix) || value === null) return;
    const row = await decode(name.slice(rowPrefix.length), value);
    changes.push({ offset, key: row.key, count: row.value });
  });
  const stores: StoreEvidence[] = [];
  for (const instance of instances) {
    const path = join(dataDir, instance, consumer, String(partition));
    if (!existsSync(path)) continue;
    await using store = openLmdbStore({ path });
    const rows = new Map<string, number>();
    for (const [at, found] of store.range(storeName)) rows.set(at, (await decode(at, rowBytes(stored.store, found))).value);
    stores.push({ instance, position: store.checkpoint.positions.get(partitionKey({ topic, partition })), rows });
  }
  return { task: String(partition), changes, stores };
}

const eachRecord = (
  kafka: Kafka,
  partition: { topic: string; partition: number },
  take: (record: ConsumedRecord) => void | Promise<void>,
) =>
  readToEnd({
    kafka,
    partition,
    from: 'earliest',
    async apply(records) {
      for (const record of records) await take(record);
    },
  });
