import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Kafka, type Offset, type Producer } from '../kafka/port.js';
import { partitionKey, splitPartitionKey } from '../store/store.js';
import { Lanes } from './lanes.js';
import { indexLetters, resolutionOf, type Letter } from './letters.js';
import { deadLetter, deadLetterTopicOf, isTransient, laneOf, toTransient, type ParkingOptions } from './parking.js';
import { settleLetters, type Batch, type BatchResult } from './settling.js';
import type { Seek, Settling, TaskRequest, TaskWork } from './work.js';

export interface OffsetWorkOptions extends ParkingOptions {
  readonly kafka: Kafka;
  readonly task: Pick<TaskRequest, 'partitions' | 'membership'>;
  /** Takes what is parked; without it a record that fails for good is dropped, which suits requests that somebody waits for. */
  readonly deadLetters?: Producer;
  readonly now: () => number;
  /**
   * Called for records of different keys side by side, and in order for those of one key. At least once.
   * @param signal fires when the task is to end, or may lose its partitions, and three quarters of `drainMs` are over
   */
  readonly handle: (record: ConsumedRecord, signal: AbortSignal) => void | Promise<void>;
  /**
   * Partitions without a position begin at their end, and keep that place: what comes from now on is handled, though nobody runs when it comes.
   * @default they begin where the processor says, each time anew
   */
  readonly pinned?: boolean;
  /** How many handlers run at the same time. Few make a slow key delay others; many take memory and sockets. @default `maxInFlight` */
  readonly concurrency?: number;
  /** Records taken and not finished. After a crash as many may be handled again. @default 2000 */
  readonly maxInFlight?: number;
  /** How long a rebalance or the end waits for the handlers that run; theirs are then handled again by others. Milliseconds. @default 4000 */
  readonly drainMs?: number;
}

/**
 * Work that keeps no store: its place is the group's committed offset, the lowest record that is not finished, which the engine commits about
 * once a second. The last order that moved it stands in the commit's metadata.
 */
export async function offsetWork(options: OffsetWorkOptions): Promise<TaskWork> {
  const { consumer, kafka, task, owner, maxInFlight = 2000, concurrency = maxInFlight, drainMs = 4000 } = options;
  const owned = new Set(task.partitions.map(partitionKey));
  const topics = [...new Set(task.partitions.map((partition) => partition.topic))];
  const committed = (await kafka.admin.committedOffsets(consumer, topics)).filter((at) => owned.has(partitionKey(at)));
  const positions = new Map<string, Offset>(committed.map((at) => [partitionKey(at), at.offset]));
  // The lowest of its partitions: an order that reached but some of them is obeyed again.
  const orders = committed.map(({ metadata }) => (/^\d{1,19}$/.test(metadata) ? BigInt(metadata) : -1n));
  let epoch = orders.length === 0 ? -1n : orders.reduce((lowest, order) => (order < lowest ? order : lowest));

  // 1. What is parked already: the dead-letter topic says it.
  const { deadLetters } = options;
  const topic = deadLetterTopicOf(options);
  const numbers = [...new Set(task.partitions.map(({ partition }) => partition))];
  const letterPartitions = deadLetters === undefined ? [] : numbers.map((partition) => ({ topic, partition }));
  const parked = new Set<string>();
  for (const partition of letterPartitions) for (const { lane } of await indexLetters({ kafka, partition, owner })) parked.add(lane);

  // 2. One record: a key with parked records queues behind them.
  const park = async (record: ConsumedRecord, cause: SpoolError | 'follows'): Promise<void> => {
    if (deadLetters === undefined) return;
    await deadLetters.send(deadLetter(options, record, cause, options.now()));
    if (record.key !== null) parked.add(laneOf(record));
  };
  const handle = async (record: ConsumedRecord): Promise<void> => {
    if (parked.has(laneOf(record))) return park(record, 'follows');
    try {
      const pending = options.handle(record, ending.signal);
      if (pending !== undefined) await pending;
    } catch (thrown) {
      if (isTransient(thrown)) throw toTransient(thrown);
      await park(record, toSpoolError(thrown));
    }
  };
  let ending = new AbortController();
  const onOverdue = (): void => {
    ending.abort();
    ending = new AbortController();
  };

  // 3. Orders. The last one stands beside the position, in the metadata of the commit.
  const commit = async (next: ReadonlyMap<string, Offset>, order: bigint): Promise<void> => {
    const commits = [...next].map(([key, at]) => ({ ...splitPartitionKey(key), offset: offset(at), metadata: order.toString() }));
    if (task.membership === undefined) await kafka.admin.commitOffsets(consumer, commits);
    else await task.membership.commitOffsets(commits);
    epoch = order;
  };
  const unplaced = options.pinned === true ? task.partitions.filter((partition) => !positions.has(partitionKey(partition))) : [];
  if (unplaced.length > 0) {
    for (const name of topics) {
      const ends = await kafka.admin.offsets(name);
      for (const { topic: of, partition } of unplaced) {
        const end = of === name ? ends.find((at) => at.partition === partition) : undefined;
        if (end !== undefined) positions.set(partitionKey({ topic: of, partition }), offset(end.latest));
      }
    }
    await commit(positions, epoch);
  }
  const lanes = new Lanes({ concurrency, maxInFlight, drainMs, handle, onOverdue }, positions);

  /** A marker follows its record's handler: a crash between the two handles it again. */
  const write = async ({ letters, action, left }: Batch, order: Settling): Promise<BatchResult> => {
    const settled: Letter[] = [];
    const failed = new Map<string, SpoolError>();
    for (const letter of letters) {
      if (failed.has(letter.lane)) continue;
      try {
        if (action === 'retry' && letter.record !== undefined) await options.handle(letter.record, order.signal);
        await deadLetters?.send(resolutionOf(topic, letter, action === 'retry' ? 'retried' : 'discarded', options.now()));
        settled.push(letter);
      } catch (thrown) {
        if (isTransient(thrown)) throw toTransient(thrown);
        failed.set(letter.lane, toSpoolError(thrown));
      }
    }
    for (const { lane } of settled) if ((left.get(lane) ?? 0) === 0 && !failed.has(lane)) parked.delete(lane);
    return { settled, failed };
  };
  const seek = async ({ starts, reset, epoch: order }: Seek): Promise<ReadonlyMap<string, Offset>> => {
    if (reset) throw new SpoolError('ORDER_REFUSED', `${consumer} keeps no store that could be emptied: use seek`);
    const next = new Map([...lanes.reached, ...[...starts].filter(([key]) => owned.has(key))]);
    await commit(next, order);
    lanes.moveTo(next);
    return next;
  };
  return {
    positions,
    get epoch() {
      return epoch;
    },
    replay: undefined,
    lanes,
    process(group) {
      lanes.accept(group);
      return Promise.resolve();
    },
    seek,
    ...(deadLetters === undefined
      ? {}
      : {
          settle: (order: Settling) =>
            settleLetters({
              kafka,
              partitions: letterPartitions,
              owner,
              order,
              write: (batch) => write(batch, order),
              finish: () => commit(lanes.reached, order.epoch),
            }),
        }),
    async close() {
      await lanes.close();
      ending.abort();
    },
  };
}
