import { toSpoolError, type SpoolError } from '@spool/schemas';
import type { Kafka, TopicPartition } from '../kafka/port.js';
import { chosen, indexLetters, readLetters, type Letter, type LetterEntry } from './letters.js';
import type { Settled, Settling } from './work.js';

/** Some letters to be settled together. */
export interface Batch {
  readonly letters: readonly Letter[];
  readonly action: Settling['action'];
  /** Lane -> how many of its letters are left when these are settled. */
  readonly left: ReadonlyMap<string, number>;
}
export interface BatchResult {
  readonly settled: readonly Letter[];
  /** Lane -> why its letter failed again; those behind it were not touched. */
  readonly failed: ReadonlyMap<string, SpoolError>;
}

export interface SettleOptions {
  readonly kafka: Kafka;
  /** Of the dead-letter topic: those that this task owns. */
  readonly partitions: readonly TopicPartition[];
  readonly owner: string | undefined;
  readonly order: Settling;
  /** Makes a batch durable: its effects and its markers. @throws what Kafka refuses for its content: it is then tried letter by letter */
  readonly write: (batch: Batch) => Promise<BatchResult>;
  /** Makes it durable that the order was obeyed; last. */
  readonly finish: () => Promise<void>;
}

const batchSize = 200;

/** Obeys an order to settle letters: in the order of their partition, a lane up to its first failure, other lanes on. */
export async function settleLetters(options: SettleOptions): Promise<Settled> {
  const { kafka, order, owner } = options;
  const failed = new Map<string, SpoolError>();
  let records = 0;
  let value = order.value;
  for (const partition of options.partitions) {
    const all = await indexLetters({ kafka, partition, owner, signal: order.signal });
    const left = new Map<string, number>();
    for (const { lane } of all) left.set(lane, (left.get(lane) ?? 0) + 1);
    const queue: LetterEntry[] = [...chosen(all, partition, order.letters, order.action)];
    for (let size = batchSize; queue.length > 0;) {
      const entries = queue.splice(0, size).filter(({ lane }) => !failed.has(lane));
      let letters = await readLetters(kafka, partition, entries, order.signal);
      if (value !== undefined) letters = letters.map((letter, index) => (index === 0 ? edited(letter, value!) : letter));
      const goes = new Map(left);
      for (const { lane } of letters) goes.set(lane, goes.get(lane)! - 1);
      order.signal.throwIfAborted();
      try {
        const result = await options.write({ letters, action: order.action, left: goes });
        records += result.settled.length;
        for (const { lane } of result.settled) left.set(lane, left.get(lane)! - 1);
        for (const [lane, cause] of result.failed) failed.set(lane, cause);
      } catch (thrown) {
        const error = toSpoolError(thrown);
        if (error.entry.retryable !== 'never') throw thrown;
        if (letters.length > 1) {
          queue.unshift(...entries);
          size = 1;
          continue;
        }
        failed.set(letters[0]!.lane, error);
      }
      value = undefined;
    }
  }
  await options.finish();
  const [cause] = failed.values();
  return { records, failed: cause === undefined ? undefined : `${cause.code}: ${cause.message}` };
}

const edited = (letter: Letter, value: Buffer): Letter =>
  letter.record === undefined ? letter : { ...letter, record: { ...letter.record, value } };
