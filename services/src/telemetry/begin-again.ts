import type { Kafka, Log, Offset, TopicPartition } from '@spool/streams';
import { fromMetadata, toMetadata } from './block-range.js';
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

/** How long the log is looked at, in milliseconds. */
const lookMs = 10_000;

/**
 * A store that holds nothing of what the consumer has stored has lost its disk, or is another one: the consumer begins with the log again. Each record
 * is looked up before it is stored, since an insert of before may still be on its way.
 */
export async function beginAgain({ kafka, store, consumer, shapes, now, log }: BeginAgainOptions): Promise<void> {
  const committed = await kafka.admin.committedOffsets(consumer, [...shapes.keys()]);
  if (committed.length === 0) return;
  for (const [topic, { table, place }] of shapes) if (await store.holds({ topic, shape: { table, place } })) return;
  const back = [];
  let stored = false;
  for (const topic of shapes.keys()) {
    for (const { partition, earliest } of await kafka.admin.offsets(topic)) {
      const at = committed.find((each) => each.topic === topic && each.partition === partition);
      if (at === undefined || at.offset <= earliest) continue;
      // A first block that is still on its way has not been lost.
      stored ||= await hasRecords(kafka, { topic, partition }, earliest, at.offset);
      const block = fromMetadata(at.offset, at.metadata);
      const until = block === undefined ? at.offset : block.last + 1n;
      const place = Number(earliest);
      const counts = { startedAt: now, records: 0, skipped: 0 };
      const rewound = { epoch: noOrder, id: '', state: 'completed', start: place, target: place, until: Number(until), ...counts } as const;
      back.push({ topic, partition, offset: earliest, metadata: toMetadata(undefined, rewound) });
    }
  }
  if (!stored) return;
  try {
    await kafka.admin.commitOffsets(consumer, back);
    log('warn', 'ClickHouse holds nothing of what was stored: the log is stored again', { consumer });
  } catch (error) {
    // Another process stores at this moment, and has to be asked.
    log('warn', 'ClickHouse holds nothing of what was stored: replay the consumer', { consumer, error: String(error) });
  }
}

/** Not markers and holes alone. */
async function hasRecords(kafka: Kafka, partition: TopicPartition, from: Offset, to: Offset): Promise<boolean> {
  await using reader = await kafka.reader({ unavailableAfterMs: lookMs });
  reader.assign(partition, from);
  const deadline = performance.now() + lookMs;
  for (let next = from; next < to && performance.now() < deadline;) {
    for (const slice of await reader.fetch()) {
      if (slice.records.some(({ offset: at }) => at < to)) return true;
      next = slice.nextOffset;
    }
  }
  return false;
}
