import { setTimeout as sleep } from 'node:timers/promises';
import { partitionKey, type Kafka, type ProducerRecord, type RecordPosition } from '@spool/streams';
import type { Load } from './workload.js';

/** A record that cannot be read. */
export interface Poison extends RecordPosition {
  readonly code: string;
  /** In hexadecimal digits. */
  readonly bytes: string;
}

export interface ProducersOptions {
  readonly kafka: Kafka;
  readonly namespace: string;
  readonly loads: readonly Load[];
  readonly records: number;
  /** Of all together, a second. */
  readonly rate: number;
  readonly over: AbortSignal;
}

const mostAtOnce = 2000;

/** All of them at once, each with a connection of its own. @returns what none can read, by `topic-partition@offset` */
export async function produce(options: ProducersOptions): Promise<ReadonlyMap<string, Poison>> {
  const poison = new Map<string, Poison>();
  await Promise.all(options.loads.map((load, number) => produceLoad(options, load, `${options.namespace}feeder-${number}`, poison)));
  return poison;
}

async function produceLoad(
  { kafka, records, rate, over }: ProducersOptions,
  { topic, share, inTransactions, record }: Load,
  id: string,
  poison: Map<string, Poison>,
): Promise<void> {
  const writer = inTransactions ? await kafka.transactionalProducer({ transactionalId: id }) : await kafka.producer();
  const write = (group: readonly ProducerRecord[]): Promise<readonly RecordPosition[]> =>
    'commit' in writer ? writer.commit(group) : writer.sendAll(group);
  const total = Math.round(records * share);
  const began = performance.now();
  try {
    for (let sent = 0; sent < total;) {
      over.throwIfAborted();
      const due = Math.min(total, sent + mostAtOnce, Math.ceil(((performance.now() - began) / 1000) * rate * share));
      const group = Array.from({ length: due - sent }, (_, index) => record(sent + index));
      if (group.length > 0) {
        const positions = await write(group.map(({ key, value }) => ({ topic, key, value })));
        group.forEach(({ code, value }, index) => {
          const at = positions[index]!;
          if (code !== undefined) poison.set(placeOf(at), { ...at, code, bytes: value?.toString('hex') ?? '' });
        });
      }
      sent = due;
      await sleep(5);
    }
  } finally {
    await writer.close();
  }
}

export const placeOf = (at: Pick<RecordPosition, 'topic' | 'partition'> & { readonly offset: bigint | string }): string =>
  `${partitionKey(at)}@${at.offset}`;
