import { hrtime } from 'node:process';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type RecordPosition } from '../kafka/port.js';
import { partitionKey, type Store } from '../store/store.js';
import { acquire, type Acquired, type AcquireOptions } from './acquire.js';
import { handling, type HandlingOptions } from './handling.js';
import { checkpointKey, checkpointTableName, putCheckpoint, putFollowed, type RestoreSource } from './restore.js';
import type { Group, TaskWork } from './work.js';

export interface TransactionalWorkOptions extends AcquireOptions, HandlingOptions {}

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

function running(options: TransactionalWorkOptions, { writer, checkpoint: last, restored, release }: Acquired): TaskWork {
  const { store } = options;
  const handled = handling(options, options.changelog);
  const inputs = new Map(last?.inputs ?? []);

  const process = async (group: Group, parkAll?: SpoolError): Promise<void> => {
    const { outputs, callbacks, covered, streamTime, idle } = await handled.run(group.records, parkAll);
    if (idle) {
      handled.discard();
      return;
    }
    try {
      const next = new Map(inputs);
      for (const [key, at] of group.positions) next.set(key, at);
      const checkpoint = { owner: writer.id, generation: options.generation, inputs: next, covered, streamTime };
      outputs.push({ ...options.changelog, key: checkpointKey(options.task), value: options.encodeCheckpoint(checkpoint) });
      const began = hrtime.bigint();
      const positions = await writer.commit(outputs);
      const tookUs = Number((hrtime.bigint() - began) / 1000n);
      for (const [key, at] of next) inputs.set(key, at);
      putCheckpoint(handled.table(checkpointTableName), checkpoint);
      putFollowed(handled.table(checkpointTableName), options.now());
      for (const callback of callbacks) callback({ positions, tookUs });
      handled.commit(written(store, restored, positions));
    } catch (error) {
      handled.discard();
      throw error;
    }
  };

  /** Kafka refused the transaction for what is in it, and it was aborted: go one by one, and park the record that is to blame. */
  const processApart = async (group: Group): Promise<void> => {
    for (const [index, record] of group.records.entries()) {
      const last = index === group.records.length - 1;
      const positions = last ? group.positions : new Map([[partitionKey(record), offset(record.offset + 1n)]]);
      await process({ records: [record], positions }).catch(async (thrown: unknown) => {
        if (toSpoolError(thrown).entry.retryable !== 'never') throw thrown;
        await process({ records: [record], positions }, parkAllCause);
      });
    }
  };

  return {
    positions: new Map(inputs),
    epoch: -1n,
    replay: undefined,
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
function written(store: Store, sources: readonly RestoreSource[], positions: readonly RecordPosition[]) {
  const next = new Map(store.checkpoint.positions);
  const own = new Set(sources.map((source) => partitionKey(source.partition)));
  for (const at of positions) {
    const key = partitionKey(at);
    if (own.has(key)) next.set(key, offset(at.offset + 1n));
  }
  return { ...store.checkpoint, positions: next };
}
