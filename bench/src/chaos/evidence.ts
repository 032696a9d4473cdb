import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openLmdbStore, partitionKey, readToEnd, type ConsumedRecord, type Kafka } from '@spool/streams';
import { changelogTopic, counts } from '../engine/contenders/spool.js';
import { countOf } from '../engine/workload.js';
import type { Evidence, RowChange, StoreEvidence, TaskEvidence } from './check.js';

export interface CollectOptions {
  readonly kafka: Kafka;
  readonly consumer: string;
  readonly output: string;
  readonly partitions: number;
  readonly instances: readonly string[];
  readonly dataDir: string;
}

/** Reads what the instances have left behind; they have stopped. */
export async function collect(options: CollectOptions): Promise<Omit<Evidence, 'sent'>> {
  const outputs = new Map<string, number[]>();
  const tasks: TaskEvidence[] = [];
  for (let partition = 0; partition < options.partitions; partition++) {
    await eachRecord(options.kafka, { topic: options.output, partition }, ({ key, value }) => {
      const mine = outputs.get(key!.toString());
      if (mine === undefined) outputs.set(key!.toString(), [countOf(value!)]);
      else mine.push(countOf(value!));
    });
    tasks.push(await collectTask(options, partition));
  }
  return { outputs, tasks };
}

/** As the engine names the rows of a declared store. */
const rowPrefix = `s/${counts}/`;

async function collectTask({ kafka, consumer, partitions, dataDir, instances }: CollectOptions, partition: number): Promise<TaskEvidence> {
  const changelog = { topic: changelogTopic(consumer, partitions).name, partition };
  const changes: RowChange[] = [];
  await eachRecord(kafka, changelog, ({ key, value, offset }) => {
    const name = key!.toString();
    if (name.startsWith(rowPrefix) && value !== null) changes.push({ offset, key: name.slice(rowPrefix.length), count: countOf(value) });
  });
  const stores: StoreEvidence[] = [];
  for (const instance of instances) {
    const path = join(dataDir, instance, consumer, String(partition));
    if (!existsSync(path)) continue;
    await using store = openLmdbStore({ path });
    const rows = new Map([...store.range(counts)] as [string, number][]);
    stores.push({ instance, position: store.checkpoint.positions.get(partitionKey(changelog)), rows });
  }
  return { task: String(partition), changes, stores };
}

const eachRecord = (kafka: Kafka, partition: { topic: string; partition: number }, take: (record: ConsumedRecord) => void) =>
  readToEnd({
    kafka,
    partition,
    from: 'earliest',
    apply: (records) => {
      records.forEach(take);
      return Promise.resolve();
    },
  });
