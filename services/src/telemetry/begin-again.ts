import type { Kafka, Log } from '@spool/streams';
import { toMetadata } from './block-range.js';
import type { RowShape } from './rows.js';
import { noOrder } from './rewound.js';
import type { BlockStore } from './sink-work.js';

export interface BeginAgainOptions {
  readonly kafka: Kafka;
  readonly store: BlockStore;
  readonly consumer: string;
  readonly shapes: ReadonlyMap<string, RowShape>;
  readonly now: number;
  readonly log: Log;
}

/**
 * A store that holds nothing of what the consumer has stored has lost its disk, or is another one: the consumer begins with the log again. Each record
 * is looked up before it is stored, since an insert of before may still be on its way.
 */
export async function beginAgain({ kafka, store, consumer, shapes, now, log }: BeginAgainOptions): Promise<void> {
  const committed = await kafka.admin.committedOffsets(consumer, [...shapes.keys()]);
  if (committed.length === 0) return;
  for (const [topic, { table, place }] of shapes) if (await store.holds({ topic, shape: { table, place } })) return;
  const back = [];
  for (const topic of shapes.keys()) {
    for (const { partition, earliest } of await kafka.admin.offsets(topic)) {
      const until = committed.find((at) => at.topic === topic && at.partition === partition)?.offset;
      if (until === undefined || until <= earliest) continue;
      const place = Number(earliest);
      const counts = { startedAt: now, records: 0, skipped: 0 };
      const rewound = { epoch: noOrder, id: '', state: 'completed', start: place, target: place, until: Number(until), ...counts } as const;
      back.push({ topic, partition, offset: earliest, metadata: toMetadata(undefined, rewound) });
    }
  }
  if (back.length === 0) return;
  try {
    await kafka.admin.commitOffsets(consumer, back);
    log('warn', 'ClickHouse holds nothing of what was stored: the log is stored again', { consumer });
  } catch (error) {
    // Another process stores at this moment, and has to be asked.
    log('warn', 'ClickHouse holds nothing of what was stored: replay the consumer', { consumer, error: String(error) });
  }
}
