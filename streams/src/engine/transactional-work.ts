import { hrtime } from 'node:process';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type Offset, type RecordPosition } from '../kafka/port.js';
import { partitionKey, splitPartitionKey, type Store } from '../store/store.js';
import { acquire, type Acquired, type AcquireOptions } from './acquire.js';
import { handling, type Handled, type HandlingOptions } from './handling.js';
import { rebuiltMarker, resolutionOf } from './letters.js';
import { deadLetterTopicOf } from './parking.js';
import { checkpointKey, checkpointTableName, noCheckpoint, putCheckpoint, putFollowed, type RestoreSource } from './restore.js';
import { settleLetters } from './settling.js';
import type { Group, Seek, Settled, Settling, TaskWork } from './work.js';

export interface TransactionalWorkOptions extends AcquireOptions, HandlingOptions {
  /** Records of a group may lie beyond some that are not done: the position moves with a whole group, or not. @default false */
  readonly outOfOrder?: boolean;
}

/**
 * Exactly-once work: outputs, changelog and the input position, as a record, in one Kafka transaction per group. The position is not
 * sent through `sendOffsets`, which doubles the commit time; the single fenced writer makes the record enough.
 */
export async function transactionalWork(options: TransactionalWorkOptions): Promise<TaskWork> {
  try {
    return running(options, await acquire(options));
  } catch (error) {
    await options.store.close();
    throw error;
  }
}

type Made = Pick<Handled, 'outputs' | 'callbacks' | 'covered' | 'streamTime'>;

function running(options: TransactionalWorkOptions, { writer, checkpoint: last, restored, release }: Acquired): TaskWork {
  const { store } = options;
  const handled = handling(options, options.changelog);
  const deadLetters = { topic: deadLetterTopicOf(options), partition: Number(options.task) };
  /** As the last commit has it. */
  let at = last ?? noCheckpoint;

  /** One transaction: what was made, and how far the task has come with it. */
  const write = async (
    { outputs, callbacks, covered, streamTime }: Made,
    positions: ReadonlyMap<string, Offset>,
    epoch = at.epoch,
  ): Promise<void> => {
    try {
      const inputs = new Map([...at.inputs, ...positions]);
      const checkpoint = { owner: writer.id, generation: options.generation, inputs, covered, streamTime, epoch };
      outputs.push({ ...options.changelog, key: checkpointKey(options.task), value: options.encodeCheckpoint(checkpoint) });
      const began = hrtime.bigint();
      const written = await writer.commit(outputs);
      const tookUs = Number((hrtime.bigint() - began) / 1000n);
      at = checkpoint;
      putCheckpoint(handled.table(checkpointTableName), checkpoint);
      putFollowed(handled.table(checkpointTableName), options.now());
      for (const callback of callbacks) callback({ positions: written, tookUs });
      handled.commit(beyond(store, restored, written));
    } catch (error) {
      handled.discard();
      throw error;
    }
  };
  const process = async (group: Group, parkAll?: SpoolError): Promise<void> => {
    const made = await handled.run(group.records, parkAll);
    if (made.idle) handled.discard();
    else await write(made, group.positions);
  };

  /** The position is a record like any other; a store is emptied first, in as many transactions as it takes. */
  const seek = async ({ starts, reset, epoch: order }: Seek): Promise<ReadonlyMap<string, Offset>> => {
    if (reset && options.restore !== undefined) {
      throw new SpoolError('ORDER_REFUSED', `${options.consumer} is restored from its own topics: its state cannot be emptied by an order`);
    }
    const mine = new Map([...starts].filter(([key]) => splitPartitionKey(key).partition === Number(options.task)));
    for (;;) {
      const { outputs, last } = reset ? handled.clear() : { outputs: [], last: true };
      const made = { outputs, callbacks: [], covered: at.covered, streamTime: reset ? -1 : at.streamTime };
      if (reset && last) outputs.push(rebuiltMarker(deadLetters.topic, deadLetters.partition, options.owner, options.now()));
      await write(made, last ? mine : new Map(), last ? Number(order) : at.epoch);
      if (last) return mine;
    }
  };

  /** The markers stand in the transaction of the effects: a letter is settled once. */
  const settle = (order: Settling): Promise<Settled> =>
    settleLetters({
      kafka: options.kafka,
      partitions: [deadLetters],
      owner: options.owner,
      order,
      async write(batch) {
        const { made, result } = await handled.settle(batch);
        const resolution = order.action === 'retry' ? 'retried' : 'discarded';
        for (const letter of result.settled) made.outputs.push(resolutionOf(deadLetters.topic, letter, resolution, options.now()));
        await write(made, new Map());
        return result;
      },
      finish: () => write({ outputs: [], callbacks: [], covered: at.covered, streamTime: at.streamTime }, new Map(), Number(order.epoch)),
    });

  /** Kafka refused the transaction for what is in it, and it was aborted: go one by one, and park the record that is to blame. */
  const processApart = async (group: Group): Promise<void> => {
    for (const [index, record] of group.records.entries()) {
      const last = index === group.records.length - 1;
      const next = options.outOfOrder === true ? [] : [[partitionKey(record), offset(record.offset + 1n)] as const];
      const positions = last ? group.positions : new Map(next);
      await process({ records: [record], positions }).catch(async (thrown: unknown) => {
        if (toSpoolError(thrown).entry.retryable !== 'never') throw thrown;
        await process({ records: [record], positions }, parkAllCause);
      });
    }
  };

  return {
    positions: at.inputs,
    get epoch() {
      return BigInt(at.epoch);
    },
    replay: undefined,
    seek,
    settle,
    get nextTimer() {
      return handled.nextTimer;
    },
    async process(group) {
      await process(group).catch((thrown: unknown) => {
        if (group.records.length === 0 || toSpoolError(thrown).entry.retryable !== 'never') throw thrown;
        return processApart(group);
      });
    },
    async close() {
      await release();
      await writer.close();
      await store.close();
    },
  };
}

const parkAllCause = new SpoolError('KAFKA_REFUSED', 'Kafka refused the records that the handler made of this one');

/** What this task wrote itself need not be read again at the next start. */
function beyond(store: Store, sources: readonly RestoreSource[], positions: readonly RecordPosition[]) {
  const next = new Map(store.checkpoint.positions);
  const own = new Set(sources.map((source) => partitionKey(source.partition)));
  for (const each of positions) {
    const key = partitionKey(each);
    if (own.has(key)) next.set(key, offset(each.offset + 1n));
  }
  return { ...store.checkpoint, positions: next };
}
